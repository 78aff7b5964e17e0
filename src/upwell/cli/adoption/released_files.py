"""Files of services that are given back: all of them, each whole, or none."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from upwell.cli.core.errors import CommandError, Exit
from upwell.policy.adoption.release import ReleasedFile

_FOLDER_MODE, _INNER_MODE = 0o700, 0o755
"""Of the folder of all, which keeps others out, and of those in it, which containers mount."""


def write_all(folder: Path, files: Mapping[str, ReleasedFile]) -> list[Path]:
    """Write files by their paths in a folder, and return where they are; raises CommandError.

    None is replaced, and whatever fails, none is left: each gets its name when all are on the disk.
    """
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise CommandError(
            f"nothing was written: {folder} has {', '.join(there)} already: name another folder"
            " with --to",
            Exit.USAGE,
        )
    made: list[Path] = []
    draft: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
        draft = Path(tempfile.mkdtemp(prefix=".release-to-", dir=folder))
        for at, one in enumerate(files.values()):
            _write(draft / str(at), one)
        for at, name in enumerate(files):
            _make_folders(folder, Path(name).parent, made)
            os.link(draft / str(at), folder / name)
            made.append(folder / name)
    except OSError as error:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise CommandError(f"nothing was written: {folder}: {error.strerror}") from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
    return [folder / name for name in files]


def _write(path: Path, file: ReleasedFile) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        target.write(file.content)
        target.flush()
        os.fchmod(descriptor, file.mode)
        os.fsync(descriptor)


def _make_folders(folder: Path, below: Path, made: list[Path]) -> None:
    """Make the folders of a relative path; the first of them lets nobody else in."""
    path, mode = folder, _FOLDER_MODE
    for part in below.parts:
        path /= part
        if not path.exists():
            path.mkdir()
            path.chmod(mode)
            made.append(path)
        mode = _INNER_MODE
