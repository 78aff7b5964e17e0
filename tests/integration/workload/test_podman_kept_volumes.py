"""Volumes that an image declares: their files outlive every instance, and go long after the owner.

Nothing here mounts a volume: what is written goes where the image says that it should.
"""

import asyncio
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support.workload.podman_home import OWNER, PodmanHome, Workload, root_filesystem
from tests.support.workload.waiting import eventually

from upwell.machine.clock import SystemClock
from upwell.oci import Digest
from upwell.workload.instance_spec import (
    EmptyDir,
    InstanceMount,
    InstanceSpec,
    InstanceUsers,
    Owner,
)
from upwell.workload.interface import LeftoverKind, State
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings
from upwell.workload.podman.volumes import kept_volumes
from upwell.workload.podman.volumes.kept_volumes import GRACE, move_files

OTHER_FILE_SYSTEM = Path("/dev/shm")  # noqa: S108 - it is there on every machine with Podman
COUNT = "echo x >> /data/log; cat /data/log; exec sleep 60"


class LaterClock(SystemClock):
    """The machine's clock, ahead of it."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.fixture
def database(podman_home: PodmanHome) -> Iterator[Workload]:
    """An image that declares a volume in which it has a file already, of a user of its own."""
    archive = io.BytesIO(root_filesystem())
    with tarfile.open(fileobj=archive, mode="a") as tar:
        folder = tarfile.TarInfo("data")
        folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o700, 7, 8
        tar.addfile(folder)
        seed = tarfile.TarInfo("data/seed")
        seed.size, seed.mode, seed.uid, seed.gid = 5, 0o600, 7, 8
        tar.addfile(seed, io.BytesIO(b"seed\n"))
    archive.seek(0)
    podman_home.run(
        "import", "--change=VOLUME /data", "-", "localhost/seeded:latest", stdin=archive.read()
    )
    found = json.loads(podman_home.run("image", "inspect", "localhost/seeded:latest"))
    digest = Digest.parse(found[0]["Digest"])
    yield Workload(replace(podman_home.image, repository="seeded", tag=None, digest=digest))
    podman_home.run("volume", "prune", "--force")


def spec(database: Workload, revision: str, index: int = 0, script: str = COUNT) -> InstanceSpec:
    container = database.container("sh", "-c", script)
    made = database.spec(container, name=f"web-{revision}-{index}")
    return replace(made, revision=revision, volume_index=index)


async def lines(runtime: PodmanRuntime, name: str) -> int:
    async def read() -> bytes:
        code, output = await runtime.execute(name, ("/bin/busybox", "cat", "/data/log"))
        return output if code == 0 else b""

    return len((await eventually(read, bool)).splitlines())


async def test_files_stay_with_the_owner_and_the_index(
    settings: PodmanSettings, database: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(spec(database, "one"))
        await runtime.start(spec(database, "one", index=1))
        [first, other] = await eventually(
            runtime.instances, lambda found: all(one.ready for one in found)
        )
        assert (first.volumes, other.volumes) == (("/data",), ("/data",))
        assert await lines(runtime, "web-one-0") == 1
        await runtime.stop("web-one-0", 0)
        await runtime.start(spec(database, "two"))
        assert await lines(runtime, "web-two-0") == 2
        assert await lines(runtime, "web-one-1") == 1
        await runtime.teardown()


async def test_a_new_volume_has_what_the_image_has_there(
    settings: PodmanSettings, database: Workload
) -> None:
    script = "stat -c '%a %u %g' /data /data/seed > /data/log; exec sleep 60"
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(spec(database, "one", script=script))
        assert await lines(runtime, "web-one-0") == 2
        _, output = await runtime.execute("web-one-0", ("/bin/busybox", "cat", "/data/log"))
        assert output.decode().splitlines() == ["700 7 8", "600 7 8"]
        await runtime.teardown()


async def test_a_killed_instance_leaves_its_files_and_no_mount(
    settings: PodmanSettings, podman_home: PodmanHome, database: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(spec(database, "one"))
        assert await lines(runtime, "web-one-0") == 1
        form = "{{.State.ConmonPid}} {{.State.Pid}}"
        [container] = podman_home.run("ps", "--quiet").split()
        pids = podman_home.run("inspect", f"--format={form}", container).split()
        for pid in pids:
            os.kill(int(pid), signal.SIGKILL)
        await runtime.stop("web-one-0", 0)
        await runtime.start(spec(database, "two"))
        assert await lines(runtime, "web-two-0") == 2
        await runtime.teardown()
    assert str(settings.data_dir) not in mounts()
    assert f"{podman_home.root}/storage/volumes" not in mounts()


async def test_what_is_mounted_over_or_runs_once_keeps_nothing(
    settings: PodmanSettings, podman_home: PodmanHome, database: Workload
) -> None:
    mounted = spec(database, "one")
    [container] = mounted.containers
    container = replace(container, mounts=(InstanceMount("scratch", "/data"),))
    mounted = replace(mounted, containers=(container,), volumes={"scratch": EmptyDir()})
    once = replace(spec(database, "two"), volume_index=None, once=True, role="job")
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(mounted)
        await runtime.start(once)
        assert [one.volumes for one in await runtime.instances()] == [(), ()]
        assert not (settings.data_dir / "kept").exists()
        await runtime.stop(mounted.name, 0)
        await runtime.stop(once.name, 0)
        await runtime.teardown()
    assert podman_home.run("volume", "ls", "--quiet") == ""


async def test_files_of_a_deleted_owner_go_after_a_grace_time(
    settings: PodmanSettings,
    podman_home: PodmanHome,
    database: Workload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_volumes, "_PURGE_SECONDS", 0.05)
    clock = LaterClock()
    kept = settings.data_dir / "kept"
    async with PodmanRuntime.open(settings, clock) as runtime:
        for name in ("other", "gone"):
            owner = Owner("Deployment", "shop", name)
            await runtime.start(replace(spec(database, name), owner=owner))
        await runtime.start(spec(database, "one"))
        assert await lines(runtime, "web-one-0") == 1
        await runtime.stop("web-one-0", 0)
        await runtime.release_volumes(OWNER)
        await runtime.start(spec(database, "two"))  # it comes back, and with it its files
        assert await lines(runtime, "web-two-0") == 2
        await runtime.stop("web-gone-0", 0)
        await runtime.release_volumes(Owner("Deployment", "shop", "gone"))
        clock.ahead = 2 * GRACE
        others = ["shop/deployment.other", "shop/deployment.web"]
        await eventually(lambda: found(kept), others.__eq__)
        assert await lines(runtime, "web-two-0") == 2
        await runtime.stop("web-two-0", 0)
        await runtime.release_volumes(OWNER)
        await runtime.release_volumes(Owner("Deployment", "shop", "unknown"))
        clock.ahead = 4 * GRACE
        await eventually(lambda: found(kept), ["shop/deployment.other"].__eq__)
        assert len(podman_home.run("volume", "ls", "--quiet").split()) == 1
        assert await lines(runtime, "web-other-0") == 1
        await runtime.teardown()
    assert podman_home.run("volume", "ls", "--quiet") == ""
    assert str(settings.data_dir) not in mounts()


def of_an_earlier_version(made: InstanceSpec) -> InstanceSpec:
    """Return the instance as it was started when nothing was kept: its volumes are Podman's."""
    return replace(made, volume_index=None, users=InstanceUsers.HOST)


