"""Event about the last write of a workload's images, by its note, which outlives who wrote."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.policy.cluster_rollouts.note import RolloutNote, listed_images

SET, PUT_BACK = "ImageUpdated", "RolledBack"
EVENT_AGE = timedelta(hours=1)
"""For which an API server keeps Events, unless it is told otherwise (`--event-ttl`)."""


@dataclass(frozen=True, slots=True)
class LastWrite:
    """Event about a write, and when that was."""

    reason: str
    """Of the Event."""
    message: str
    at: datetime

    @property
    def is_warning(self) -> bool:
        """Return True if images were put back."""
        return self.reason == PUT_BACK


def last_write(note: RolloutNote) -> LastWrite | None:
    """Return the Event about the write that made a note; None: an older version has made it."""
    if not note.changed or note.since is None:
        return None
    images = listed_images({name: note.images.get(name, "") for name in note.changed})
    if set(note.changed) == set(note.failed):
        failed = listed_images({name: note.failed[name] for name in note.changed})
        message = f"{failed} failed: {note.why}; {images} put back"
        return LastWrite(PUT_BACK, message, note.since)
    return LastWrite(SET, f"set {images}", note.since)


def owed_write(note: RolloutNote, now: datetime) -> LastWrite | None:
    """Return a write whose Event should be at the workload, whoever was to tell it.

    None: it would be gone by now.
    """
    found = last_write(note)
    return None if found is None or now - found.at >= EVENT_AGE else found
