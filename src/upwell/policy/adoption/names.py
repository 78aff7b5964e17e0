"""Names of objects made of names that Compose and container engines allow."""

import re

from upwell.policy.new_app.components import MAX_NAME

_ANNOTATION = re.compile(
    r"(?:(?=.{1,253}/)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
)
PROJECT_LABEL = "com.docker.compose.project"
"""Label of objects: the Compose project that they were made of."""


class AdoptionError(ValueError):
    """Services that no objects can be made of; the message says what to change."""


def object_name(written: str) -> str:
    """Return the name of an object: lower-case letters, digits and `-`; raises AdoptionError."""
    name = re.sub(r"[^a-z0-9]+", "-", written.lower()).strip("-")[:MAX_NAME].rstrip("-")
    if name[:1].isdecimal():
        name = f"x{name}"[:MAX_NAME]
    if not name:
        raise AdoptionError(f"no name can be made from {written!r}: give it one with letters")
    return name


def is_annotation(key: str) -> bool:
    """Return True if an annotation may have this key."""
    return _ANNOTATION.fullmatch(key) is not None
