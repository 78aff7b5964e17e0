"""Room on the disk of a data folder: how much is free, what takes it, and what frees some."""

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from upwell.machine.checks import HostCheck, HostCheckStatus
from upwell.machine.disk import GIB, MIB, WARNED_SHARE, DiskUsageError, disk_usage_of

CONTAINERS = Path("/var/lib/containers/storage")
"""Podman's own storage, where it has no other."""
TEMPORARY = Path("/var/tmp")  # noqa: S108 - only looked at
"""Place of Podman's pieces of images in versions that gave its service no folder of its own."""
ENOUGH_BYTES = 10 * GIB
_LITTLE_BYTES = 2 * GIB
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class DiskPart:
    """Part of what Upwell keeps on the disk."""

    name: str
    places: tuple[str, ...]
    """Patterns, relative to the data folder."""
    remedy: str


PARTS = (
    DiskPart("images", ("registry",), "`upwell prune --confirm` removes what nothing needs"),
    DiskPart(
        "builds", ("builder", "builds", "inputs"), "`upwell prune --confirm`; builds fill it again"
    ),
    DiskPart("logs", ("logs", "audit*.log*"), "`upwell prune --confirm` removes those of builds"),
    DiskPart(
        "volumes",
        ("workloads/claims", "workloads/kept"),
        "`upwell get pvc -A` lists the claims: delete those that nothing needs",
    ),
    DiskPart(
        "copies of volumes",
        ("workloads/snapshots",),
        "each is of before the last update of its claim: remove those whose workload serves",
    ),
    DiskPart("volumes given back", ("workloads/given-back",), "remove those folders"),
    DiskPart(
        "databases of earlier versions",
        ("*.db.schema-*",),
        "move them to another disk: only a step back to such a version needs one",
    ),
)
_RUNNING = DiskPart("images of containers", (), "`podman image prune` removes what nothing runs")
_PIECES = DiskPart(
    "pieces of ended pulls",
    (),
    f"`rm -r {TEMPORARY}/container_images_storage*` while nobody on this machine pulls or builds",
)


@dataclass(frozen=True, slots=True)
class PartUsage:
    """Room that a part takes."""

    part: DiskPart
    size: int
    """Bytes on the disk."""

    def __str__(self) -> str:
        text = f"{self.size / GIB:.1f} GiB" if self.size >= GIB else f"{self.size // MIB} MiB"
        return f"{self.part.name} {text}"


async def check_disk(data_dir: Path) -> HostCheck:
    """There is room for images; where there is little, what takes it."""
    total, used, free = await asyncio.to_thread(_room, data_dir)
    detail = f"{free / GIB:.1f} GiB free below {data_dir}"
    if free >= ENOUGH_BYTES and used < total * WARNED_SHARE:
        return HostCheck("disk", HostCheckStatus.OK, detail)
    parts = await disk_usage(data_dir)
    if parts:
        detail += f"; there are {', '.join(map(str, parts))}"
    status = HostCheckStatus.WARN if free >= _LITTLE_BYTES else HostCheckStatus.FAIL
    step = f"{parts[0].part.name}: {parts[0].part.remedy}" if parts else "free some space"
    return HostCheck("disk", status, detail, f"{step}; or enlarge the disk")


def _room(folder: Path) -> tuple[int, int, int]:
    """Return the bytes of a folder's file system: all, used, free."""
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    facts = shutil.disk_usage(place)
    return facts.total, facts.used, facts.free


async def disk_usage(
    data_dir: Path, containers: Path = CONTAINERS, temporary: Path = TEMPORARY
) -> Sequence[PartUsage]:
    """Return what takes the room of a data folder's file system, the largest part first.

    What cannot be measured within a minute, or not whole, or takes less than 1 MiB, is left out.
    """
    measured = [PartUsage(one, await _size(_places(data_dir, one))) for one in PARTS]
    for part, places in ((_RUNNING, [containers]), (_PIECES, _pieces(temporary))):
        beside = [one for one in places if _are_on_one_disk(data_dir, one)]
        measured.append(PartUsage(part, await _size(beside)))
    return sorted((one for one in measured if one.size >= MIB), key=lambda one: -one.size)


def _places(data_dir: Path, part: DiskPart) -> list[Path]:
    return [path for pattern in part.places for path in sorted(data_dir.glob(pattern))]


def _pieces(temporary: Path) -> list[Path]:
    return sorted(temporary.glob("container_images_storage*"))


def _are_on_one_disk(data_dir: Path, containers: Path) -> bool:
    try:
        return data_dir.stat().st_dev == containers.stat().st_dev
    except OSError:
        return False


async def _size(places: Sequence[Path]) -> int:
    """Return the bytes of folders on their disk, without what is mounted in them."""
    try:
        return await disk_usage_of(places, _SECONDS)
    except DiskUsageError:
        return 0
