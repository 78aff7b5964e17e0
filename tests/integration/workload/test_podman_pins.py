"""Paths of volumes that a container changes while others are made: nothing leads to the host."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.workload.podman_home import Workload
from tests.support.workload.waiting import eventually

from upwell.workload.errors import ForbiddenError, RuntimeUnavailableError, WorkloadError
from upwell.workload.instance_spec import (
    EmptyDir,
    Files,
    HostPath,
    InstanceMount,
    InstanceSpec,
    VolumeClaim,
)
from upwell.workload.interface import Instance, LeftoverKind, State
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings
from upwell.workload.podman.volumes.instance_volumes import InvalidVolumeError
from upwell.workload.podman.volumes.mounts import mounts_below, unmount

WANTED_RACES, RACES = 4, 60
"""Containers that shall have run against the attacker, and those that are tried at most."""

VOLUMES: dict[str, EmptyDir | VolumeClaim] = {
    "emptyDir": EmptyDir(),
    "claim": VolumeClaim("shop", "orders"),
}


@asynccontextmanager
async def opened(settings: PodmanSettings) -> AsyncIterator[PodmanRuntime]:
    async with PodmanRuntime.open(settings) as runtime:
        yield runtime
        await runtime.teardown()
    assert mounts_below(settings.pins_root) == []
    assert not settings.pins_root.exists()


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Return a folder of the host, which no container may see."""
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "secret").write_text("secret of the host\n")
    return folder


async def ended(runtime: PodmanRuntime, name: str) -> Instance:
    async def one() -> Instance:
        return next(found for found in await runtime.instances() if found.name == name)

    return await eventually(one, lambda found: found.state is State.EXITED)


async def printed(runtime: PodmanRuntime, name: str) -> str:
    return b"".join([piece async for piece in runtime.logs(name)]).decode()


@pytest.mark.parametrize("kind", VOLUMES)
async def test_a_link_in_the_place_of_a_sub_path_leads_nowhere(
    settings: PodmanSettings, workload: Workload, host: Path, kind: str
) -> None:
    swap = workload.container(
        "sh", "-c", f"mv /v/sub /v/old && /bin/busybox ln -s {host} /v/sub", name="init"
    )
    reads = workload.container(
        "sh", "-c", "cat /sub/secret; echo changed > /sub/secret; echo done", name="web"
    )
    spec = replace(
        workload.spec(replace(reads, mounts=(InstanceMount("v", "/sub", sub_path="sub"),))),
        init=(replace(swap, mounts=(InstanceMount("v", "/v"),)),),
        volumes={"v": VOLUMES[kind]},
    )
    async with opened(settings) as runtime:
        await runtime.start(spec)
        await ended(runtime, spec.name)

        output = await printed(runtime, spec.name)
        assert "done" in output
        assert "secret of the host" not in output
        assert (host / "secret").read_text() == "secret of the host\n"


async def test_a_race_over_a_claim_is_never_won(
    settings: PodmanSettings, workload: Workload, host: Path
) -> None:
    volumes = {"v": VolumeClaim("shop", "orders")}
    # The folder stays the same one: in a removed one nothing could be started.
    swap = f"$b mv kept sub; $b mv sub kept; $b ln -s {host} sub; $b rm sub"
    script = f"b=/bin/busybox; cd /v; $b mkdir kept; while true; do {swap}; done 2>/dev/null"
    swaps = workload.container("sh", "-c", script)
    attacker = replace(
        workload.spec(replace(swaps, mounts=(InstanceMount("v", "/v"),)), name="attacker"),
        volumes=volumes,
    )
    victim = workload.container("sh", "-c", "cat /sub/secret; echo changed > /sub/secret; true")
    mounts = (InstanceMount("v", "/sub", sub_path="sub"),)
    async with opened(settings) as runtime:
        await runtime.start(attacker)
        ran = 0
        for number in range(RACES):
            spec = replace(
                workload.spec(replace(victim, mounts=mounts), name=f"victim-{number}"),
                volumes=volumes,
            )
            try:
                await runtime.start(spec)
            except WorkloadError:
                continue  # it met the link, or a folder that is gone: nothing was started
            ran += 1
            await ended(runtime, spec.name)
            assert "secret of the host" not in await printed(runtime, spec.name)
            if ran == WANTED_RACES:
                break
        assert ran == WANTED_RACES
        assert (host / "secret").read_text() == "secret of the host\n"


async def test_sub_paths_that_lead_out_are_refused(
    settings: PodmanSettings, workload: Workload, host: Path
) -> None:
    claim = settings.data_dir / "claims/shop/orders"
    claim.mkdir(parents=True)
    (claim / "out").symlink_to(host)
    (claim / "in").symlink_to("real")
    (claim / "real").mkdir()
    container = workload.container("sleep", "60")

    def spec(sub_path: str) -> InstanceSpec:
        mount = InstanceMount("v", "/v", sub_path=sub_path)
        made = workload.spec(replace(container, mounts=(mount,)))
        return replace(made, volumes={"v": VolumeClaim("shop", "orders")})

    async with opened(settings) as runtime:
        for sub_path in ("..", "/etc", "out", "out/deep", "real/../../x", "a\0b"):
            with pytest.raises(InvalidVolumeError, match="leaves its volume"):
                await runtime.start(spec(sub_path))
        await runtime.start(spec("in/deep"))

        assert (claim / "real/deep").is_dir()


