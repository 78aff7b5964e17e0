"""User namespaces of real instances: root is nobody outside, and every file is whose it was."""

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from tests.support.workload.podman_home import PodmanHome, Workload
from tests.support.workload.waiting import eventually

from upwell.api.values.security_context import ContainerSecurity, VolumeGroup
from upwell.oci import Digest
from upwell.workload.errors import ForbiddenError, RuntimeUnavailableError
from upwell.workload.instance_spec import (
    EmptyDir,
    Files,
    HostPath,
    InstanceMount,
    InstanceSpec,
    InstanceUsers,
    VolumeClaim,
)
from upwell.workload.interface import Instance, State
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings
from upwell.workload.podman.users.ids import IDS
from upwell.workload.podman.users.support import id_fault
from upwell.workload.podman.volumes.mounts import mounts_below

NAME = "web-1-a"
CLAIM = VolumeClaim("shop", "orders")
MOUNT = (InstanceMount("v", "/v"),)
ONLY = "/busybox.only"
OPENSHIFT_USER = 1_000_680_000


@pytest.fixture(autouse=True)
async def _ids(settings: PodmanSettings) -> None:
    if fault := await id_fault(settings.data_dir):
        pytest.skip(f"{fault}: see check `instance isolation` of `upwell doctor`")


@asynccontextmanager
async def opened(settings: PodmanSettings) -> AsyncIterator[PodmanRuntime]:
    async with PodmanRuntime.open(settings) as runtime:
        yield runtime
        await runtime.teardown()
    assert mounts_below(settings.pins_root) == []
    assert not settings.pins_root.exists()


def lasting(workload: Workload, script: str = "true", **fields: object) -> InstanceSpec:
    web = workload.container("sh", "-c", f"{script}; exec sleep 600")
    spec = workload.spec(replace(web, mounts=MOUNT if "volumes" in fields else ()))
    return replace(spec, **fields)  # type: ignore[arg-type]  # each field as it is named


async def running(runtime: PodmanRuntime, name: str = NAME) -> Instance:
    async def one() -> Instance:
        return next(found for found in await runtime.instances() if found.name == name)

    return await eventually(one, lambda found: found.state is State.RUNNING and found.ready)


async def printed(runtime: PodmanRuntime, *command: str, name: str = NAME) -> str:
    """Return what a command prints in an instance, once it succeeds."""

    async def run() -> tuple[int, bytes]:
        return await runtime.execute(name, ("/bin/busybox", *command))

    _, output = await eventually(run, lambda found: found[0] == 0)
    return output.decode().strip()


