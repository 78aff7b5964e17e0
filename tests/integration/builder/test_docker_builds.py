import re
import tarfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.builds.base_images import (
    BaseImages,
    Log,
    inspect,
    push_base_images,
    serve_registry,
    write_tree,
)

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import (
    BinaryKind,
    BinarySource,
    BuildError,
    BuilderStrategy,
    BuildLimits,
    BuildPlan,
)
from upwell.oci import Reference

DOCKERFILE = """\
ARG TAG=none
FROM base:${TAG} AS tools
RUN echo made > /made
FROM base:1
ARG FLAVOUR
COPY --from=tools /made /made
COPY app /app
RUN echo "flavour $FLAVOUR secret $MULTI" && id -u && cat /made
CMD ["/app"]
"""


def plan(images: BaseImages, name: str, /, **changes: object) -> BuildPlan:
    values: dict[str, object] = {
        "id": f"uid-{name}",
        "namespace": "shop",
        "name": f"{name}-1",
        "strategy": BuilderStrategy.DOCKER,
        "context": None,
        "images": {"base:1": images.base},
        "push": images.reference(f"shop/{name}:latest"),
        "insecure_registries": frozenset({images.registry}),
        "step_scope": "shop/app",  # steps are found by the builds of one test, not of its first try
    }
    return BuildPlan(**{**values, **changes})  # type: ignore[arg-type]


async def test_a_multi_stage_build_is_pushed_with_labels_and_environment(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log
) -> None:
    context = write_tree(tmp_path / "tree", {"sub/My.Dockerfile": DOCKERFILE, "app": "#!/bin/sh\n"})
    wanted = plan(
        images,
        "multi",
        context=context,
        dockerfile_path="sub/My.Dockerfile",
        env=(("MULTI", 'two\nlines "q" $HOME \\'), ("EMPTY", "")),
        build_args=(("TAG", "1"), ("FLAVOUR", "sweet & sour")),
        labels={"io.openshift.build.name": "multi-1", "note": "a b"},
        annotations={"org.opencontainers.image.revision": "abc"},
        base_name="vendor/base:1",
        base_digest=str(images.base.digest),
    )

    result = await builder.build(wanted, log)

    assert wanted.push is not None
    assert result.digest is not None
    pushed = inspect(wanted.push.with_digest(result.digest))
    assert pushed["Digest"] == inspect(wanted.push)["Digest"]
    assert pushed["Labels"]["io.openshift.build.name"] == "multi-1"
    assert pushed["Labels"]["note"] == "a b"
    assert 'MULTI=two\nlines "q" $HOME \\' in pushed["Env"]
    assert {"EMPTY=", "BASE=1", "PATH=/bin"} <= set(pushed["Env"])
    assert inspect(wanted.push, "--config")["config"]["Cmd"] == ["/app"]
    annotations = inspect(wanted.push, "--raw")["annotations"]
    assert annotations["org.opencontainers.image.base.name"] == "vendor/base:1"
    assert annotations["org.opencontainers.image.base.digest"] == str(images.base.digest)
    assert annotations["org.opencontainers.image.revision"] == "abc"
    assert "flavour sweet & sour" in log.text
    assert set(result.stages) == {"PullImages", "Build", "PushImage"}


