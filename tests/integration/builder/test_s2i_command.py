"""`upwell s2i`, called as a person would, on an image store of its own."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner, Result
from tests.integration.builder.test_build_credentials import HTPASSWD, PASSWORD
from tests.integration.builder.test_git_sources import IDENTITY
from tests.support.builds.base_images import (
    BaseImages,
    inspect,
    run,
    serve_registry,
    write_tree,
)
from tests.support.builds.s2i_images import BuilderImages
from tests.support.workload.tls_servers import make_certificate

from upwell.cli import main

_PLAIN = ("--src-tls-verify=false", "--dest-tls-verify=false")


class S2iCommand:
    """Runs the command with one store."""

    def __init__(self, storage: Path, conf: Path) -> None:
        self.storage, self.conf = storage, conf
        self.store = ("buildah", f"--root={storage}/storage", f"--runroot={storage}/run")

    async def start(
        self, *words: str, stored: bool = True, **variables: str
    ) -> asyncio.subprocess.Process:
        options = ("--storage", str(self.storage)) if stored else ()
        return await asyncio.create_subprocess_exec(
            *("env", "--default-signal=INT", sys.executable, "-m", "upwell", "s2i"),
            *words,
            *options,
            env={**os.environ, "CONTAINERS_CONF": str(self.conf), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def __call__(self, *words: str, stored: bool = True) -> tuple[int, str, str]:
        process = await self.start(*words, stored=stored)
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode(), errors.decode()

    def in_process(self, *words: str) -> Result:
        """Run the command here: most of what a process of its own takes is its start."""
        runner = CliRunner(env={"CONTAINERS_CONF": str(self.conf)})
        return runner.invoke(main, ["s2i", *words, "--storage", str(self.storage)])

    def pull(self, image: object, name: str) -> str:
        environment = {"CONTAINERS_CONF": str(self.conf)}
        source = ("pull", "--quiet", "--tls-verify=false", str(image))
        pulled = run(*self.store, *source, env=environment)
        run(*self.store, "tag", pulled, name, env=environment)
        return name

    def config(self, image: str) -> dict[str, object]:
        raw = run(*self.store, "inspect", "--type=image", image)
        found: dict[str, object] = json.loads(raw)["OCIv1"]["config"]
        return found

    def containers(self) -> list[str]:
        return run(*self.store, "containers", "--all", "--quiet").split()

    def images(self) -> list[str]:
        return run(*self.store, "images", "--quiet").split()


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory, containers_conf: Path) -> S2iCommand:
    return S2iCommand(tmp_path_factory.mktemp("s2i"), containers_conf)


@pytest.fixture
def builder_name(command: S2iCommand, fakes: BuilderImages) -> str:
    return command.pull(fakes["numericuser"], "localhost/fake:1")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree", {"Gemfile": "gem\n"})


@pytest.fixture
async def callbacks() -> AsyncIterator[tuple[str, list[dict[str, object]]]]:
    received: list[dict[str, object]] = []

    async def take(request: web.Request) -> web.Response:
        received.append(await request.json())
        return web.Response()

    application = web.Application()
    application.router.add_post("/", take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/", received
    await runner.cleanup()


async def test_a_source_becomes_an_image_of_the_local_store(
    command: S2iCommand,
    builder_name: str,
    tree: Path,
    tmp_path: Path,
    callbacks: tuple[str, list[dict[str, object]]],
) -> None:
    environment = tmp_path / "env"
    environment.write_text("# comment\n// too\nA=file\n")
    url, received = callbacks
    options = ["-e", "A=option", "-e", "B=x,C=y", "-E", str(environment), "-u", "1-"]
    given = write_tree(tmp_path / "given", {"key": "inner", "cache/kept": "cached"})
    options += ["-i", f"{given}/key:/srv/renamed", "-v", f"{given}/cache:/cache:ro"]
    options += ["--network", "none", "--destination", "/opt", "-e", "STI_LOCATION=/opt"]
    script = (
        "#!/bin/sh -e\necho $(cat /srv/renamed /cache/kept) $(ls /sys/class/net)\n"
        "! touch /cache/new 2>/dev/null\n. /usr/bin/sti-fake/assemble\n"
    )
    write_tree(tree, {".s2i/bin/assemble": script})
    code, output, errors = await command(
        "build", str(tree), builder_name, "localhost/app:1", *options, "--callback-url", url
    )
    assert code == 0, errors
    assert output == "localhost/app:1\n"
    assert "\n********cached lo\n" in errors  # what is injected is in no log
    config = command.config("localhost/app:1")
    assert {"A=file", "B=x,C=y"} <= set(config["Env"])  # type: ignore[call-overload]
    labels = config["Labels"]
    assert isinstance(labels, dict)
    assert labels["io.k8s.display-name"] == "localhost/app:1"
    assert labels["io.openshift.s2i.build.source-location"] == str(tree)
    assert [one["success"] for one in received] == [True]
    assert received[0]["labels"] == labels


async def test_a_second_build_takes_over_and_the_first_image_goes(
    command: S2iCommand, builder_name: str, tree: Path
) -> None:
    words = ("build", str(tree), builder_name, "localhost/again:1", "--quiet")
    assert (await command(*words))[0] == 0
    before = command.images()
    code, _, errors = await command(*words[:-1], "--incremental", "--rm")
    assert code == 0, errors
    assert "Saving artifacts" in errors
    assert "Warning" not in errors
    assert len(command.images()) == len(before)
    assert command.images() != before


async def test_only_what_is_committed_is_built_unless_asked(
    command: S2iCommand, builder_name: str, tree: Path
) -> None:
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "one")):
        run("git", "-C", str(tree), *words, env=IDENTITY)
    write_tree(tree, {".s2i/environment": "UNCOMMITTED=1\n"})
    for options, expected in ((("localhost/git:1",), False), (("--copy",), True)):
        code, output, errors = await command("build", str(tree), builder_name, *options)
        assert code == 0, errors
        config = command.config(output.strip())  # without TAG, that is an id
        assert ("UNCOMMITTED=1" in config["Env"]) is expected  # type: ignore[operator]
    labels = command.config("localhost/git:1")["Labels"]
    assert isinstance(labels, dict)
    assert labels["io.openshift.build.source-location"] == str(tree)
    code, _, errors = await command("rebuild", "localhost/git:1", "localhost/git:2")
    assert code == 0, errors
    assert command.config("localhost/git:2")["User"] == "431"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("build", "/nowhere", "BUILDER", "localhost/x"), 14, "'/nowhere' does not exist"),
        (("build", "TREE", "localhost/absent", "localhost/x", "-p", "never"), 2, "absent"),
        (("build", "TREE", "BUILDER", "localhost/x", "-u", "1-9"), 15, "not an allowed"),
        (("build", "TREE", "BUILDER", "localhost/x", "-s", "image:///no"), 1, "assemble exited"),
        (("build", "TREE", "BASE", "localhost/x"), 11, "failed to install ['assemble', 'run']"),
        (("build", "TREE", "BUILDER", "localhost/x", "-s", "ftp://x"), 12, "expected image://"),
        (("build", "TREE", "BUILDER", "localhost/x", "-s", "EMPTY"), 1, "there are no scripts at"),
        (("build", "TREE", "BUILDER", "--push"), 2, "--push needs TAG"),
        (("build", "TREE", "BUILDER", "localhost/x", "--network", "container:x"), 2, "not host"),
        (("build", "TREE", "BUILDER", "localhost/x", "-v", "/a:b"), 2, "an absolute DST"),
        (("usage", "BASE"), 11, "it names none"),
        (("build", "TREE", "BUILDER", "localhost/x", "-e", "A"), 2, "not NAME=VALUE"),
        (
            ("build", "TREE", "BUILDER", "x", "--incremental", "--runtime-image=y"),
            2,
            "does not work with",
        ),
    ],
)
def test_a_refusal_has_a_code_of_its_own(
    command: S2iCommand,
    builder_name: str,
    images: BaseImages,
    tree: Path,
    *,
    words: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    known = {"TREE": str(tree), "BUILDER": builder_name, "EMPTY": f"file://{tree}"}
    if "BASE" in words:
        known["BASE"] = command.pull(images.base, "localhost/base:1")
    refused = command.in_process(*(known.get(word, word) for word in words))
    assert refused.exit_code == code
    assert message in refused.stderr
    assert isinstance(refused.exception, SystemExit)
    assert refused.stdout == ""


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
async def test_a_build_that_is_told_to_end_leaves_nothing(
    command: S2iCommand, builder_name: str, tree: Path, tmp_path: Path, told: signal.Signals
) -> None:
    write_tree(tree, {".s2i/bin/assemble": "#!/bin/sh\necho it runs\nexec sleep 1000\n"})
    own = tmp_path / "own"
    own.mkdir()
    words = ("build", str(tree), builder_name, "localhost/endless:1")
    process = await command.start(*words, TMPDIR=str(own))
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while b"it runs" not in (line := await process.stderr.readline()):
            assert line, "the build has ended"
        assert list(own.iterdir())
        process.send_signal(told)
        _, errors = await process.communicate()
    assert process.returncode == 130
    assert errors.decode().splitlines()[-1] == "error: interrupted"
    assert list(own.iterdir()) == []
    assert command.containers() == []


async def test_a_failure_is_called_back(
    command: S2iCommand, builder_name: str, callbacks: tuple[str, list[dict[str, object]]]
) -> None:
    url, received = callbacks
    await command("build", "/nowhere", builder_name, "localhost/x", "--callback-url", url)
    assert received == [{"success": False}]


async def test_usage_is_the_images_own(command: S2iCommand, builder_name: str) -> None:
    images = command.images()
    code, output, errors = await command("usage", builder_name)
    assert (code, output) == (0, "how to use sti-fake\n"), errors
    assert command.images() == images


async def test_a_registry_is_asked_as_the_persons_own_configuration_says(
    command: S2iCommand, images: BaseImages, fakes: BuilderImages, tree: Path, tmp_path: Path
) -> None:
    """And the image of TAG is the one that was built, though the registry has another."""
    conf = tmp_path / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "{images.registry}"\ninsecure = true\n')
    tag = str(images.reference("mine/replaced:1"))
    run("skopeo", "copy", "-q", *_PLAIN, f"docker://{fakes['scripts']}", f"docker://{tag}")
    builder = str(images.reference("fake/numericuser:1"))
    words = ("build", str(tree), builder, tag, "-p", "always", "-e", "MARK=new", "--push")
    process = await command.start(*words, CONTAINERS_REGISTRIES_CONF=str(conf))
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert "MARK=new" in command.config(tag)["Env"]  # type: ignore[operator]
    assert "MARK=new" in inspect(images.reference("mine/replaced:1"))["Env"]


async def test_a_private_registry_is_asked_with_the_persons_own_login(
    command: S2iCommand, fakes: BuilderImages, tree: Path, tmp_path: Path
) -> None:
    """Over TLS by a certificate of the site's own, as Podman does with the same files."""
    certificate = make_certificate(tmp_path, "localhost")
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    served = {
        "REGISTRY_HTTP_TLS_CERTIFICATE": str(certificate.chain),
        "REGISTRY_HTTP_TLS_KEY": str(certificate.key),
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "test",
        "REGISTRY_AUTH_HTPASSWD_PATH": str(tmp_path / "htpasswd"),
    }
    with contextlib.contextmanager(serve_registry)(tmp_path, served, "localhost") as registry:
        logins, mirrors = tmp_path / "auth.json", tmp_path / "registries.conf"
        auth = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
        logins.write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
        mirrors.write_text(
            '[[registry]]\nlocation = "builders.example.com"\n'
            f'[[registry.mirror]]\nlocation = "{registry}"\n'
        )
        own = {"SSL_CERT_FILE": str(certificate.chain), "REGISTRY_AUTH_FILE": str(logins)}
        run(
            *("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{fakes['numericuser']}"),
            f"docker://{registry}/team/builder:1",
            env=own,
        )
        words = ("build", str(tree), "builders.example.com/team/builder:1")
        own["CONTAINERS_REGISTRIES_CONF"] = str(mirrors)
        pushed = f"{registry}/team/app:1"
        process = await command.start(*words, pushed, "--push", stored=True, **own)
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        found = run("skopeo", "inspect", "--config", f"docker://{pushed}", env=own)
        assert "io.openshift" in found
        logins.write_text("{}")
        process = await command.start(
            *words, f"{registry}/team/other:1", "--push", stored=True, **own
        )
        _, errors = await process.communicate()
        assert process.returncode != 0
        assert b"authentication required" in errors, errors.decode()


