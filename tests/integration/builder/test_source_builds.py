import json
import os
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from tests.support.builds.base_images import BaseImages, Log, inspect, run, write_tree

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import BuildError, BuilderStrategy, BuildPlan
from upwell.oci import Reference

_SIZE = 2_000_003
"""Bytes; of nothing else here."""


def plan(images: BaseImages, name: str, context: Path, /, **changes: object) -> BuildPlan:
    values: dict[str, object] = {
        "id": f"uid-{name}",
        "namespace": "shop",
        "name": f"{name}-1",
        "strategy": BuilderStrategy.SOURCE,
        "context": context,
        "images": {"builder": images.s2i},
        "push": images.reference(f"shop/{name}:latest"),
        "insecure_registries": frozenset({images.registry}),
    }
    return BuildPlan(**{**values, **changes})  # type: ignore[arg-type]


def pushed(wanted: BuildPlan) -> Reference:
    assert wanted.push is not None
    return wanted.push


async def test_assemble_makes_the_image_that_the_contract_describes(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log
) -> None:
    files = {
        "index.html": "hello",
        ".git/config": "secret",
        "left/out.txt": "x",
        ".s2iignore": "# a comment\n[\nleft\n",
        ".s2i/environment": "GREETING=from file\nOTHER = 1 \nexport C=3\n",
        "hook": "#!/bin/sh\ncd /tmp/app; find . -type f | sort; ls -ln /tmp/src/index.html; env\n",
    }
    wanted = plan(
        images,
        "app",
        write_tree(tmp_path / "tree", files),
        env=(("GREETING", "from\nplan"),),
        labels={"io.openshift.build.commit.id": "abc", "mine": "1"},
    )

    result = await builder.build(wanted, log)

    assert result.digest is not None
    document = inspect(pushed(wanted).with_digest(result.digest), "--config")
    config = document["config"]
    assert "plan" not in json.dumps(document["history"])
    assert "UPWELL_ENV" not in log.text.partition("assemble runs as")[2].partition("STEP ")[0]
    assert "'export C' is not the name of a variable" in log.text
    assert ".s2iignore: '[' is not a valid pattern" in log.text
    assert config["Cmd"] == ["/usr/libexec/s2i/run"]
    assert config["Entrypoint"] == ["/bin/entry"]
    assert config["User"] == "1001"
    assert config["WorkingDir"] == "/srv"
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert {"GREETING=from\nplan", "OTHER=1", "BASE=1"} <= set(config["Env"])
    labels = config["Labels"]
    assert labels["io.openshift.build.image"] == str(images.s2i)
    assert labels["io.openshift.s2i.build.image"] == str(images.s2i)
    assert labels["io.openshift.s2i.build.commit.id"] == "abc"
    assert labels["io.openshift.build.commit.id"] == "abc"
    assert labels["mine"] == "1"
    assert "assemble runs as 1001:0 in /srv with GREETING=from\nplan" in log.text
    assert "through the entrypoint" not in log.text
    assert "./index.html" in log.text
    assert "1001     0" in log.text
    assert ".git" not in log.text
    assert "out.txt" not in log.text
    assert len(inspect(pushed(wanted))["Layers"]) == len(inspect(images.s2i)["Layers"]) + 1


async def test_each_byte_of_the_source_is_moved_once(
    settings: BuildahSettings, images: BaseImages, tmp_path: Path
) -> None:
    own = replace(settings, storage_root=tmp_path / "root", run_root=tmp_path / "run")
    assemble = "#!/bin/sh -e\nmkdir /tmp/app\nmv /tmp/src/data /tmp/app\necho moved\n"
    context = write_tree(tmp_path / "tree", {".s2i/bin/assemble": assemble})
    (context / ".s2i/bin/assemble").chmod(0o755)
    (context / "data").write_bytes(os.urandom(_SIZE))
    copies: list[int] = []

    def count(piece: bytes) -> None:
        if b"moved" in piece.splitlines():
            folders = (tmp_path, own.temporary_dir)
            found = (path for folder in folders for path in folder.rglob("data"))
            copies.append(sum(path.is_file() and path.stat().st_size == _SIZE for path in found))

    wanted = plan(images, "moved", context)
    await BuildahBuilder(own, dialer=None).build(wanted, count)

    assert copies == [2]  # the source itself, and the layer
    sizes = [layer["Size"] for layer in inspect(pushed(wanted))["LayersData"]]
    assert len(sizes) == len(inspect(images.s2i)["Layers"]) + 1
    assert _SIZE <= sizes[-1] < _SIZE * 1.1


