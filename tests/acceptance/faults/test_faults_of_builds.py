"""Builds that fail: each says why on its object, leaves nothing behind, and goes on if it may."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from tests.support.faults.on_demand import on_demand
from tests.support.installation.applications import (
    SOURCES,
    base_stream,
    docker_build,
    source_build,
    stream,
)
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.vendor_images import publish
from tests.support.registry.registry_proxy import (
    BadAnswer,
    dropped,
    other_bytes,
    registry_proxy,
    server_error,
    truncated,
)

from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build, BuildPhase
from upwell.api.image import ImageStream
from upwell.oci import Digest
from upwell.store.interface import ApiClient, NotFoundError

pytestmark = pytest.mark.asyncio(loop_scope="module")

INTERRUPTION = "tests/integration/builder/test_build_interruption.py"
TRIGGERS = "tests/integration/builder/test_openshift_trigger_cases.py"
RECONCILED = "tests/unit/reconcilers/builds"
PULLED_BADLY = on_demand(
    "tests/acceptance/faults/test_faults_of_builds.py::"
    "test_a_vendor_that_is_out_of_order_while_a_build_pulls",
    "tests/integration/registry/test_client_faults.py::test_a_wrong_digest_is_never_used",
)

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


@pytest_asyncio.fixture(loop_scope="module")
async def named(made: Installation, client: ApiClient) -> AsyncIterator[Callable[[str], str]]:
    """Make names that no other test has had, nor a first try of this one; end what it leaves."""
    suffix = uuid.uuid4().hex[:8]
    yield lambda name: f"{name}-{suffix}"
    for build in (await client.list(Build)).items:
        if not build.status.phase.is_terminal:
            made.upwell("cancel-build", build.name)


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


async def test_a_source_repository_that_is_gone(
    made: Installation, client: ApiClient, named: Callable[[str], str]
) -> None:
    name = named("gone")
    await made.apply(client, stream(name) + docker_build(name, f"{made.git}/no-such"))
    build = await ended(client, f"{name}-1", BuildPhase.FAILED)
    assert build.status.reason == "FetchSourceFailed"
    assert "no-such" in (build.status.message or "")
    await assert_nothing_left(made, build)


async def test_an_assemble_that_fails(
    made: Installation, client: ApiClient, named: Callable[[str], str]
) -> None:
    name = named("failing")
    await assemble(made, client, name, "(seq 1 100; echo no compiler here) >&2\nexit 7\n")
    build = await ended(client, f"{name}-1", BuildPhase.FAILED)
    assert build.status.reason == "GenericBuildFailed"
    assert "assemble exited with 7" in (build.status.message or "")
    lines = (build.status.log_snippet or "").splitlines()
    assert "no compiler here" in lines
    assert "1" not in lines
    assert made.inputs_tags(f"default/{name}") == []
    await assert_nothing_left(made, build)


@on_demand(f"{INTERRUPTION}::test_a_deadline_ends_a_hanging_assemble")
async def test_an_assemble_that_hangs_ends_at_its_deadline(
    made: Installation, client: ApiClient, named: Callable[[str], str]
) -> None:
    name = named("hanging")
    made.commit(name, {f"{name}/.s2i/bin/assemble": "#!/bin/sh\nsleep 1000 & sleep 1000\n"})
    config = source_build(name, f"{made.git}/{name}")
    config = config.replace("\nspec:\n", "\nspec:\n  completionDeadlineSeconds: 4\n")
    await made.apply(client, stream(name) + config)
    build = await ended(client, f"{name}-1", BuildPhase.FAILED)
    assert build.status.reason == "DeadlineExceeded"
    assert "4 s" in (build.status.message or "")
    await assert_nothing_left(made, build)


@on_demand(f"{INTERRUPTION}::test_a_flooding_assemble_does_not_fill_the_log")
async def test_an_assemble_that_floods_its_log(
    made: Installation, client: ApiClient, named: Callable[[str], str]
) -> None:
    name, script = named("flooding"), "yes flood | head -c 30000000\nmkdir -p /www\necho the end\n"
    await assemble(made, client, name, script)
    build = await ended(client, f"{name}-1", BuildPhase.COMPLETE)
    log = made.build_log(build.uid)
    assert LOG_LIMIT_BYTES <= len(log) < LOG_LIMIT_BYTES + 1024
    assert log.endswith("[log limit reached: the rest is left out]\n")
    await assert_nothing_left(made, build)


async def test_a_cancelled_build_leaves_no_process(
    made: Installation, client: ApiClient, named: Callable[[str], str]
) -> None:
    name = named("long")
    await assemble(made, client, name, "echo it runs\nsleep 1000 & sleep 1000\n")

    async def log() -> str:
        return made.build_log((await found(client, f"{name}-1")).uid or "none")

    await until(log, lambda text: "it runs" in text)
    done = made.upwell("cancel-build", f"{name}-1")
    assert done.returncode == 0, done.stderr
    build = await ended(client, f"{name}-1", BuildPhase.CANCELLED)
    assert build.status.reason == "CancelledBuild"
    await assert_nothing_left(made, build)


async def test_a_dockerfile_that_fails_and_is_mended(
    made: Installation, client: ApiClient, named: Callable[[str], str]
) -> None:
    name = named("mended")
    broken = docker_build(name, dockerfile="FROM base:1\nRUN echo cannot; exit 3\n")
    await made.apply(client, stream(name) + broken)
    build = await ended(client, f"{name}-1", BuildPhase.FAILED)
    assert build.status.reason == "DockerBuildFailed"
    assert "cannot" in (build.status.log_snippet or "")

    await made.apply(client, docker_build(name, dockerfile="FROM base:1\nRUN true\n"))
    done = made.upwell("start-build", name, "--wait")
    assert done.returncode == 0, done.stderr
    await ended(client, f"{name}-2", BuildPhase.COMPLETE)


async def test_an_output_stream_that_does_not_exist_yet(
    made: Installation, client: ApiClient, named: Callable[[str], str]
) -> None:
    name = named("late")
    await made.apply(client, docker_build(name, dockerfile="FROM base:1\nRUN true\n"))

    async def reason() -> str | None:
        return (await found(client, f"{name}-1")).status.reason

    await until(reason, lambda seen: seen == "InvalidOutputReference")
    await made.apply(client, stream(name))
    await ended(client, f"{name}-1", BuildPhase.COMPLETE)


async def waiting_for_retry(client: ApiClient, name: str, reason: str) -> Build:
    build = await until(
        lambda: found(client, name),
        lambda build: build.status.phase.is_terminal or build.status.retry_time is not None,
    )
    assert (build.status.phase, build.status.reason) == (BuildPhase.NEW, reason)
    assert "attempt 2 begins at" in (build.status.message or "")
    return build


@pytest.mark.parametrize(
    "misbehave",
    [
        pytest.param(server_error, id="500", marks=PULLED_BADLY),
        pytest.param(other_bytes, id="wrong digest", marks=PULLED_BADLY),
        pytest.param(truncated, id="truncated"),
        pytest.param(dropped, id="dropped", marks=PULLED_BADLY),
    ],
)
async def test_a_vendor_that_is_out_of_order_while_a_build_pulls(
    made: Installation, client: ApiClient, named: Callable[[str], str], misbehave: BadAnswer
) -> None:
    name = named("unruly")
    digest = await publish(made.vendor, f"vendor/{name}:1", name)
    async with registry_proxy(made.vendor, made.spare_port()) as proxy:
        await made.apply(client, base_stream(proxy.address, name, scheduled=False))

        async def imported() -> bool:
            history = (await client.get(ImageStream, "default", name)).status.tag("1")
            return history is not None and history.latest is not None

        await until(imported, bool)
        proxy.misbehave = misbehave
        config = docker_build("app", base=f"{name}:1", dockerfile=f"FROM {name}:1\nRUN true\n")
        config = config.replace("name: app", f"name: {name}-app").replace("app:latest", "app:1")
        await made.apply(client, stream("app") + config)
        await waiting_for_retry(client, f"{name}-app-1", "PullBuilderImageFailed")
        assert proxy.misbehaved

        proxy.misbehave = None
        build = await ended(client, f"{name}-app-1", BuildPhase.COMPLETE)
        assert build.status.attempts > 1
        assert [Digest.parse(i.reference.partition("@")[2]) for i in build.status.images] == [
            digest
        ]
        log = made.build_log(build.uid)
        assert "Attempt 1 has failed: Failed pulling builder image." in log
        assert "Attempt 2 begins" in log
        await assert_nothing_left(made, build)


async def test_a_builder_that_is_killed(
    made: Installation, client: ApiClient, named: Callable[[str], str]
) -> None:
    name = named("killed")
    await made.apply(
        client, stream(name) + docker_build(name, dockerfile="FROM base:1\nRUN sleep 5\n")
    )

    async def pids() -> list[int]:
        uid = (await found(client, f"{name}-1")).uid
        return made.builder_pids(uid) if uid and "RUN sleep" in made.build_log(uid) else []

    for pid in await until(pids, bool, closely=True):
        os.kill(pid, signal.SIGKILL)
    await waiting_for_retry(client, f"{name}-1", "BuilderKilled")
    build = await ended(client, f"{name}-1", BuildPhase.COMPLETE)
    assert build.status.attempts == 2
    await assert_nothing_left(made, build)


@on_demand(f"{INTERRUPTION}::test_a_stopped_builder_ends_at_the_deadline")
async def test_a_builder_that_is_stopped_ends_at_the_deadline(
    made: Installation, client: ApiClient, named: Callable[[str], str]
) -> None:
    name = named("stopped")
    config = docker_build(name, dockerfile="FROM base:1\nRUN sleep 600\n")
    config = config.replace("\nspec:\n", "\nspec:\n  completionDeadlineSeconds: 10\n")
    await made.apply(client, stream(name) + config)

    async def pids() -> list[int]:
        uid = (await found(client, f"{name}-1")).uid
        return made.builder_pids(uid) if uid and "RUN sleep" in made.build_log(uid) else []

    for pid in await until(pids, bool, closely=True):
        os.kill(pid, signal.SIGSTOP)
    build = await ended(client, f"{name}-1", BuildPhase.FAILED)
    assert build.status.reason == "DeadlineExceeded"
    await assert_nothing_left(made, build)


@on_demand(
    f"{INTERRUPTION}::test_a_full_disk_is_no_fault_of_the_source",
    f"{RECONCILED}/test_builds.py::test_builds_wait_while_the_disk_is_full_and_go_on_by_themselves",
)
async def test_a_full_disk_is_waited_out() -> None:
    def small(made: Installation) -> None:
        made.mount_small_disk(made.data_dir / "builder", megabytes=64)

    async with installation(prepare=small) as made, made.client() as client:
        await publish(made.vendor, "vendor/base:1", "1.0")
        big = "FROM base:1\nRUN head -c 90000000 /dev/zero > /big\n"
        await made.apply(
            client, base_stream(made.vendor) + stream("big") + docker_build("big", dockerfile=big)
        )
        await waiting_for_retry(client, "big-1", "DiskPressure")
        made.enlarge_disk(made.data_dir / "builder", megabytes=600)
        build = await ended(client, "big-1", BuildPhase.COMPLETE)
        assert build.status.attempts > 1
        await assert_nothing_left(made, build)


CHURN_SECONDS = 12


@on_demand(
    f"{TRIGGERS}::test_case_13_only_the_latest_waits_and_the_running_build_is_left_alone",
    f"{RECONCILED}/test_build_configs.py::test_while_images_move_one_build_runs_and_one_waits_with_the_newest",
    "tests/acceptance/test_loop.py::test_a_base_change_reaches_every_application_once",
)
async def test_a_base_that_is_published_every_second_reaches_every_application(
    made: Installation, client: ApiClient, named: Callable[[str], str]
) -> None:
    churn = named("churn")
    await publish(made.vendor, f"vendor/{churn}:1", "churn 0")
    names = tuple(f"{churn}-{one}" for one in "abc")
    dockerfile = f"FROM {churn}:1\nRUN sleep 1; cp /etc/base-version /version\n"
    configs = "".join(
        stream(name) + docker_build(name, base=f"{churn}:1", dockerfile=dockerfile)
        for name in names
    )
    await made.apply(client, base_stream(made.vendor, churn) + configs)
    for name in names:
        await ended(client, f"{name}-1", BuildPhase.COMPLETE)

    digest, most = None, 0
    for version in range(1, CHURN_SECONDS + 1):
        digest = await publish(made.vendor, f"vendor/{churn}:1", f"churn {version}")
        for name in names:
            waiting = [b for b in await builds_of(client, name) if not b.status.phase.is_terminal]
            most = max(most, len(waiting))
        await asyncio.sleep(1)  # the pace of what is tried, nothing is waited for
    assert most <= 2, "one runs, one waits"

    served = {name: await builds_of(client, name) for name in names}
    for name, builds in served.items():
        complete = [build for build in builds if build.status.phase is BuildPhase.COMPLETE]
        assert len(complete) > 1, f"{name} got nothing new for {CHURN_SECONDS} s: {builds}"
    counts = [len(builds) for builds in served.values()]
    assert max(counts) - min(counts) <= 2, counts

    async def newest_bases() -> set[str]:
        found = set()
        for name in names:
            done = [b for b in await builds_of(client, name) if b.status.output is not None]
            found |= {image.reference.partition("@")[2] for image in done[-1].status.images}
        return found

    await until(newest_bases, {str(digest)}.__eq__)


async def builds_of(client: ApiClient, config: str) -> list[Build]:
    """Return the builds of a BuildConfig, the oldest first."""
    builds = (await client.list(Build)).items
    mine = [build for build in builds if build.labels.get(BUILD_CONFIG_LABEL) == config]
    return sorted(mine, key=lambda build: int(build.name.rpartition("-")[2]))