async def test_files_of_an_earlier_version_move_into_the_kept_folder(
    settings: PodmanSettings,
    podman_home: PodmanHome,
    database: Workload,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    script = "cat /data/seed; stat -c '%a %u %g' /data >> /data/log; exec sleep 60"
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(of_an_earlier_version(spec(database, "one")))
        assert await lines(runtime, "web-one-0") == 1
        [instance] = await runtime.instances()
        assert instance.volumes == ("/data",)  # so that it is stopped before the next one starts
        await runtime.stop("web-one-0", 0)
        assert "volume of an earlier version moved" in caplog.text
        await runtime.start(spec(database, "two", script=script))
        assert await lines(runtime, "web-two-0") == 2
        _, output = await runtime.execute("web-two-0", ("/bin/busybox", "cat", "/data/log"))
        assert output.decode().splitlines() == ["x", "700 7 8"]
        assert len(podman_home.run("volume", "ls", "--quiet").split()) == 1
        await runtime.teardown()


async def test_an_instance_of_an_earlier_version_has_its_files_after_its_own_restart(
    settings: PodmanSettings, database: Workload
) -> None:
    once = spec(database, "one", script="echo x >> /data/log; exit 1")
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(of_an_earlier_version(once))
        await eventually(runtime.instances, lambda found: found[0].state is State.EXITED)
        await runtime.start(spec(database, "one"))
        assert await lines(runtime, "web-one-0") == 2
        await runtime.teardown()


async def test_files_of_an_earlier_version_stay_where_they_are_when_the_kept_folder_has_some(
    settings: PodmanSettings, podman_home: PodmanHome, database: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(spec(database, "one"))
        assert await lines(runtime, "web-one-0") == 1
        old = of_an_earlier_version(spec(database, "two"))
        await runtime.start(old)
        assert await lines(runtime, old.name) == 1
        await runtime.stop(old.name, 0)
        [left] = await runtime.leftovers()
        assert left.kind is LeftoverKind.VOLUME
        log = podman_home.root / "storage" / "volumes" / left.name / "_data" / "log"
        assert log.read_text() == "x\n"
        await runtime.remove_leftover(left)
        await runtime.teardown()


def test_a_volume_moves_to_another_file_system_with_its_owners(tmp_path: Path) -> None:
    source, target = OTHER_FILE_SYSTEM / f"upwell-{os.getpid()}", tmp_path / "kept" / "data"
    if OTHER_FILE_SYSTEM.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip(f"{OTHER_FILE_SYSTEM} is no file system of its own")
    source.mkdir()
    try:
        (source / "log").write_text("x")
        os.chown(source, 7, 8)
        source.chmod(0o700)
        assert asyncio.run(move_files(source, target))
        facts = target.stat()
        assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o777) == (7, 8, 0o700)
        assert (target / "log").read_text() == "x"
        assert [one.name for one in target.parent.iterdir()] == ["data"]
    finally:
        shutil.rmtree(source)


async def found(kept: Path) -> list[str]:
    return await asyncio.to_thread(
        lambda: sorted(str(one.relative_to(kept)) for one in kept.glob("*/*"))
    )


def mounts() -> str:
    return subprocess.run(["mount"], capture_output=True, check=True, text=True).stdout
