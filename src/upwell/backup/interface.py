"""Values of a backup: its parts, its header, its limits; and the error of all that goes wrong."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

FORMAT = "upwell.dev/backup/v1"
HEADER = "upwell-backup.json"
"""First member: what the file is, before anything is unpacked."""
DIGESTS = "digests.json"
"""Last member: the SHA-256 of each file. A backup without it was cut."""
DATA = "data"
"""Folder of the members that are files of the data folder."""


class BackupPart(StrEnum):
    """Parts of a data folder; the state is in every backup."""

    STATE = "state"
    LOGS = "logs"
    REGISTRY = "registry"
    VOLUMES = "volumes"


class BackupError(Exception):
    """A backup was not made or not restored; the message names the file and the next step."""


class BackupTimeoutError(BackupError):
    """The time limit has passed; nothing is left of the draft."""


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A file, link or folder that goes into a backup."""

    source: Path
    """Its place now: files that change are copied elsewhere first."""
    name: str
    """Its path below the data folder."""
    part: BackupPart


@dataclass(frozen=True, slots=True)
class BackupHeader:
    """Origin of a backup, and what is in it."""

    version: str
    """Of Upwell."""
    schema: int
    """Of the database: an older Upwell cannot read a newer one."""
    instance: str
    folder: str
    """The data folder that it was made of."""
    made: str
    """UTC, RFC 3339."""
    parts: tuple[BackupPart, ...]
    is_encrypted: bool = False
    """True if the database takes a key that is not in the backup."""

    def document(self) -> dict[str, Any]:
        """Return the header as JSON has it."""
        return {
            "format": FORMAT,
            "version": self.version,
            "schema": self.schema,
            "instance": self.instance,
            "folder": self.folder,
            "made": self.made,
            "parts": [str(part) for part in self.parts],
            "encrypted": self.is_encrypted,
        }

    @classmethod
    def of_document(cls, document: object) -> Self:
        """Read a header; raises ValueError, KeyError or TypeError for anything else."""
        if not isinstance(document, Mapping) or document.get("format") != FORMAT:
            raise ValueError("the format is another one")
        return cls(
            version=str(document["version"]),
            schema=int(document["schema"]),
            instance=str(document["instance"]),
            folder=str(document["folder"]),
            made=str(document["made"]),
            parts=tuple(BackupPart(part) for part in document["parts"]),
            is_encrypted=bool(document["encrypted"]),
        )


type Progress = Callable[[int, int], None]
"""Hears of the bytes that are done, and of all."""


def no_progress(_: int, __: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class BackupLimits:
    """Bounds of the making of a backup."""

    max_bytes: int = 0
    """Of the file; 0: as much as there is room for."""
    is_late: Callable[[], bool] = lambda: False
    """Returns True when the time limit has passed."""


@dataclass(frozen=True, slots=True)
class WrittenBackup:
    """Outcome of a backup."""

    header: BackupHeader
    files: int
    size: int
    """Bytes of the file."""
    changed: tuple[str, ...] = ()
    """Files that changed or went while they were copied."""


def part_names(parts: Iterable[BackupPart]) -> str:
    """Return the names of parts, for people."""
    return ", ".join(str(part) for part in parts)
