"""Builds that cannot end well: each says why on its object, and leaves nothing behind."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.installation.applications import (
    SOURCES,
    base_stream,
    docker_build,
    source_build,
    stream,
)
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.vendor_images import publish

from upwell.api.build import Build, BuildPhase
from upwell.store.interface import ApiClient, NotFoundError

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOG_LIMIT_BYTES = 16 * 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made() -> AsyncIterator[Installation]:
    async with installation() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(made: Installation) -> AsyncIterator[ApiClient]:
    """A client of a server that has a base image and an S2I builder."""
    await publish(made.vendor, "vendor/base:1", "1.0")
    made.commit("applications", SOURCES)
    async with made.client() as connected:
        await made.apply(
            connected,
            base_stream(made.vendor)
            + stream("builder")
            + docker_build("builder", f"{made.git}/applications"),
        )
        await ended(connected, "builder-1", BuildPhase.COMPLETE)
        yield connected


async def ended(client: ApiClient, name: str, phase: BuildPhase) -> Build:
    return await until(lambda: found(client, name), lambda build: build.status.phase is phase)


async def found(client: ApiClient, name: str) -> Build:
    """Return a build; one in its first moments when there is none yet."""
    try:
        return await client.get(Build, "default", name)
    except NotFoundError:
        return Build()


async def assert_nothing_left(made: Installation, build: Build) -> None:
    async def left() -> list[str]:
        folders = [name for name in made.build_folders() if name == build.uid]
        return [*folders, *made.build_processes(), *made.working_containers()]

    await until(left, [].__eq__)


async def assemble(made: Installation, client: ApiClient, name: str, script: str) -> None:
    """Apply a Source build whose source brings this assemble script of its own."""
    files = {f"{name}/.s2i/bin/assemble": f"#!/bin/sh\n{script}", f"{name}/name": name}
    made.commit(name, files)
    await made.apply(client, stream(name) + source_build(name, f"{made.git}/{name}"))


async def test_a_source_repository_that_is_gone(made: Installation, client: ApiClient) -> None:
    await made.apply(client, stream("gone") + docker_build("gone", f"{made.git}/no-such"))
    build = await ended(client, "gone-1", BuildPhase.FAILED)
    assert build.status.reason == "FetchSourceFailed"
    assert "no-such" in (build.status.message or "")
    await assert_nothing_left(made, build)


async def test_an_assemble_that_fails(made: Installation, client: ApiClient) -> None:
    await assemble(made, client, "failing", "seq 1 100\necho no compiler here >&2\nexit 7\n")
    build = await ended(client, "failing-1", BuildPhase.FAILED)
    assert build.status.reason == "GenericBuildFailed"
    assert "assemble exited with 7" in (build.status.message or "")
    lines = (build.status.log_snippet or "").splitlines()
    assert "no compiler here" in lines
    assert "1" not in lines
    assert made.inputs_tags("default/failing") == []
    await assert_nothing_left(made, build)


async def test_an_assemble_that_hangs_ends_at_its_deadline(
    made: Installation, client: ApiClient
) -> None:
    made.commit("hanging", {"hanging/.s2i/bin/assemble": "#!/bin/sh\nsleep 1000 & sleep 1000\n"})
    config = source_build("hanging", f"{made.git}/hanging")
    config = config.replace("\nspec:\n", "\nspec:\n  completionDeadlineSeconds: 4\n")
    await made.apply(client, stream("hanging") + config)
    build = await ended(client, "hanging-1", BuildPhase.FAILED)
    assert build.status.reason == "DeadlineExceeded"
    assert "4 s" in (build.status.message or "")
    await assert_nothing_left(made, build)


async def test_an_assemble_that_floods_its_log(made: Installation, client: ApiClient) -> None:
    script = "yes flood | head -c 30000000\nmkdir -p /www\necho the end\n"
    await assemble(made, client, "flooding", script)
    build = await ended(client, "flooding-1", BuildPhase.COMPLETE)
    log = made.build_log(build.uid)
    assert LOG_LIMIT_BYTES <= len(log) < LOG_LIMIT_BYTES + 1024
    assert log.endswith("[log limit reached: the rest is left out]\n")
    await assert_nothing_left(made, build)


async def test_a_cancelled_build_leaves_no_process(made: Installation, client: ApiClient) -> None:
    await assemble(made, client, "long", "echo it runs\nsleep 1000 & sleep 1000\n")

    async def log() -> str:
        return made.build_log((await found(client, "long-1")).uid or "none")

    await until(log, lambda text: "it runs" in text)
    done = made.upwell("cancel-build", "long-1")
    assert done.returncode == 0, done.stderr
    build = await ended(client, "long-1", BuildPhase.CANCELLED)
    assert build.status.reason == "CancelledBuild"
    await assert_nothing_left(made, build)


async def test_a_dockerfile_that_fails_and_is_mended(made: Installation, client: ApiClient) -> None:
    broken = docker_build("mended", dockerfile="FROM base:1\nRUN echo cannot; exit 3\n")
    await made.apply(client, stream("mended") + broken)
    build = await ended(client, "mended-1", BuildPhase.FAILED)
    assert build.status.reason == "DockerBuildFailed"
    assert "cannot" in (build.status.log_snippet or "")

    await made.apply(client, docker_build("mended", dockerfile="FROM base:1\nRUN true\n"))
    done = made.upwell("start-build", "mended", "--wait")
    assert done.returncode == 0, done.stderr
    await ended(client, "mended-2", BuildPhase.COMPLETE)


async def test_an_output_stream_that_does_not_exist_yet(
    made: Installation, client: ApiClient
) -> None:
    await made.apply(client, docker_build("late", dockerfile="FROM base:1\nRUN true\n"))

    async def reason() -> str | None:
        return (await found(client, "late-1")).status.reason

    await until(reason, lambda seen: seen == "InvalidOutputReference")
    await made.apply(client, stream("late"))
    await ended(client, "late-1", BuildPhase.COMPLETE)