def outside(podman: PodmanHome, settings: PodmanSettings, name: str = NAME) -> set[int]:
    """Return the real user ids of the processes of an instance, as the host has them."""
    label = f"label=upwell.dev/instance={settings.instance_id}"
    containers = podman.run("ps", "-q", "--filter", label).split()
    found = set()
    for one in json.loads(podman.run("inspect", *containers)):
        if one["Config"]["Labels"]["upwell.dev/replica"] == name:
            status = Path(f"/proc/{one['State']['Pid']}/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("Uid:"))
            found |= {int(part) for part in line.split()[1:]}
    return found


@contextmanager
def file_system_without_ids(folder: Path, place: Path) -> Iterator[None]:
    """Mount what maps no ids at a folder: an overlay does not."""
    for name in ("lower", "upper", "work"):
        (folder / name).mkdir()
    place.mkdir(parents=True)
    layers = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=40", "t", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def filled(place: Path) -> list[Path]:
    """Make files until the disk takes no more."""
    made: list[Path] = []
    for number in count():
        try:
            (place / f"fill-{number}").touch()
        except OSError:
            return made
        made.append(place / f"fill-{number}")
    return made


async def test_root_is_another_nobody_in_each_instance(
    settings: PodmanSettings, podman_home: PodmanHome, workload: Workload
) -> None:
    beside = workload.container("sleep", "600", name="beside")
    first = lasting(workload)
    first = replace(first, containers=(*first.containers, beside))
    async with opened(settings) as runtime:
        await runtime.start(first)
        await runtime.start(replace(lasting(workload), name="web-1-b"))
        await running(runtime)
        await running(runtime, "web-1-b")

        [one] = outside(podman_home, settings)  # the same in both of its containers
        [two] = outside(podman_home, settings, "web-1-b")
        assert min(one, two) > IDS
        assert abs(one - two) >= IDS
        assert await printed(runtime, "id", "-u") == "0"
        assert [int(part) for part in (await printed(runtime, "cat", "/proc/self/uid_map")).split()]
        # Of the host's own processes and files it is neither owner nor root.
        code, _ = await runtime.execute(NAME, ("/bin/busybox", "mount", "-t", "tmpfs", "x", "/v"))
        assert code != 0


@pytest.mark.parametrize("kind", ["emptyDir", "claim"])
async def test_files_have_the_ids_that_the_instance_sees(
    settings: PodmanSettings, workload: Workload, kind: str
) -> None:
    volumes = {"v": CLAIM if kind == "claim" else EmptyDir()}
    script = "echo a > /v/a; /bin/busybox chown 7:8 /v/a; mkdir /v/d; echo done > /v/d/done"
    async with opened(settings) as runtime:
        await runtime.start(lasting(workload, script, volumes=volumes))
        await printed(runtime, "cat", "/v/d/done")

        place = settings.data_dir / "claims" / "shop" / "orders"
        if kind == "emptyDir":
            place = settings.data_dir / "instances" / NAME / "volumes" / "v"
        owners = {name: (place / name).stat() for name in ("a", "d", "d/done")}
        assert {name: (one.st_uid, one.st_gid) for name, one in owners.items()} == {
            "a": (7, 8),
            "d": (0, 0),
            "d/done": (0, 0),
        }
        assert await printed(runtime, "stat", "-c", "%u %g", "/v/a", "/v") == "7 8\n0 0"


async def test_a_claim_passes_from_the_hosts_ids_to_own_ones_and_back(
    settings: PodmanSettings, podman_home: PodmanHome, workload: Workload
) -> None:
    """An update in place: what ran before goes on, its files stay, and the next one has them."""
    script = "echo x >> /v/log; [ -e /v/own ] || (umask 077; echo s > /v/own)"
    before = lasting(workload, script, volumes={"v": CLAIM}, users=InstanceUsers.HOST)
    async with opened(settings) as runtime:
        await runtime.start(before)
        await printed(runtime, "cat", "/v/own")
        assert outside(podman_home, settings) == {0}
        # Its own restart changes nothing: that is for a rollout, which can be undone.
        same = replace(before, users=InstanceUsers.OWN_IF_POSSIBLE)
        podman_home.run("kill", f"upwell-{settings.instance_id}.{NAME}.web")

        async def ended() -> bool:
            return [one.state for one in await runtime.instances()] == [State.EXITED]

        await eventually(ended, bool)
        await runtime.start(same)
        await running(runtime)
        assert outside(podman_home, settings) == {0}
        await runtime.stop(NAME, 0)

        for number, users in enumerate((InstanceUsers.OWN, InstanceUsers.HOST), start=3):
            await runtime.start(replace(before, users=users, revision=f"rev{number}"))
            log = (await printed(runtime, "cat", "/v/log", "/v/own")).split()
            assert log == [*("x" * number), "s"]
            assert (outside(podman_home, settings) == {0}) is (users is InstanceUsers.HOST)
            await runtime.stop(NAME, 0)
    owners = {one.stat().st_uid for one in (settings.data_dir / "claims/shop/orders").iterdir()}
    assert owners == {0}


async def test_a_secret_of_root_is_read_by_root_alone(
    settings: PodmanSettings, workload: Workload
) -> None:
    files = Files({"key": b"secret\n"}, mode=0o400)
    async with opened(settings) as runtime:
        await runtime.start(lasting(workload, volumes={"v": files}))
        await running(runtime)
        assert await printed(runtime, "cat", "/v/key") == "secret"
        file = settings.data_dir / "instances" / NAME / "volumes" / "v" / "key"
        assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (0, 0o400)


async def test_ids_of_openshift_are_mapped_too(
    settings: PodmanSettings, podman_home: PodmanHome, workload: Workload
) -> None:
    security = ContainerSecurity(user=OPENSHIFT_USER, groups=(OPENSHIFT_USER,))
    spec = lasting(workload, "echo a > /v/a", volumes={"v": CLAIM})
    spec = replace(
        spec,
        containers=(replace(spec.containers[0], security=security),),
        volume_group=VolumeGroup(OPENSHIFT_USER),
    )
    async with opened(settings) as runtime:
        await runtime.start(spec)
        assert await printed(runtime, "stat", "-c", "%u %g", "/v/a") == (
            f"{OPENSHIFT_USER} {OPENSHIFT_USER}"
        )
        [found] = outside(podman_home, settings)
        assert found not in {0, OPENSHIFT_USER}
    file = settings.data_dir / "claims" / "shop" / "orders" / "a"
    assert (file.stat().st_uid, file.stat().st_gid) == (OPENSHIFT_USER, OPENSHIFT_USER)


@pytest.fixture
def bare(podman_home: PodmanHome) -> Workload:
    """An image with one program, which no other image has, and a volume of its own user's."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(shutil.which("busybox") or "busybox", ONLY.lstrip("/"))
        for name, kind, mode in (("data", tarfile.DIRTYPE, 0o700), ("data/seed", None, 0o600)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind or tarfile.REGTYPE, mode
            entry.uid, entry.gid = 7, 8
            tar.addfile(entry, io.BytesIO() if kind is None else None)
    change = ("--change=VOLUME /data /absent", "--change=USER 7")
    podman_home.run("import", *change, "-", "localhost/bare:latest", stdin=archive.getvalue())
    found = json.loads(podman_home.run("image", "inspect", "localhost/bare:latest"))
    digest = Digest.parse(found[0]["Digest"])
    return Workload(replace(podman_home.image, repository="bare", tag=None, digest=digest))


async def test_a_kept_volume_begins_as_the_image_has_it(
    settings: PodmanSettings, podman_home: PodmanHome, bare: Workload
) -> None:
    web = replace(bare.container("sleep", "600"), command=(ONLY,))
    async with opened(settings) as runtime:
        for number in (1, 2):
            await runtime.start(replace(bare.spec(web, name=f"web-{number}-0"), volume_index=0))
            instance = await running(runtime, f"web-{number}-0")
            assert instance.volumes == ("/absent", "/data")
            assert 0 not in outside(podman_home, settings, instance.name)
            script = f"{ONLY} stat -c '%a %u %g' /data /data/seed; {ONLY} touch /absent/a"
            write = (ONLY, "sh", "-c", script)
            code, output = await runtime.execute(instance.name, write)
            assert (code, output.decode().split("\n")[:2]) == (0, ["700 7 8", "600 7 8"])
            await runtime.stop(instance.name, 0)
    [kept] = (settings.data_dir / "kept").glob("*/*/0/web")
    owners = {one.name: one.stat().st_uid for one in kept.glob("*/*")}
    assert owners == {"seed": 7, "a": 7}
    podman_home.run("volume", "prune", "--force")


async def test_a_filling_that_was_cut_short_holds_no_volume(
    settings: PodmanSettings, podman_home: PodmanHome, workload: Workload
) -> None:
    label = f"upwell.dev/fills-volumes={settings.instance_id}"
    podman_home.run("create", f"--label={label}", "--network=none", str(workload.image), "sleep")

    async def left() -> str:
        return podman_home.run("ps", "--all", "--quiet", f"--filter=label={label}")

    async with opened(settings):
        assert await eventually(left, lambda found: not found) == ""


async def test_a_host_path_is_shown_with_its_own_ids(
    settings: PodmanSettings, workload: Workload, tmp_path: Path
) -> None:
    (tmp_path / "of-root").write_text("root's\n")
    (tmp_path / "of-root").chmod(0o600)
    (tmp_path / "of-7").write_text("")
    os.chown(tmp_path / "of-7", 7, 8)
    allowed = replace(settings, allowed_host_paths=(str(tmp_path),))
    volumes = {"v": HostPath(str(tmp_path))}
    async with opened(allowed) as runtime:
        await runtime.start(lasting(workload, volumes=volumes, users=InstanceUsers.OWN))
        await running(runtime)
        assert await printed(runtime, "cat", "/v/of-root") == "root's"
        assert await printed(runtime, "stat", "-c", "%u %g", "/v/of-7") == "7 8"


async def test_a_volume_that_maps_no_ids_is_honoured_unless_own_ones_are_asked_for(
    settings: PodmanSettings, podman_home: PodmanHome, workload: Workload, tmp_path: Path
) -> None:
    place = settings.data_dir / "claims" / "shop" / "orders"
    spec = lasting(workload, "echo a > /v/a", volumes={"v": CLAIM})
    with file_system_without_ids(tmp_path, place):
        async with opened(settings) as runtime:
            with pytest.raises(ForbiddenError, match="hostUsers: false") as refused:
                await runtime.start(replace(spec, users=InstanceUsers.OWN, name="web-1-b"))
            assert str(place) in str(refused.value)
            assert "upwell doctor" in str(refused.value)
            await runtime.stop("web-1-b", 0)

            await runtime.start(spec)
            await printed(runtime, "cat", "/v/a")
            assert outside(podman_home, settings) == {0}
        assert (place / "a").stat().st_uid == 0
    assert (tmp_path / "upper" / "a").exists()


async def test_no_lack_of_room_brings_the_ids_of_the_host(
    settings: PodmanSettings, workload: Workload, tmp_path: Path
) -> None:
    security = ContainerSecurity(groups=tuple(range(100_000, 100_065)))
    web = replace(workload.container("sleep", "600"), security=security)
    small = tmp_path / "small"
    with small_disk(small):
        async with PodmanRuntime.open(replace(settings, data_dir=small)) as runtime:
            filling = filled(small)
            with pytest.raises(RuntimeUnavailableError, match="No space left"):
                await runtime.start(lasting(workload))
            for file in filling:
                file.unlink()
            with pytest.raises(ForbiddenError, match="more than 64 user and group ids"):
                await runtime.start(workload.spec(web))
            assert await runtime.instances() == []


async def test_switched_off_nobody_gets_ids_of_their_own(
    settings: PodmanSettings, podman_home: PodmanHome, workload: Workload
) -> None:
    async with opened(replace(settings, user_namespaces=False)) as runtime:
        with pytest.raises(ForbiddenError, match="user-namespaces is false"):
            await runtime.start(lasting(workload, users=InstanceUsers.OWN))
        await runtime.start(lasting(workload))
        await running(runtime)
        assert outside(podman_home, settings) == {0}


@contextmanager
def shown(folder: Path, place: Path) -> Iterator[None]:
    """Mount a folder where a volume has its files."""
    subprocess.run(["mount", "--bind", folder, place], check=True)
    try:
        yield
    finally:
        for mounted in mounts_below(place):
            subprocess.run(["umount", mounted], check=True)


async def test_no_file_goes_with_a_volume_that_still_shows_its_folder(
    settings: PodmanSettings, podman_home: PodmanHome, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("data")
    name = f"upwell-test-{settings.instance_id}"
    async with PodmanRuntime.open(settings) as runtime:
        await runtime._api.create_volume(name, tmp_path, {})
        inspected = json.loads(podman_home.run("volume", "inspect", name))
        place = Path(inspected[0]["Mountpoint"])
        # As it is left when whoever unmounts it does so in a mount namespace of their own.
        with shown(tmp_path, place):
            await runtime._api.remove_volume(name)
            assert name not in podman_home.run("volume", "ls", "-q")
        assert (tmp_path / "kept").read_text() == "data"
