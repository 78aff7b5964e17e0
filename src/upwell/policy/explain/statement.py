"""One fact of an explanation."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Topic(StrEnum):
    """Topic of a statement."""

    RUNNING = "running"
    IMAGE = "image"
    RELEASE = "release"
    PROMOTION = "promotion"
    APPROVAL = "approval"
    TEST = "test"
    BUILD = "build"
    CAUSE = "cause"
    POLICY = "policy"
    COMMIT = "commit"
    UPSTREAM = "upstream"
    HELD = "held"
    NEXT = "next"


@dataclass(frozen=True, slots=True)
class Statement:
    """One fact. `depth` counts the steps back from the object that was asked about."""

    topic: Topic
    text: str
    depth: int = 0
    at: datetime | None = None
    """Time at which it happened, or is going to."""
    old: str = ""
    """The image before a change: a pull spec or digest; so `new`, the image after it."""
    new: str = ""