async def test_an_unchanged_build_comes_from_the_cache(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    wanted = plan(images, "cache", dockerfile="FROM base:1\nRUN date +%N > /when\n")
    again, fresh = Log(), Log()

    await builder.build(wanted, log)
    await builder.build(plan(images, "cache2", dockerfile=wanted.dockerfile), again)
    await builder.build(plan(images, "c3", dockerfile=wanted.dockerfile, no_cache=True), fresh)

    assert "Using cache" in again.text
    assert "Using cache" not in fresh.text


async def test_steps_are_found_again_by_a_build_of_another_name_and_not_with_other_variables(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path
) -> None:
    text = (
        'FROM base:1\nCOPY list /list\nRUN echo "mode=$MODE build=$BUILD"; cat /list\nCOPY . /app\n'
    )

    async def built(number: int, mode: str, source: str) -> tuple[str, list[str]]:
        log = Log()
        context = write_tree(tmp_path / f"tree-{number}", {"list": "a\n", "code": source})
        wanted = plan(
            images,
            f"named-{number}",
            context=context,
            dockerfile=text,
            env=(("MODE", mode), ("BUILD", "none")),
            build_env=(("BUILD", f"app-{number}"),),
            labels={"io.openshift.build.name": f"app-{number}"},
        )
        result = await builder.build(wanted, log)
        assert wanted.push is not None
        assert result.digest is not None
        return log.text, inspect(wanted.push.with_digest(result.digest))["Env"]

    odd = """it's "b" \\ ${HOME:-x} \\n # é \\ """
    first, _ = await built(1, odd, "1")
    second, variables = await built(2, odd, "2")
    third, _ = await built(3, "other", "2")

    assert f"mode={odd} build=none" in first.replace("\\\\", "\\")
    assert "mode=" not in second.replace("mode=$MODE", "")
    assert second.count("Using cache") > 2
    assert {f"MODE={odd}", "BUILD=app-2"} <= set(variables)
    assert "mode=other build=none" in third


async def test_what_commands_keep_is_there_for_the_next_build_of_the_same_buildconfig_alone(
    settings: BuildahSettings, images: BaseImages
) -> None:
    """The limit is of all caches: a quarter of it is one cache's."""
    builder = BuildahBuilder(replace(settings, cache_mount_bytes=4 * 1024**2), dialer=None)

    async def lines(key: str, name: str, more: str = "") -> str:
        log = Log()
        text = (
            "FROM base:1\nUSER 431\n"
            f"RUN --mount=type=cache,target=/keep,uid=431 echo {name} >>/keep/n; wc -l </keep/n\n"
        )
        wanted = plan(images, name, dockerfile=f"{text}{more}", push=None, cache_key=key)
        await builder.build(wanted, log)
        return next(line for line in log.text.splitlines() if line.isdecimal())

    large = (
        "RUN --mount=type=cache,target=/large,uid=431 head -c 2000000 /dev/urandom >/large/file\n"
    )
    assert [await lines("shop/1", f"n{number}") for number in range(2)] == ["1", "2"]
    assert [await lines(key, f"k{index}") for index, key in enumerate(("shop/2", ""))] == ["1", "1"]
    assert [await lines("shop/1", "large", large), await lines("shop/1", "l2")] == ["3", "1"]
    assert len(await builder.prune(frozenset(), unused_for=timedelta(0), dry_run=True)) > 1
    await builder.prune(frozenset(), unused_for=timedelta(0))
    assert await lines("shop/1", "pruned") == "1"


async def test_no_build_finds_the_steps_of_another_buildconfig(
    builder: BuildahBuilder, images: BaseImages
) -> None:
    """A step's words do not say what was in its cache, nor who answered it."""

    async def built(scope: str, name: str, *steps: str) -> str:
        log = Log()
        text = "".join(f"{line}\n" for line in ("FROM base:1", *steps))
        wanted = plan(images, name, dockerfile=text, push=None, cache_key=scope, step_scope=scope)
        await builder.build(wanted, log)
        return log.text

    step = "RUN --mount=type=cache,target=/c cp /c/tool /tool || echo good >/tool"
    await built("evil/1", "filled", "RUN --mount=type=cache,target=/c echo evil >/c/tool")
    await built("evil/1", "poisoned", step)
    again = await built("evil/1", "again", step, "RUN cat /tool")
    mine = await built("shop/2", "mine", step, "RUN cat /tool")
    assert "Using cache" in again
    assert "\nevil\n" in again
    assert "Using cache" not in mine
    assert "\ngood\n" in mine


async def test_a_mounted_context_may_be_written_and_stays_as_it_is(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log
) -> None:
    """The context is a build's own, as one that was fetched or uploaded."""
    archive = tmp_path / "source.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(write_tree(tmp_path / "tree", {"sub/file": "kept\n"}), ".")
    checkout = await builder.unpack("uid-bind", BinarySource(archive, BinaryKind.ARCHIVE), log)
    text = (
        "FROM base:1\n"
        "WORKDIR /in\n"
        "RUN --mount=type=bind,target=/in,rw echo x >out && echo y >>sub/file && wc -l s*/*\n"
        "COPY . /copied\nRUN cat /copied/sub/file; ls -ln /copied\n"
    )
    await builder.build(plan(images, "bind", context=checkout.path, dockerfile=text), log)
    assert "2 sub/file" in log.text
    assert "kept\ndrwx" in re.sub(r"total \d+\n", "", log.text)
    assert "out" not in log.text.rpartition("kept")[2]
    assert log.text.rpartition("kept")[2].split()[4:6] == ["0", "0"], log.text


async def test_a_stage_that_nothing_is_taken_of_is_built_too(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    text = "FROM base:1 AS tests\nRUN echo the tests fail; exit 7\nFROM base:1\nRUN true\n"
    with pytest.raises(BuildError, match="exit status 7"):
        await builder.build(plan(images, "unused", dockerfile=text, push=None), log)


async def test_the_health_check_and_shell_of_a_base_stay(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    text = 'FROM base:1\nHEALTHCHECK --retries=5 CMD ["/bin/true"]\nSHELL ["/bin/sh", "-ec"]\n'
    base = plan(images, "healthy", dockerfile=text, step_scope="")
    await builder.build(base, log)
    upon = {"base:1": base.push}
    text = "FROM base:1\nRUN true\n"
    wanted = plan(images, "upon", dockerfile=text, images=upon, base_name="b", step_scope="")
    result = await builder.build(wanted, log)
    assert wanted.push is not None
    assert result.digest is not None
    config = inspect(wanted.push.with_digest(result.digest), "--config", "--raw")["config"]
    assert (config["Healthcheck"]["Test"], config["Healthcheck"]["Retries"]) == (
        ["CMD", "/bin/true"],
        5,
    )
    assert config["Shell"] == ["/bin/sh", "-ec"]
    assert config["Labels"]["org.opencontainers.image.base.name"] == "b"


async def test_a_restarted_builder_has_its_cache_and_asks_no_registry_for_a_base(
    settings: BuildahSettings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = "FROM base:1\nRUN date +%N > /kept\n"
    first, again = Log(), Log()
    with contextmanager(serve_registry)(tmp_path_factory.mktemp("vendor")) as address:
        vendor = push_base_images(address)
        wanted = plan(vendor, "kept", dockerfile=text, push=None)
        await BuildahBuilder(settings, dialer=None).build(wanted, first)

    restarted = BuildahBuilder(settings, dialer=None)
    await restarted.recover()
    await restarted.build(wanted, again)

    assert "Using cache" not in first.text
    assert "Using cache" in again.text


async def test_an_instruction_without_oci_field_survives(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    recipe = "FROM base:1\nONBUILD RUN true\n"
    wanted = plan(images, "onbuild", dockerfile=recipe, base_name="vendor/base:1")
    await builder.build(wanted, log)
    assert wanted.push is not None
    assert inspect(wanted.push, "--config", "--raw")["config"]["OnBuild"] == ["RUN true"]
    labels = inspect(wanted.push)["Labels"]
    assert labels["org.opencontainers.image.base.name"] == "vendor/base:1"


@pytest.mark.parametrize(
    ("dockerfile", "reason", "message"),
    [
        ("FROM base:1\nRUN echo broken; exit 3\n", "DockerBuildFailed", "exit status 3"),
        ("FROM base:1\nFROM other\n", "ManageDockerfileFailed", "line 2: the image 'other'"),
        ("RUN x\n", "ManageDockerfileFailed", "before the first FROM"),
        ("FROM base:1\nCOPY nothing /\n", "DockerBuildFailed", "nothing"),
        (None, "ManageDockerfileFailed", "'Dockerfile' cannot be read: No such file"),
    ],
)
async def test_failures_have_a_reason_and_a_cause(
    builder: BuildahBuilder,
    images: BaseImages,
    log: Log,
    tmp_path: Path,
    *,
    dockerfile: str | None,
    reason: str,
    message: str,
) -> None:
    context = write_tree(tmp_path / "tree", {"README": ""})
    with pytest.raises(BuildError) as caught:
        await builder.build(plan(images, "bad", context=context, dockerfile=dockerfile), log)
    assert caught.value.reason == reason
    assert message in str(caught.value)


async def test_a_dockerfile_outside_of_the_context_is_not_read(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log
) -> None:
    write_tree(tmp_path, {"Secret": "FROM base:1\n", "tree/README": ""})
    (tmp_path / "tree/Dockerfile").symlink_to("../Secret")
    for path in ("../Secret", "Dockerfile"):
        with pytest.raises(BuildError, match="is outside the source"):
            await builder.build(
                plan(images, "out", context=tmp_path / "tree", dockerfile_path=path), log
            )


async def test_memory_exhaustion_has_its_own_reason(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    hungry = "FROM base:1\nRUN a=x; while true; do a=$a$a; done\n"
    limits = BuildLimits(memory_bytes=32 * 1024**2, cpus=1.0)
    with pytest.raises(BuildError) as caught:
        await builder.build(plan(images, "oom", dockerfile=hungry, limits=limits), log)
    assert caught.value.reason == "OutOfMemoryKilled"
    assert "33554432 bytes: spec.resources.limits.memory" in str(caught.value)


async def test_an_absent_base_and_a_dead_registry_are_told_apart(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    absent = images.reference("vendor/nothing:1")
    with pytest.raises(BuildError) as caught:
        await builder.build(
            plan(images, "absent", dockerfile="FROM base:1\n", images={"base:1": absent}), log
        )
    assert (caught.value.reason, caught.value.retryable) == ("PullBuilderImageFailed", False)

    dead = Reference.parse("127.0.0.1:1/shop/dead:1")
    wanted = plan(images, "dead", dockerfile="FROM base:1\n", push=dead)
    with pytest.raises(BuildError) as caught:
        await builder.build(wanted, log)
    assert (caught.value.reason, caught.value.retryable) == ("PushImageToRegistryFailed", True)


async def test_relative_paths_are_those_of_the_process(
    images: BaseImages,
    containers_conf: Path,
    passage: Path,
    tmp_path: Path,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = BuildahSettings(Path("data"), temporary_dir=passage, containers_conf=containers_conf)
    builder = BuildahBuilder(settings, dialer=None)
    dockerfile = "FROM base:1\nRUN echo relative is fine\n"
    await builder.build(
        plan(images, "relative", dockerfile=dockerfile, push=None, step_scope=""), log
    )
    assert "relative is fine" in log.text
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"builds", "storage", "run"}
