"""Files that are written as a whole: a crash or a full disk leaves the old one or the new one."""

import contextlib
import errno
import logging
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

_DRAFT = ".new"
MAX_SECRET_BYTES = 4096
"""Of a token, a password or the like in a file."""
PRIVATE_FILES = (
    *("*.db", "*.db-wal", "*.db-shm", "*.token", "*.key", "audit*.log*"),
    *("tls/*.key", "router/tls/*.key"),
)
"""Of a data folder, besides what is made private where it is read."""
PRIVATE_FOLDERS = (
    *("builder", "builds", "evidence", "firewall", "logs/builds", "workloads"),
    *("tls", "router/tls", "router/certificates"),
)
"""Of a data folder: each keeps all that is below from others, whatever modes that has."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class DamagedFileError(Exception):
    """A file is not what was written; nothing was changed. The message names it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is damaged: {why}")


class PrivateFiles:
    """Files with secrets that only their owner can read, as they are; others may seal them."""

    def read(self, path: Path, limit: int) -> bytes:
        """Return the content of a file, one byte more than `limit` at most.

        Raises OSError or DamagedFileError.
        """
        make_private(path)
        with path.open("rb") as file:
            return file.read(limit + 1)

    def settle(self, path: Path, content: bytes) -> None:
        """See that a file that was read, and is whole, is kept as it shall be; raises OSError."""

    def write(self, path: Path, content: bytes) -> None:
        """Write a whole file; raises OSError."""
        write_private(path, content)


def write_private(
    path: Path, content: str | bytes | IO[bytes], *, mode: int = 0o600, synced: bool = True
) -> None:
    """Write a file that only its owner can read; raises OSError.

    `content` may be another file, which is copied piece by piece from its beginning.

    Never wider open than `mode`, not even between creating and writing it. `synced`: the content
    survives a power cut as soon as its name does; false for what is cheaper to lose than to sync.
    """
    draft = path.with_name(f"{path.name}{_DRAFT}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - the descriptor has the mode already
            if isinstance(content, str | bytes):
                file.write(content.encode() if isinstance(content, str) else content)
            else:
                content.seek(0)
                shutil.copyfileobj(content, file)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that all may read, unless it says this already; raises OSError."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == (content.encode() if isinstance(content, str) else content):
            return
    write_private(path, content, mode=0o644)


def read_secret_file(path: Path) -> str:
    """Return the text of a file with a secret, without white space around it; raises OSError.

    Of a longer one than MAX_SECRET_BYTES, more letters than that; what is no ASCII is replaced.
    """
    with path.open("rb") as file:
        return file.read(MAX_SECRET_BYTES + 1).decode("ascii", "replace").strip()


def is_open_to_others(path: Path) -> bool:
    """Return True if others than its owner may do anything with a file; raises OSError."""
    return bool(stat.S_IMODE(path.stat().st_mode) & _OTHERS)


def require_file(path: Path) -> None:
    """Raise OSError where something else than a file has the name: a folder, say, or a pipe."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no file: move it away, and start again", str(path))


def is_draft(path: Path) -> bool:
    """Return True for the name of what a killed process may have left half-written."""
    return path.suffix == _DRAFT


def remove_drafts(folders: Iterable[Path]) -> int:
    """Remove what a killed process left half-written in these folders; return how many files."""
    found = [draft for folder in folders for draft in folder.glob(f"*{_DRAFT}") if draft.is_file()]
    for draft in found:
        draft.unlink(missing_ok=True)
    return len(found)


def make_private(path: Path) -> None:
    """Take a file of ours away from others, as after a copy that lost its mode; raises OSError."""
    if path.is_file():
        _take_away(path)


def _take_away(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        path.chmod(mode & ~_OTHERS)
        log.warning("others could read it", extra={"file": str(path), "mode": f"{mode:o}"})


def _is_volume_of_root(folder: Path) -> bool:
    """Return True if a folder is where root has mounted something for a user that is not root."""
    return os.geteuid() != 0 and folder.stat().st_uid == 0 and os.path.ismount(folder)


def tighten(folder: Path) -> None:
    """Take a data folder away from others, with the secrets in it; raises OSError.

    The root of a Pod's volume stays as it is: its node owns it, and has it mounted there alone.
    """
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & _OTHERS and not _is_volume_of_root(folder):
        folder.chmod(mode & ~_OTHERS)
        log.warning(
            "others could enter the data folder: it is the server's alone now",
            extra={"folder": str(folder), "mode": f"{mode:o}"},
        )
    for pattern in PRIVATE_FILES:
        for path in folder.glob(pattern):
            if not path.is_symlink():
                make_private(path)
    for path in map(folder.joinpath, PRIVATE_FOLDERS):
        if path.is_dir() and not path.is_symlink():
            _take_away(path)
