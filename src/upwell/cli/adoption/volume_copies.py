"""Copies of a container's volumes in the folders of claims, and what becomes of them in failure."""

import os
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path

from upwell.cli.adoption.engines import COPY_SECONDS
from upwell.cli.core.errors import CommandError
from upwell.cli.core.terminal import echo
from upwell.formats.compose.model import MountKind
from upwell.machine.disk import MIB, DiskUsageError, default_floor, disk_usage_of
from upwell.policy.adoption.takeover import AdoptionCandidate
from upwell.policy.adoption.workloads import WorkloadNames

_CLAIMS, _GIVEN_BACK = Path("workloads", "claims"), Path("workloads", "given-back")
_MODE = 0o700


def volume_copies(
    data_dir: Path, namespace: str, candidate: AdoptionCandidate
) -> list[tuple[str, Path]]:
    """Return the folders to copy, and where to; raises CommandError where they cannot be."""
    service = candidate.container.service
    names = WorkloadNames({}, {}, {})
    copies: list[tuple[str, Path]] = []
    for mount in service.mounts:
        if mount.kind is not MountKind.VOLUME:
            continue
        source = candidate.container.volumes.get(mount.source or mount.target)
        if source is None:
            continue  # a container that never ran has none yet
        folder = data_dir / _CLAIMS / namespace / names.claim(service, mount)
        if folder.exists() and any(folder.iterdir()):
            aside = shlex.quote(f"{folder}.before")
            raise CommandError(
                f"{candidate.name}: {folder} has files already, and those of"
                f" {mount.source or mount.target} would be mixed with them:"
                f" `mv {shlex.quote(str(folder))} {aside}` puts them aside"
            )
        if not os.access(data_dir, os.W_OK):
            raise CommandError(
                f"{candidate.name}: its volume {mount.source or mount.target} is copied into the"
                f" server's folder, and {data_dir} cannot be written: run this as the"
                " server's user on its machine, with --data-dir"
            )
        copies.append((source, folder))
    return copies


async def require_room(name: str, copies: Iterable[tuple[str, Path]]) -> None:
    """Raise CommandError where the disk has no room for copies of the volumes.

    A copy that shares its blocks with the volume (XFS, Btrfs) takes less.
    """
    for place, sources in _by_disk(copies).items():
        try:
            needed = await disk_usage_of(sources, COPY_SECONDS, across_mounts=True)
        except DiskUsageError as error:
            raise CommandError(f"{name}: nothing was stopped: {error}") from error
        facts = os.statvfs(place)
        free = facts.f_bavail * facts.f_frsize
        floor = default_floor(facts.f_blocks * facts.f_frsize)
        if needed + floor > free:
            raise CommandError(
                f"{name}: nothing was stopped: its volumes take {_mib(needed)}, and are copied to"
                f" {place}, where {_mib(free)} are free, of which {_mib(floor)} stay so: free"
                f" {_mib(needed + floor - free)} there, or enlarge the disk"
            )


def _by_disk(copies: Iterable[tuple[str, Path]]) -> dict[Path, list[str]]:
    """Return what is copied to each file system, by a folder of it that exists."""
    found: dict[int, tuple[Path, list[str]]] = {}
    for source, folder in copies:
        place = next(one for one in (folder, *folder.parents) if one.exists())
        found.setdefault(place.stat().st_dev, (place, []))[1].append(source)
    return dict(found.values())


def put_away_copies(data_dir: Path, folders: Iterable[Path], *, used: bool) -> None:
    """Clear the folders of claims, so that another try finds them empty.

    A copy that an instance may have written into, `used`, is kept in another folder, and named;
    what nothing has used is removed: the volume itself has all of it.
    """
    for folder in folders:
        if not folder.exists():
            continue
        try:
            if not used:
                shutil.rmtree(folder)
                continue
            # By a rename, which an instance that still ends follows.
            kept = _free(data_dir / _GIVEN_BACK / folder.relative_to(data_dir / _CLAIMS))
            kept.parent.mkdir(parents=True, exist_ok=True, mode=_MODE)
            folder.rename(kept)
        except OSError as error:
            echo(
                f"{folder} is left, a copy of the volume that nothing uses: {error.strerror};"
                f" `rm -r {shlex.quote(str(folder))}` removes it",
                err=True,
            )
            continue
        echo(
            f"{kept} is a copy of the volume, which nothing uses:"
            f" `rm -r {shlex.quote(str(kept))}` removes it",
            err=True,
        )


def _mib(size: int) -> str:
    return f"{-(-size // MIB)} MiB"


def _free(path: Path) -> Path:
    """Return the path, with a number behind it where there is something."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