@pytest.mark.parametrize("reachable", [True, False], ids=["pushed", "not-pushed"])
async def test_the_image_leaves_the_store_with_the_folder_of_its_build(
    settings: BuildahSettings, images: BaseImages, tmp_path: Path, log: Log, *, reachable: bool
) -> None:
    own = replace(settings, storage_root=tmp_path / "root", run_root=tmp_path / "run")
    builder = BuildahBuilder(own, dialer=None)
    push = images.reference("shop/left:1") if reachable else Reference.parse("127.0.0.1:1/left:1")
    tree = write_tree(tmp_path / "tree", {"index.html": "hello"})
    wanted = plan(images, "left", tree, push=push)

    def stored() -> int:
        flags = (f"--root={own.storage_root}", f"--runroot={own.run_root}")
        return len(run("buildah", *flags, "images", "--all", "--quiet").split())

    for _ in range(2):  # a second attempt leaves no more than the first
        with nullcontext() if reachable else pytest.raises(BuildError, match="Failed to push"):
            await builder.build(wanted, log)
        assert stored() == 2  # and the builder image

    await builder.discard(wanted.id)

    assert stored() == 1


async def test_scripts_of_the_source_go_before_those_of_the_image(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log
) -> None:
    files = {".s2i/bin/run": "echo mine\n", "hook": "#!/bin/sh\nls -R /tmp/src /tmp/scripts -a\n"}
    wanted = plan(images, "own-run", write_tree(tmp_path / "tree", files))

    await builder.build(wanted, log)

    assert inspect(pushed(wanted), "--config")["config"]["Cmd"] == ["/tmp/scripts/run"]  # noqa: S108  # in the image
    source, scripts = log.text.split("/tmp/scripts:")  # noqa: S108  # in the image
    assert "assemble runs as" in source
    assert "run" in scripts.split()
    assert "run" not in source.partition("/tmp/src/.s2i/bin:")[2].split()  # noqa: S108  # in the image


async def test_a_scripts_url_replaces_all_others(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log
) -> None:
    own = write_tree(
        tmp_path / "scripts", {"assemble": "#!/bin/sh\necho by URL as $(id -u):$(id -g)\n"}
    )
    files = {".s2i/bin/assemble": "#!/bin/sh\nexit 1\n"}
    wanted = plan(
        images, "by-url", write_tree(tmp_path / "tree", files), scripts_url=f"file://{own}"
    )
    await builder.build(wanted, log)
    assert "by URL as 1001:0" in log.text
    assert inspect(pushed(wanted), "--config")["config"]["Cmd"] == ["/usr/libexec/s2i/run"]


@pytest.fixture
async def script_server() -> AsyncIterator[str]:
    """Serves `assemble`, has no `run`, and answers `big/` without end."""

    async def assemble(_: web.Request) -> web.Response:
        return web.Response(text="#!/bin/sh\necho from the web\n")

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"#" * 65536)
        return response

    application = web.Application()
    application.router.add_get("/s2i/assemble", assemble)
    application.router.add_get("/big/assemble", endless)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_scripts_are_downloaded_each_on_its_own(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log, script_server: str
) -> None:
    tree = write_tree(tmp_path / "tree", {".s2i/bin/run": "x"})
    wanted = plan(images, "web", tree, scripts_url=f"{script_server}/s2i/")
    await builder.build(wanted, log)
    assert "from the web" in log.text
    assert inspect(pushed(wanted), "--config")["config"]["Cmd"] == [
        "/tmp/scripts/run"  # noqa: S108  # in the image
    ]


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
async def test_scripts_are_downloaded_through_the_proxy_of_the_environment(
    builder: BuildahBuilder,
    images: BaseImages,
    tmp_path: Path,
    log: Log,
    script_server: str,
    *,
    variable: str,
) -> None:
    tree = write_tree(tmp_path / "tree", {".s2i/bin/run": "x"})
    env = ((variable, script_server),)
    wanted = plan(images, "proxied", tree, scripts_url="http://away.invalid/s2i", env=env)
    await builder.build(wanted, log)
    assert "from the web" in log.text


