"""Copies of a container's volumes in the folders of claims, and what becomes of them in failure."""

import os
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path

from upwell.cli.core.errors import CommandError
from upwell.cli.core.terminal import echo
from upwell.formats.compose.model import MountKind
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


def _free(path: Path) -> Path:
    """Return the path, with a number behind it where there is something."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
