"""Webhooks' word that a tag has changed: each makes an import due at once, ahead of its schedule.

Kept in memory only, since the schedule finds a lost one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.oci import Digest
from upwell.policy.images.outcome import IMPORT_SUCCESS

PAUSES = tuple(timedelta(milliseconds=one) for one in (15, 45, 140, 400, 1200, 3600))
"""Between the looks for a digest that upstream does not show yet: most need one or two more."""
FAILED_PAUSES = tuple(timedelta(milliseconds=one) for one in (100, 500))
"""The same where upstream answers an error: few, as each makes the import's own retries rarer."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A tag is said to have changed; `digest` is what it should name, where that is known."""

    due: datetime
    digest: Digest | None = None
    looks: int = 0
    """Number of times that upstream was asked for it in vain."""


class ImportHints:
    """The hints of all streams.

    Distribution tells of a push before it sets the tag, so who asks at once is answered the old
    image, or an error while the tag's file is being written: a hint is repeated, with growing
    pauses, until the tag names the digest of the hint.
    """

    def __init__(self) -> None:
        self._hints: dict[ObjectKey, dict[str, Hint]] = {}

    def add(self, stream: ObjectKey, tag: str, hint: Hint) -> None:
        """Note a hint; it takes the place of an earlier one of the same tag."""
        self._hints.setdefault(stream, {})[tag] = hint

    def take(self, stream: ObjectKey, now: datetime) -> Mapping[str, Hint]:
        """Return the hints that are due, by tag, and forget them."""
        waiting = self._hints.pop(stream, {})
        later = {tag: hint for tag, hint in waiting.items() if hint.due > now}
        if later:
            self._hints[stream] = later
        return {tag: hint for tag, hint in waiting.items() if hint.due <= now}

    def put_back(self, stream: ObjectKey, hints: Mapping[str, Hint]) -> None:
        """Note taken hints again, as they were; what came since stays in force."""
        if hints:
            self._hints[stream] = {**hints, **self._hints.get(stream, {})}

    def repeat_unseen(self, stream: ImageStream, taken: Mapping[str, Hint], now: datetime) -> None:
        """Note again what upstream did not show yet."""
        for tag, hint in taken.items():
            history = stream.status.tag(tag)
            state = history.import_state if history else None
            if history is None or state is None or hint.digest is None:
                continue
            seen = state.upstream_digest == str(hint.digest)
            failed = find(history.conditions, IMPORT_SUCCESS) is not None
            pauses = FAILED_PAUSES if failed else PAUSES
            if not seen and hint.looks < len(pauses):
                due = now + pauses[hint.looks]
                self.put_back(stream.key, {tag: replace(hint, due=due, looks=hint.looks + 1)})

    def next_due(self, stream: ObjectKey) -> datetime | None:
        """Return when the stream's next hint is due."""
        return min((hint.due for hint in self._hints.get(stream, {}).values()), default=None)
