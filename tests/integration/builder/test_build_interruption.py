"""A build that is cut short, in whatever way, leaves nothing behind."""

import asyncio
import json
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.builds.base_images import BaseImages, Log, control_groups, run, write_tree

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import (
    BUILDER_KILLED,
    DISK_PRESSURE,
    BuildError,
    BuilderStrategy,
    BuildPlan,
    MountedFiles,
)
from upwell.builder.logs.files import FileBuildLogs
from upwell.workload.podman.volumes.mounts import mounts_below

HANG = "#!/bin/sh\n(trap '' TERM; exec sleep {seconds}) &\necho hanging\nsleep {seconds}\n"


@pytest.fixture
def marker(tmp_path: Path) -> str:
    """A number of seconds to sleep that no other process sleeps."""
    return f"{600 + os.getpid() % 100}.{abs(hash(tmp_path)) % 10**9}"


def hanging(images: BaseImages, tmp_path: Path, marker: str, deadline: float | None) -> BuildPlan:
    tree = write_tree(tmp_path / "tree", {"hook": HANG.format(seconds=marker)})
    return BuildPlan(
        id="uid-hang",
        namespace="shop",
        name="hang-1",
        strategy=BuilderStrategy.SOURCE,
        context=tree,
        images={"builder": images.s2i},
        push=None,
        insecure_registries=frozenset({images.registry}),
        deadline_seconds=deadline,
    )


def processes(marker: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if marker in arguments:
                found.append(arguments)
    return found


def working_containers(settings: BuildahSettings) -> str:
    store = (f"--root={settings.storage_root}", f"--runroot={settings.run_root}")
    return run("buildah", *store, "containers", "--quiet")


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # processes of others send no event
            await asyncio.sleep(0.02)


async def test_cancelling_kills_the_tree_and_removes_the_working_container(
    builder: BuildahBuilder,
    settings: BuildahSettings,
    images: BaseImages,
    tmp_path: Path,
    log: Log,
    marker: str,
) -> None:
    task = asyncio.create_task(builder.build(hanging(images, tmp_path, marker, None), log))
    await until(lambda: "hanging" in log.text and len(processes(marker)) == 2)
    assert control_groups(builder)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert processes(marker) == []
    assert working_containers(settings) == ""
    assert control_groups(builder) == []
    await builder.discard("uid-hang")
    assert list((settings.work_dir / "builds").iterdir()) == []
    await builder.discard("uid-hang")


async def test_a_deadline_ends_a_hanging_assemble(
    builder: BuildahBuilder,
    settings: BuildahSettings,
    images: BaseImages,
    tmp_path: Path,
    log: Log,
    marker: str,
) -> None:
    with pytest.raises(BuildError) as caught:
        await builder.build(hanging(images, tmp_path, marker, 1.5), log)
    assert caught.value.reason == "DeadlineExceeded"
    assert "1.5 s" in str(caught.value)
    assert processes(marker) == []
    assert working_containers(settings) == ""


def builders(build_id: str) -> list[int]:
    """Process ids of the Buildah that carries out the build."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal():
                argv = (entry / "cmdline").read_bytes().decode().split("\0")
                is_builder = argv[0].rpartition("/")[2] == "buildah" and "build" in argv
                if is_builder and any(f"/{build_id}/" in argument for argument in argv):
                    found.append(int(entry.name))
    return found


def sleepers(marker: str) -> list[int]:
    """Process ids of the commands that sleep."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if (entry / "cmdline").read_bytes().split(b"\0")[:2] == [b"sleep", marker.encode()]:
                found.append(int(entry.name))
    return found


async def test_a_builder_that_is_killed_says_so_and_leaves_nothing(
    builder: BuildahBuilder,
    settings: BuildahSettings,
    images: BaseImages,
    tmp_path: Path,
    log: Log,
    marker: str,
) -> None:
    task = asyncio.create_task(builder.build(hanging(images, tmp_path, marker, None), log))
    await until(lambda: "hanging" in log.text and len(processes(marker)) == 2)
    for pid in builders("uid-hang"):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(BuildError) as caught:
        await task
    assert caught.value.reason == BUILDER_KILLED
    assert caught.value.retryable
    assert processes(marker) == []
    assert working_containers(settings) == ""


async def test_a_command_that_somebody_kills_is_no_fault_of_a_source_without_memory_limit(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log, marker: str
) -> None:
    task = asyncio.create_task(builder.build(hanging(images, tmp_path, marker, None), log))
    await until(lambda: "hanging" in log.text and len(processes(marker)) == 2)
    for pid in sleepers(marker):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(BuildError) as caught:
        await task
    assert caught.value.reason == BUILDER_KILLED
    assert caught.value.retryable


async def test_a_stopped_builder_ends_at_the_deadline(
    builder: BuildahBuilder,
    settings: BuildahSettings,
    images: BaseImages,
    tmp_path: Path,
    log: Log,
    marker: str,
) -> None:
    task = asyncio.create_task(builder.build(hanging(images, tmp_path, marker, 8), log))
    await until(lambda: "hanging" in log.text and len(processes(marker)) == 2)
    for pid in builders("uid-hang"):
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(BuildError) as caught:
        await task
    assert caught.value.reason == "DeadlineExceeded"
    assert builders("uid-hang") == []
    assert processes(marker) == []
    assert working_containers(settings) == ""


@pytest.fixture
def small_disk(settings: BuildahSettings) -> Iterator[Path]:
    """A file system of 32 MiB, with the store of a builder's images on it."""
    place = settings.work_dir / "small"
    place.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place))
    yield place
    own = place / "storage" / "overlay"
    while own in mounts_below(own.parent):  # `is_mount` does not tell a bind mount
        run("umount", str(own))
    run("umount", str(place))