async def test_a_file_of_a_config_map_is_mounted_alone(
    settings: PodmanSettings, workload: Workload
) -> None:
    container = workload.container("sh", "-c", "cat /etc/app.conf; touch /etc/app.conf")
    mount = InstanceMount("v", "/etc/app.conf", sub_path="deep/app.conf")
    spec = replace(
        workload.spec(replace(container, mounts=(mount,))),
        volumes={"v": Files({"deep/app.conf": b"x = 1\n"})},
    )
    async with opened(settings) as runtime:
        await runtime.start(spec)
        found = await ended(runtime, spec.name)

        assert "x = 1" in await printed(runtime, spec.name)
        assert not found.succeeded, "it is read-only"


async def test_a_host_path_shows_what_was_allowed_with_what_is_mounted_below(
    settings: PodmanSettings, workload: Workload, host: Path, tmp_path: Path
) -> None:
    allowed = tmp_path / "allowed"
    (allowed / "data").mkdir(parents=True)
    (allowed / "link").symlink_to(host)
    container = workload.container("sh", "-c", "echo written > /v/file")

    def spec(path: Path) -> InstanceSpec:
        made = workload.spec(replace(container, mounts=(InstanceMount("v", "/v"),)))
        return replace(made, volumes={"v": HostPath(str(path))})

    async with opened(replace(settings, allowed_host_paths=(str(allowed),))) as runtime:
        with pytest.raises(ForbiddenError):
            await runtime.start(spec(allowed / "link"))
        await runtime.start(spec(allowed / "data"))
        await ended(runtime, spec(allowed).name)

        assert (allowed / "data/file").read_text() == "written\n"


async def test_a_host_path_has_the_type_that_it_says(
    settings: PodmanSettings, workload: Workload, tmp_path: Path
) -> None:
    container = workload.container("sh", "-c", "true")
    (tmp_path / "file").touch()

    def spec(name: str, kind: str) -> InstanceSpec:
        made = workload.spec(replace(container, mounts=(InstanceMount("v", "/v"),)))
        return replace(made, volumes={"v": HostPath(str(tmp_path / name), kind)})

    async with opened(replace(settings, allowed_host_paths=(str(tmp_path),))) as runtime:
        for name, kind in (("file", "Directory"), ("file", "Socket"), ("", "File")):
            with pytest.raises(InvalidVolumeError, match=f"not of type {kind}"):
                await runtime.start(spec(name, kind))
        with pytest.raises(RuntimeUnavailableError, match="does not exist"):
            await runtime.start(spec("absent", "Directory"))
        for name, kind in (("a/b", "DirectoryOrCreate"), ("a/c", "FileOrCreate")):
            await runtime.start(spec(name, kind))
            await ended(runtime, spec(name, kind).name)
        assert (tmp_path / "a/b").is_dir()
        assert (tmp_path / "a/c").is_file()


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o777])
async def test_what_is_made_in_a_host_path_is_as_open_as_that_is(
    settings: PodmanSettings, workload: Workload, tmp_path: Path, mode: int
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    root.chmod(mode)
    container = workload.container("sh", "-c", "true")
    mounts = (InstanceMount("v", "/v", sub_path="made/deep"),)
    spec = replace(
        workload.spec(replace(container, mounts=mounts)), volumes={"v": HostPath(str(root))}
    )
    async with opened(replace(settings, allowed_host_paths=(str(tmp_path),))) as runtime:
        await runtime.start(spec)
        await ended(runtime, spec.name)
    for made in (root / "made", root / "made/deep"):
        assert made.stat().st_mode & 0o7777 == mode


@pytest.mark.parametrize("kind", VOLUMES)
async def test_any_user_writes_into_what_is_made_in_a_volume(
    settings: PodmanSettings, workload: Workload, kind: str
) -> None:
    container = workload.container("sh", "-c", "busybox stat -c %a /v")
    mounts = (InstanceMount("v", "/v", sub_path="made/deep"),)
    spec = replace(workload.spec(replace(container, mounts=mounts)), volumes={"v": VOLUMES[kind]})
    async with opened(settings) as runtime:
        await runtime.start(spec)
        await ended(runtime, spec.name)
        assert (await printed(runtime, spec.name)).strip() == "777"


async def test_a_server_that_was_killed_finds_and_clears_its_pins(
    settings: PodmanSettings, workload: Workload
) -> None:
    container = workload.container("sleep", "600")
    mount = InstanceMount("v", "/v", sub_path="sub")
    spec = replace(workload.spec(replace(container, mounts=(mount,))), volumes={"v": EmptyDir()})
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(spec)
        assert len(mounts_below(settings.pins_root)) == 2, "its own place, and the pin"
        # Its containers are gone by other means, as after a power cut or a reset.
        [instance] = await runtime.instances()
        for one in instance.containers:
            await runtime._api.remove(one.id)
    async with opened(settings) as runtime:
        [left] = [one for one in await runtime.leftovers() if one.kind is LeftoverKind.FOLDER]
        assert left.name == spec.name
        await runtime.remove_leftover(left)

        assert mounts_below(settings.pins_root) == []


async def test_containers_whose_pins_are_gone_are_not_started(
    settings: PodmanSettings, workload: Workload
) -> None:
    waits = workload.container("sh", "-c", "while [ ! -e /v/go ]; do sleep 0.1; done", name="init")
    main = workload.container("sleep", "600", name="web")
    spec = replace(
        workload.spec(replace(main, mounts=(InstanceMount("v", "/sub", sub_path="sub"),))),
        init=(replace(waits, mounts=(InstanceMount("v", "/v"),)),),
        volumes={"v": EmptyDir()},
    )
    async with opened(settings) as runtime:
        await runtime.start(spec)
        for pin in mounts_below(settings.pins_root / spec.name):
            await asyncio.to_thread(unmount, pin)
        (settings.data_dir / "instances" / spec.name / "volumes/v/go").touch()

        await eventually(runtime.instances, lambda found: not found)
