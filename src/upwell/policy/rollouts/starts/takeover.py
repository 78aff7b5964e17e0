"""Takeover of a container by a Deployment: its start is held, and nobody is told of it meanwhile.

What is taken over stops before its volumes are copied. Its successor has its images by then, and
begins once they are copied; what is said of the two meanwhile passes.
"""

from datetime import datetime, timedelta

from upwell.api.apps import RevisionRecord
from upwell.api.meta import Resource, parse_time
from upwell.policy.rollouts.report import describe
from upwell.policy.rollouts.snapshot import HELD, Obstacle

START_ANNOTATION = "upwell.dev/takeover-start"
"""`held`: images are pulled, and no first instance starts; or when that was allowed (RFC 3339)."""
UNTIL_ANNOTATION = "upwell.dev/takeover-until"
"""Time (RFC 3339) until which Subscriptions are told nothing of the object."""
IS_HELD = "held"
_LONGEST = timedelta(days=2)
"""After its creation an object is told of, whatever it says: nobody hides one by an annotation."""


def is_held(workload: Resource) -> bool:
    """Return True if the first instance of a workload is not to start yet."""
    return workload.annotations.get(START_ANNOTATION) == IS_HELD


def allowed_since(workload: Resource, created: datetime, now: datetime) -> datetime:
    """Return when a revision could begin, at which its time to make progress begins too.

    It was `created` before that, where a takeover has held it back.
    """
    if is_held(workload):
        return max(created, now)
    start = parse_time(workload.annotations.get(START_ANNOTATION))
    return created if start is None else max(created, min(start, now))


def quiet_until(resource: Resource, now: datetime) -> datetime | None:
    """Return until when nothing is told of an object; None where it is told at once."""
    until = parse_time(resource.annotations.get(UNTIL_ANNOTATION))
    created = resource.metadata.creation_timestamp
    if until is None or created is None:
        return None
    until = min(until, created + _LONGEST)
    return until if until > now else None


def held(record: RevisionRecord) -> Obstacle:
    """Say that the first instance waits for the end of what it takes the place of."""
    why = "its images are there; it starts when what it takes the place of has stopped"
    return Obstacle(HELD, f"{describe(record)} is progressing: {why}", "True")