async def test_a_full_disk_is_no_fault_of_the_source(
    settings: BuildahSettings, images: BaseImages, small_disk: Path, log: Log
) -> None:
    builder = BuildahBuilder(replace(settings, storage_root=small_disk / "storage"), dialer=None)
    plan = BuildPlan(
        id="uid-full",
        namespace="shop",
        name="full-1",
        strategy=BuilderStrategy.DOCKER,
        context=None,
        images={"base": images.base},
        dockerfile="FROM base\nRUN head -c 60000000 /dev/zero > /filling\n",
        push=None,
        insecure_registries=frozenset({images.registry}),
    )
    with pytest.raises(BuildError) as caught:
        await builder.build(plan, log)
    assert caught.value.reason == DISK_PRESSURE
    assert caught.value.retryable
    await builder.discard(plan.id)
    again = replace(plan, dockerfile="FROM base\nRUN echo small > /filling\n")
    await builder.build(again, log)  # what the first one wrote is gone
    await builder.discard(plan.id)


async def test_one_cancelled_build_leaves_another_alone(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, marker: str
) -> None:
    first, second = Log(), Log()
    waiting = "while [ ! -e /signals/go ]; do sleep 0.05; done"
    hook = f"#!/bin/sh\necho begun; {waiting}; echo over\n"
    slow = write_tree(tmp_path / "slow", {"hook": hook})
    other = BuildPlan(
        id="uid-other",
        namespace="shop",
        name="other-1",
        strategy=BuilderStrategy.SOURCE,
        context=slow,
        images={"builder": images.s2i},
        push=None,
        insecure_registries=frozenset({images.registry}),
        volumes=(MountedFiles("signals", {"none": b""}, ("/signals",)),),
    )
    async with asyncio.TaskGroup() as group:
        surviving = group.create_task(builder.build(other, second))
        doomed = group.create_task(builder.build(hanging(images, tmp_path, marker, None), first))
        await until(lambda: "hanging" in first.text and "begun" in second.text)
        doomed.cancel()
        with suppress(asyncio.CancelledError):
            await doomed
        (builder._folder("uid-other").path / "volume-0/go").touch()
    assert surviving.result().digest is None
    assert "over" in second.text


PARENT = """
import asyncio, json, sys
from pathlib import Path
from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import BuilderStrategy, BuildPlan
from upwell.oci import Reference

given = json.loads(sys.argv[1])
builder = BuildahBuilder(BuildahSettings(
    work_dir=Path(given["work"]), storage_root=Path(given["root"]), run_root=Path(given["run"]),
    containers_conf=Path(given["conf"]), temporary_dir=Path(given["passage"]),
), dialer=None)
plan = BuildPlan(
    id="uid-hang", namespace="shop", name="hang-1", strategy=BuilderStrategy.SOURCE,
    context=Path(given["tree"]), images={"builder": Reference.parse(given["image"])}, push=None,
    insecure_registries=frozenset({given["registry"]}),
)
asyncio.run(builder.build(plan, lambda piece: None))
"""


@pytest.fixture
async def killed_parent(
    settings: BuildahSettings, images: BaseImages, tmp_path: Path, marker: str
) -> AsyncIterator[None]:
    """A process with a build in full run, and then kill -9."""
    tree = write_tree(tmp_path / "tree", {"hook": HANG.format(seconds=marker)})
    given = {
        "work": str(settings.work_dir),
        "root": str(settings.storage_root),
        "run": str(settings.run_root),
        "conf": str(settings.containers_conf),
        "passage": str(settings.temporary_dir),
        "tree": str(tree),
        "image": str(images.s2i),
        "registry": images.registry,
    }
    script = textwrap.dedent(PARENT)
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, json.dumps(given))
    try:
        await until(lambda: len(processes(marker)) == 2)
    finally:
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
    yield
    await until(lambda: not processes(marker))


@pytest.mark.usefixtures("killed_parent")
async def test_recovery_after_kill_9_leaves_nothing(
    settings: BuildahSettings, images: BaseImages, log: Log, marker: str
) -> None:
    await until(lambda: not processes(marker), seconds=20)  # by the kernel, before any recovery
    assert working_containers(settings) != ""
    builder = BuildahBuilder(settings, dialer=None)
    assert control_groups(builder)

    await builder.recover()

    assert working_containers(settings) == ""
    assert control_groups(builder) == []
    assert not (settings.work_dir / "builds").exists()
    assert str(settings.storage_root) not in run("cat", "/proc/mounts")
    again = BuildPlan(
        id="uid-again",
        namespace="shop",
        name="again-1",
        strategy=BuilderStrategy.DOCKER,
        context=None,
        images={"base": images.base},
        dockerfile="FROM base\nRUN echo fine\n",
        push=None,
        insecure_registries=frozenset({images.registry}),
    )
    await builder.build(again, log)
    assert "fine" in log.text


async def test_a_flooding_assemble_does_not_fill_the_log(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path
) -> None:
    logs = FileBuildLogs(tmp_path / "logs", max_bytes=100_000)
    tree = write_tree(tmp_path / "tree", {"hook": "#!/bin/sh\nyes | head -c 20000000\nexit 4\n"})
    flood = BuildPlan(
        id="uid-flood",
        namespace="shop",
        name="flood-1",
        strategy=BuilderStrategy.SOURCE,
        context=tree,
        images={"builder": images.s2i},
        push=None,
        insecure_registries=frozenset({images.registry}),
    )
    with pytest.raises(BuildError, match="assemble exited with 4"):
        await builder.build(flood, logs.sink(flood.id))
    logs.close(flood.id)
    content = b"".join([piece async for piece in logs.read(flood.id)])
    assert 100_000 <= len(content) < 100_200
    assert content.count(b"log limit reached") == 1
