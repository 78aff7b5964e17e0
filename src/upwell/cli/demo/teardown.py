"""Removal of a demo, by its folder alone: after Ctrl-C, `--keep` or a crash."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from pathlib import Path

from upwell.app.server import remove_workloads
from upwell.cli.core.errors import CommandError
from upwell.cli.demo.children import started_at, stop_recorded
from upwell.cli.demo.cluster import DemoCluster
from upwell.cli.demo.server import data_dir, storage
from upwell.machine.process import run_command
from upwell.settings import ServerSettings

_MARK = ".upwell-demo"
_PREFIX = "upwell-demo-"
PLACE = Path("/var/tmp")  # noqa: S108 - a folder of its own is made there
"""Folder of demos; on a disk, unlike /tmp."""
_PROGRAMS = frozenset(
    {"podman", "conmon", "haproxy", "buildah", "runc", "crun", "git", "git-daemon", "mmdebstrap"}
    | {"docker-registry", "slirp4netns", "pasta"}
)
_WORKLOADS_SECONDS = 180.0
_GONE_SECONDS = 5.0


def claim_folder(wanted: Path | None) -> Path:
    """Create the folder of a new demo, or use an empty one; raises CommandError."""
    folder = wanted or Path(tempfile.mkdtemp(prefix=_PREFIX, dir=PLACE))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if is_demo(folder):
            advice = f"`upwell demo --stop --data-dir {folder}` removes it"
            raise CommandError(f"{folder} has a demo already: {advice}")
        if any(folder.iterdir()):
            raise CommandError(f"{folder} is not empty: name an empty folder")
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror}") from error
    folder.chmod(0o711)  # users in containers and apt's own go through it
    mark = {"pid": os.getpid(), "started": started_at(os.getpid())}
    (folder / _MARK).write_text(json.dumps(mark))
    return folder


def is_demo(folder: Path) -> bool:
    """Return whether a demo created this folder."""
    return (folder / _MARK).is_file()


def leftover_folders() -> list[Path]:
    """Return this user's folders of demos that were kept or have crashed."""
    return [
        folder
        for folder in sorted(PLACE.glob(f"{_PREFIX}*"))
        if is_demo(folder) and folder.stat().st_uid == os.geteuid() and not in_use(folder)
    ]


def in_use(folder: Path) -> bool:
    """Return whether the command of this demo still runs."""
    try:
        mark = json.loads((folder / _MARK).read_text())
        return started_at(int(mark["pid"])) == int(mark["started"])
    except (OSError, ValueError, KeyError):
        return False


async def tear_down(folder: Path) -> None:
    """Stop all processes and containers of a demo, and remove its folder; idempotent.

    Raises CommandError with all failures, after removing what it can.
    """
    if not is_demo(folder):
        raise CommandError(f"{folder} is not the folder of a demo")
    errors = []
    cluster = DemoCluster.recorded(folder)
    if cluster is not None:
        errors += await _failing(cluster.release_namespace())
    await stop_recorded(folder)
    if cluster is not None:
        errors += await _failing(cluster.release_kinds(folder))
    elif (data_dir(folder) / "instance-id").exists():
        settings = ServerSettings(data_dir=data_dir(folder), container_storage=storage(folder))
        try:
            async with asyncio.timeout(_WORKLOADS_SECONDS):
                await remove_workloads(settings)
        except Exception as error:  # noqa: BLE001 - any error: the rest must be removed too
            errors.append(f"containers: {error}")
    await _kill_leftovers(folder)
    errors += [
        f"{mount} stays mounted"
        for mount in reversed(list(mounts_below(folder)))
        if (await run_command("umount", "--lazy", mount)).code != 0
    ]
    try:
        await asyncio.to_thread(_remove_folder, folder)
    except OSError as error:
        errors.append(f"{error.filename}: {error.strerror}")
    if errors:
        raise CommandError(f"cannot remove all of {folder}: {'; '.join(errors)}")


async def _failing(step: Awaitable[None]) -> list[str]:
    try:
        await step
    except CommandError as error:
        return [f"cluster: {error.message}"]
    return []


def _remove_folder(folder: Path) -> None:
    """Remove a folder, its mark last, so that another call can resume."""
    mark = folder / _MARK
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != mark:
            entry.unlink()
    mark.unlink()
    folder.rmdir()


async def _kill_leftovers(folder: Path) -> None:
    """Kill leftovers of a killed server: the demo's programs with its folder in their arguments."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_GONE_SECONDS):
            while found := list(leftover_processes(folder)):
                for pid in found:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.05)


def leftover_processes(folder: Path) -> Iterator[int]:
    """Yield the processes of programs that a demo starts, and whose arguments name its folder."""
    needle = os.fsencode(folder)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # The program's name is cut to 15 bytes (proc_pid_comm(5)), which is enough for all.
            name = (entry / "comm").read_text().strip()
            arguments = (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        if name in _PROGRAMS and needle in arguments and started_at(int(entry.name)):
            yield int(entry.name)


def mounts_below(folder: Path) -> Iterator[str]:
    """Yield the mounts below a folder, outer ones first (proc_pid_mountinfo(5))."""
    inside = f"{folder.resolve()}/"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4].encode().decode("unicode_escape")
        if place.startswith(inside):
            yield place
