"""The author of an object: kept on it by the server alone, and asked again when it acts; pure.

An object acts long after it was written, by the server's own right. So it keeps the name of whoever
stands for it: the last who changed its spec and had every right that the spec takes.
"""

from collections.abc import Mapping

from upwell.api.meta import Resource

AUTHOR_ANNOTATION = "upwell.dev/author"
"""On an object that a client wrote, or that the server made of such a one: the token's name.

Without it the object is the administrator's: it was written before authors were kept."""


def author_of(resource: Resource) -> str:
    """Return the name of the author; empty: the administrator."""
    return resource.annotations.get(AUTHOR_ANNOTATION, "")


def with_author[R: Resource](resource: R, author: str) -> R:
    """Return the object as `author` has written it; an empty one takes the name away."""
    if author_of(resource) == author:
        return resource
    return resource.with_metadata(annotations=_annotations(resource.annotations, author))


def made_of[R: Resource](made: R, source: Resource) -> R:
    """Return an object that the server makes of `source`, with the author of that."""
    return with_author(made, author_of(source))


def _annotations(present: Mapping[str, str], author: str) -> dict[str, str]:
    others = {key: text for key, text in present.items() if key != AUTHOR_ANNOTATION}
    return others | {AUTHOR_ANNOTATION: author} if author else others