async def test_a_written_dockerfile_builds_without_us(
    command: S2iCommand, builder_name: str, tree: Path, tmp_path: Path
) -> None:
    """The scripts are where the label of the builder says, as this machine has it."""
    secret = write_tree(tmp_path / "secret", {"secret": "correct-horse-battery"})
    seen = "#!/bin/sh -e\n. /usr/bin/sti-fake/assemble\ntest -e /sti-fake/secret-delivered\n"
    saved = "#!/bin/sh\ncp /usr/bin/sti-fake/usage /tmp/saved\ntar -C /tmp -cf - saved\n"
    scripts = {".s2i/bin/assemble": f"{seen}test -e /sti-fake/saved\n"}
    scripts |= {".s2i/bin/save-artifacts": saved, ".s2i/environment": 'P=$HOME "q"\n'}
    write_tree(tree, scripts)
    target = tmp_path / "out/Dockerfile"
    code, _, errors = await command(
        *("build", str(tree), builder_name, builder_name, "--incremental", "-e", "A=1"),
        *("--as-dockerfile", str(target), "--assemble-user", "431", "-i", f"{secret}:/tmp"),
    )
    assert code == 0, errors
    file = (
        f"--file={target}",
        "--ulimit=nproc=512:512",
        "--tag=localhost/by-hand",
        str(target.parent),
    )
    environment = {"CONTAINERS_CONF": str(command.conf)}
    run(*command.store, "build", "--pull=never", *file, env=environment)
    config = command.config("localhost/by-hand")
    assert {"A=1", 'P=$HOME "q"'} <= set(config["Env"])  # type: ignore[call-overload]
    assert config["Cmd"] == ["/usr/bin/sti-fake/run"]
    assert config["User"] == "431"


async def test_a_skeleton_is_written_once(command: S2iCommand, tmp_path: Path) -> None:
    target = tmp_path / "new"
    assert (await command("create", "mine", str(target), stored=False))[0] == 0
    assert os.access(target / "s2i/bin/assemble", os.X_OK)
    code, _, errors = await command("create", "mine", str(target), stored=False)
    assert (code, "is not empty" in errors) == (2, True)