async def test_a_proxy_that_is_none_is_not_repeated(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": ""})
    wanted = plan(images, "no-proxy", tree, env=(("https_proxy", "http://jo:word@[x"),))
    with pytest.raises(BuildError, match="https_proxy is not the URL of a proxy") as refused:
        await builder.build(wanted, log)
    assert not refused.value.retryable
    assert "word" not in f"{refused.value}{log.text}"


async def test_an_endless_script_is_cut_off(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log, script_server: str
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": ""})
    with pytest.raises(BuildError, match="over 1048576 bytes"):
        await builder.build(plan(images, "big", tree, scripts_url=f"{script_server}/big"), log)


async def test_labels_of_the_builder_say_who_assembles_and_where(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log
) -> None:
    recipe = (
        "FROM s2i\nLABEL io.openshift.s2i.destination='/srv/a b' "
        "io.openshift.s2i.assemble-user=maker\nUSER 0\nRUN mkdir -p '/srv/a b'\nUSER 1001\n"
    )
    target = images.reference("vendor/placed:1")
    placed = plan(
        images,
        "placed-builder",
        tmp_path,
        strategy=BuilderStrategy.DOCKER,
        dockerfile=recipe,
        images={"s2i": images.s2i},
        push=target,
    )
    made = await builder.build(placed, log)
    assert made.digest is not None
    script = "#!/bin/sh\nid; ls -ln '/srv/a b/src'\n"
    tree = write_tree(tmp_path / "tree", {".s2i/bin/assemble": script, "file": ""})
    wanted = plan(images, "placed", tree, images={"builder": target.with_digest(made.digest)})

    await builder.build(wanted, log)

    assert "uid=431(maker) gid=77(makers)" in log.text
    assert "431      77" in log.text
    assert inspect(pushed(wanted), "--config")["config"]["User"] == "1001"


async def test_labels_that_assemble_writes_are_set(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log
) -> None:
    script = (
        "#!/bin/sh -e\nmkdir /tmp/.s2i\n"
        'echo \'{"labels": [{"found": "yes"}, {"mine": "no"}]}\' > /tmp/.s2i/image_metadata.json\n'
    )
    wanted = plan(
        images, "metadata", write_tree(tmp_path / "tree", {"hook": script}), labels={"mine": "1"}
    )
    await builder.build(wanted, log)
    config = inspect(pushed(wanted), "--config")["config"]
    assert config["Labels"]["found"] == "yes"
    assert config["Labels"]["mine"] == "1"
    assert config["Cmd"] == ["/usr/libexec/s2i/run"]


@pytest.mark.parametrize(
    ("files", "url", "message"),
    [
        ({"hook": "#!/bin/sh\necho no; exit 7\n"}, "", "assemble exited with 7"),
        ({".s2i/bin/assemble": "#!/bin/sh\nexit 9\n"}, "", "assemble exited with 9"),
        ({"a": ""}, "ftp://x/", "expected image://, https://"),
    ],
)
async def test_a_failure_says_what_failed(
    builder: BuildahBuilder,
    images: BaseImages,
    tmp_path: Path,
    log: Log,
    *,
    files: dict[str, str],
    url: str,
    message: str,
) -> None:
    tree = write_tree(tmp_path / "tree", files)
    with pytest.raises(BuildError) as caught:
        await builder.build(plan(images, "fails", tree, scripts_url=url), log)
    assert caught.value.reason == "GenericBuildFailed"
    assert message in str(caught.value)


async def test_a_builder_without_scripts_is_named_as_such(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log
) -> None:
    tree = write_tree(tmp_path / "tree", {".s2i/bin/assemble": "#!/bin/sh\n"})
    with pytest.raises(BuildError, match=r"failed to install \['run'\]"):
        await builder.build(plan(images, "none", tree, images={"builder": images.base}), log)
