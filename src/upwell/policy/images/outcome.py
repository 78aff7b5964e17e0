"""Outcome of an import of a tag's image, and what it makes of the tag's status."""

from dataclasses import dataclass
from datetime import datetime

from upwell.api.conditions import set_condition
from upwell.api.image import ImportState, NamedTagEventList, TagEvent
from upwell.api.meta import Condition
from upwell.policy.images.checks import is_news
from upwell.policy.images.streams import recorded

IMPORT_SUCCESS = "ImportSuccess"
_NEXT_ATTEMPT = "; tried again at "


@dataclass(frozen=True, slots=True)
class TagOutcome:
    """An image, a condition that says why there is none, or neither: the image in force stays."""

    tag: str
    state: ImportState
    result: TagEvent | Condition | None

    def is_news(self, old: NamedTagEventList | None) -> bool:
        """Return True if it changes more of the tag's history than the times of checks."""
        if old is None or old.import_state is None or old.conditions:
            return True
        if isinstance(self.result, Condition) or (self.result is not None and not old.items):
            return True
        return is_news(old.import_state, self.state)

    def fold_into(self, history: NamedTagEventList | None, now: datetime) -> NamedTagEventList:
        """Return the tag's history with this outcome; a failure keeps the last good image."""
        old = history or NamedTagEventList(tag=self.tag)
        changes: dict[str, object] = {"import_state": self.state}
        if isinstance(self.result, Condition):
            changes["conditions"] = set_condition(old.conditions, self.result, now)
        elif self.result is None or (old.items and _stands_still(old.import_state, self.state)):
            # Upstream stands still: a push to the same tag since then stays in force.
            changes["conditions"] = ()
        else:
            return recorded(old, self.result, changes)
        return old.model_copy(update=changes)


def failure(reason: str, message: str, generation: int | None) -> Condition:
    """Return the condition of a tag whose image was not found."""
    return Condition(
        type=IMPORT_SUCCESS,
        status="False",
        reason=reason,
        message=message,
        generation=generation,
    )


def with_next_attempt(message: str, at: datetime) -> str:
    """Return the message of a condition that also says when the import is tried again."""
    return f"{message}{_NEXT_ATTEMPT}{at:%Y-%m-%dT%H:%M:%SZ}"


def without_next_attempt(message: str) -> str:
    """Return the message without that time, equal for each attempt that fails alike."""
    head, found, _ = message.rpartition(_NEXT_ATTEMPT)
    return head if found else message


def _stands_still(before: ImportState | None, now: ImportState) -> bool:
    """Return True if the same question, not asked anew by a person, had the same answer."""
    return (
        before is not None
        and (before.source, before.request) == (now.source, now.request)
        and before.upstream_digest == now.upstream_digest
        and before.generation >= now.generation
    )
