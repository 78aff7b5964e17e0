"""Checks that brought nothing new: their times, beside the status that they leave as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Self

from upwell.api.image import ImageStream, ImportState, NamedTagEventList, RepositoryImport

WHOLE_REPOSITORY = ""
"""Stands for a repository's list of tags among the names of tags."""

type Seconds = float | None
"""Of an interval; None: nothing is scheduled."""


@dataclass(frozen=True, slots=True)
class ImportCheck:
    """Check of a tag, or of a repository's list of tags, that brought nothing new."""

    source: str
    generation: int
    last: datetime
    following: datetime | None
    interval: Seconds
    """Seconds that the following one was planned with."""

    @classmethod
    def of(cls, state: ImportState | RepositoryImport) -> Self | None:
        """Return the check that `state` came from; None if it does not say when that was."""
        last = state.last_check_time
        if last is None:
            return None
        return cls(state.source, state.generation, last, state.next_check_time, state.interval)

    @classmethod
    def without_news(
        cls,
        history: NamedTagEventList,
        now: datetime,
        following: datetime | None,
        interval: Seconds,
    ) -> Self | None:
        """Return a check at `now` that found what the tag has; None if it says more than its time.

        It was made as the stored state asks for it, and upstream named the digest of that again.
        """
        stored, latest = history.import_state, history.latest
        if stored is None or latest is None or history.conditions or stored.failures:
            return None
        if latest.image != stored.imported_digest or stored.requested_by:
            return None
        last = stored.last_check_time
        if last is None or last >= now or stored.interval != interval:
            return None
        return cls(stored.source, stored.generation, now, following, interval)

    def counts_for(self, stored: ImportState | RepositoryImport) -> bool:
        """Return True if it is of a state as it is stored, and newer."""
        last = stored.last_check_time
        if stored.failures or last is None or last >= self.last:
            return False
        return (stored.source, stored.generation) == (self.source, self.generation)

    def next_after(self, stored: ImportState | RepositoryImport) -> datetime | None:
        """Return the next check, of a state that it counts for, by the interval that is stored."""
        pause = stored.interval
        if pause == self.interval:
            return self.following
        return None if pause is None else self.last + timedelta(seconds=pause)

    def times(self, stored: ImportState | RepositoryImport) -> dict[str, datetime | None]:
        """Return what it changes of a state as it is stored; nothing of one that is newer."""
        if not self.counts_for(stored):
            return {}
        return {"last_check_time": self.last, "next_check_time": self.next_after(stored)}


type ImportChecks = Mapping[str, ImportCheck]
"""By the names of tags, or WHOLE_REPOSITORY."""

NO_CHECKS: ImportChecks = MappingProxyType({})


def with_checks(stream: ImageStream, checks: ImportChecks) -> ImageStream:
    """Return a stream as it is stored, with the times of what was checked since."""
    changes: dict[str, object] = {}
    tags = list(stream.status.tags)
    for at, entry in enumerate(tags):
        check, state = checks.get(entry.tag), entry.import_state
        times = check.times(state) if check is not None and state is not None else {}
        if state is not None and times:
            checked = state.model_copy(update=times)
            tags[at] = entry.model_copy(update={"import_state": checked})
            changes["tags"] = tags
    whole, listed = checks.get(WHOLE_REPOSITORY), stream.status.repository
    times = whole.times(listed) if whole is not None and listed is not None else {}
    if listed is not None and times:
        changes["repository"] = listed.model_copy(update=times)
    if not changes:
        return stream
    if "tags" in changes:
        changes["tags"] = tuple(tags)
    return stream.with_status(stream.status.model_copy(update=changes))


def is_news[S: (ImportState, RepositoryImport)](stored: S, found: S) -> bool:
    """Return True if a check changes more of the stored state than the times of checks."""
    before, last = stored.last_check_time, found.last_check_time
    if before is None or last is None or last < before:
        return True  # one that the clock was ahead for is told anew, or it would never end
    times = {"last_check_time": before, "next_check_time": stored.next_check_time}
    # Without a copy of the model: this is asked of each tag in each check.
    return {**vars(found), **times} != vars(stored) or found.model_extra != stored.model_extra
