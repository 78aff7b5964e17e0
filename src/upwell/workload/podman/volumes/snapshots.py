"""Copies of claims: taken before a new revision starts on them, put back when it has failed.

A claim has one, `snapshots/NAMESPACE/CLAIM/NAME`, under the name of the revision that it was taken
for. A copy is whole or not there: it is made under another name, written through and renamed. What
is put back is renamed too, so that a stop at any moment is taken up at the next start.
"""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from upwell.machine.process import run_command
from upwell.workload.errors import WorkloadError
from upwell.workload.instance_spec import InstanceSpec, VolumeClaim
from upwell.workload.podman.volumes.mounts import remove_tree

COPY_SECONDS = 3600.0
_DRAFT = ".part"
_FAILED = "failed-"
"""Beginning of the name of what was there when a copy was put back."""


class SnapshotError(WorkloadError):
    """The files of a claim cannot be copied, or put back."""

    reason = "VolumeSnapshotFailed"


async def settle_snapshots(spec: InstanceSpec, claims: Path, snapshots: Path) -> None:
    """Take and put back what the claims of an instance ask for; nobody may write them meanwhile.

    Raises SnapshotError.
    """
    for claim in _asking(spec):
        folder = claims / claim.namespace / claim.name
        kept = snapshots / claim.namespace / claim.name
        try:
            if claim.back_to:
                await asyncio.to_thread(_put_back, folder, kept, claim.back_to)
            if claim.keep_as:
                await _keep(folder, kept, claim.keep_as)
        except OSError as error:
            why = error.strerror or str(error)
            raise SnapshotError(f"claim {claim.name} of {spec.name}: {why}") from error


def _asking(spec: InstanceSpec) -> Iterator[VolumeClaim]:
    seen: set[tuple[str, str]] = set()
    for volume in spec.volumes.values():
        if isinstance(volume, VolumeClaim) and (volume.keep_as or volume.back_to):
            key = (volume.namespace, volume.name)
            if key not in seen and not any("/" in part or part in {"", ".", ".."} for part in key):
                seen.add(key)
                yield volume


async def _keep(folder: Path, kept: Path, name: str) -> None:
    """Copy the files of a claim, unless that was done; raises SnapshotError or OSError."""
    draft = kept / _DRAFT
    if not await asyncio.to_thread(_begin, folder, kept, name):
        return
    for argv in (
        ("cp", "-a", "--reflink=auto", "--", str(folder), str(draft)),
        ("sync", "-f", str(draft)),
    ):
        done = await run_command(*argv, seconds=COPY_SECONDS)
        if done.code:
            await asyncio.to_thread(remove_tree, draft)
            raise SnapshotError(
                f"the files of claim {folder.name} cannot be copied before the update:"
                f" {done.last_line}; make room, or remove the annotation"
                " upwell.dev/snapshot-volumes"
            )
    await asyncio.to_thread(_complete, kept, name)


def _begin(folder: Path, kept: Path, name: str) -> bool:
    """Make way for a copy; False: there is one, or nothing to copy."""
    if (kept / name).exists() or not folder.is_dir():
        return False
    remove_tree(kept / _DRAFT)
    kept.mkdir(parents=True, exist_ok=True)
    kept.chmod(0o700)  # who may read a claim's files is up to their modes inside of it alone
    return True


def _complete(kept: Path, name: str) -> None:
    """Give a copy its name, and remove those before it."""
    (kept / _DRAFT).rename(kept / name)
    for entry in kept.iterdir():
        if entry.name != name:
            remove_tree(entry)


def _put_back(folder: Path, kept: Path, names: Sequence[str]) -> None:
    """Put the first copy that is there in the place of a claim's files; raises OSError."""
    name = next((one for one in names if (kept / one).is_dir()), None)
    if name is None:
        return  # it was put back before, or never taken
    copy, aside = kept / name, kept / f"{_FAILED}{name}"
    if folder.exists():
        remove_tree(aside)
        folder.rename(aside)
    copy.rename(folder)
