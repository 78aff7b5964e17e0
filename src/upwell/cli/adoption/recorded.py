"""Record of each takeover that is under way: what a kill or a power cut leaves is found by it."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from upwell.cli.adoption.engines import OldContainer
from upwell.cli.core.errors import CommandError
from upwell.cli.core.terminal import echo

_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecordedTakeover:
    """A takeover as it began."""

    began: str
    """RFC 3339."""
    program: str
    """Of the container's engine."""
    container: OldContainer
    namespace: str
    name: str
    """Of the Deployment that it becomes."""
    data_dir: str
    copies: Sequence[str]
    """Folders that its volumes are copied to."""
    documents: Sequence[dict[str, Any]]
    """Manifests of what it becomes."""

    @property
    def path(self) -> Path:
        """Return its file, of this user alone."""
        return _folder() / f"{self.namespace}.{self.name}.json"

    def forget(self) -> None:
        """Remove the record: the takeover is at its end, or undone."""
        with suppress(OSError):
            self.path.unlink()


@contextmanager
def under_way(takeover: RecordedTakeover) -> Iterator[None]:
    """Record a takeover, and hold the record while it is under way; raises CommandError.

    The block forgets it at its end: what it does not come to forget was cut off.
    """
    path = takeover.path
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written, so a takeover that is cut off could not be undone:"
            f" {error.strerror}; XDG_STATE_HOME names another folder"
        ) from error
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - it has its mode
        if not _locked(descriptor):
            raise CommandError(f"{takeover.name}: another `upwell adopt` takes it over")
        try:
            file.truncate()
            json.dump(asdict(takeover), file)
            file.flush()
            os.fsync(descriptor)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise CommandError(f"{path} cannot be written: {error.strerror}") from error
        yield


@contextmanager
def taken_up(takeover: RecordedTakeover) -> Iterator[None]:
    """Hold the record of a takeover that was cut off while it is ended; raises CommandError.

    It stays as it is: there is nothing else that says what was stopped.
    """
    try:
        file = takeover.path.open("r+b")
    except OSError as error:
        raise CommandError(f"{takeover.path} cannot be read: {error.strerror}") from error
    with file:
        if not _locked(file.fileno()):
            raise CommandError(f"{takeover.name}: another `upwell adopt` ends its takeover")
        yield


def cut_off() -> list[RecordedTakeover]:
    """Return the takeovers that were begun, and are not under way any more."""
    return [found for path in sorted(_folder().glob("*.json")) if (found := _read(path))]


def _read(path: Path) -> RecordedTakeover | None:
    try:
        with path.open("r+b") as file:
            if not _locked(file.fileno()):
                return None
            document = json.loads(file.read(_MAX_BYTES))
            old = OldContainer(**document.pop("container"))
            return RecordedTakeover(container=old, **document)
    except (OSError, ValueError, KeyError, TypeError) as error:
        # Nothing is stopped before its record is whole.
        echo(f"note: {path} is no record of a takeover: {error}", err=True)
        return None


def _locked(descriptor: int) -> bool:
    """Return True if nobody else holds a record; then this process does until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or ""
    state = Path(base) if Path(base).is_absolute() else Path.home() / ".local/state"
    return state / "upwell" / "takeovers"
