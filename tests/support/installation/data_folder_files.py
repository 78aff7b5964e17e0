"""Files of a data folder, as docs/encryption.md lists them, and texts that are plain in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "encryption.md"
_HEADING = "## What lies in the data folder"


@dataclass(frozen=True)
class FileRow:
    """A line of the table."""

    patterns: tuple[str, ...]
    may_be_plain: bool
    """True if there are secrets in the files, and they are not encrypted."""


def listed() -> list[FileRow]:
    """Return the table."""
    section = PAGE.read_text().partition(_HEADING)[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    return [
        FileRow(
            tuple(re.findall("`([^`]+)`", files)),
            not secrets.startswith("none") and encrypted.startswith("no"),
        )
        for files, secrets, encrypted in rows
    ]


def files_of(folder: Path) -> Iterator[tuple[str, FileRow | None]]:
    """Yield each file's path within the folder, with its line; None: there is none."""
    rows = listed()
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_dir() or path.is_symlink():
            yield name, next((row for row in rows if _is_in(name, row)), None)


def _is_in(name: str, row: FileRow) -> bool:
    whole = name.removesuffix(".new")  # which is being written
    return any(fnmatchcase(whole, pattern) for pattern in row.patterns)


def unlisted(folder: Path) -> list[str]:
    """Return the files that the table forgets."""
    return [name for name, row in files_of(folder) if row is None]


def leaking(folder: Path, secret: bytes) -> list[str]:
    """Return the files that have a secret although the table says that none is plain there."""
    return [
        name
        for name, row in files_of(folder)
        if row is not None
        and not row.may_be_plain
        and (folder / name).is_file()
        and secret in (folder / name).read_bytes()
    ]
