"""The author of an object: kept on it by the server alone, and asked again when it acts; pure.

An object acts long after it was written, by the server's own right. So it keeps the name of whoever
stands for it: the last who changed its spec and had every right that the spec takes.
"""

from collections.abc import Iterable

from upwell.api.meta import Resource

AUTHOR_ANNOTATION = "upwell.dev/author"
"""On an object that a client wrote, or that the server made of such a one: the token's name.

Without it the object is the administrator's: it was written before authors were kept."""

CONTENT_AUTHORS_ANNOTATION = "upwell.dev/content-authors"
"""On a BuildConfig or Build: the names, one a line, of those who decide what it builds beside its
author: who uploaded, named the commit, set variables, or changed less than its author stands for.
Kept by the server alone."""


def author_of(resource: Resource) -> str:
    """Return the name of the author; empty: the administrator."""
    return resource.annotations.get(AUTHOR_ANNOTATION, "")


def content_authors_of(resource: Resource) -> tuple[str, ...]:
    """Return the names of those who decide what is built, besides the author."""
    text = resource.annotations.get(CONTENT_AUTHORS_ANNOTATION, "")
    return tuple(text.split("\n")) if text else ()


def with_author[R: Resource](resource: R, author: str) -> R:
    """Return the object as `author` has written it; an empty one takes the name away."""
    return _annotated(resource, AUTHOR_ANNOTATION, author)


def with_content_authors[R: Resource](resource: R, names: Iterable[str]) -> R:
    """Return the object as these decide its content, each named once; none: its author alone."""
    text = "\n".join(dict.fromkeys(name for name in names if name))
    return _annotated(resource, CONTENT_AUTHORS_ANNOTATION, text)


def authored_as[R: Resource](resource: R, other: Resource | None) -> R:
    """Return the object with the authors of another; None: with none."""
    author = author_of(other) if other is not None else ""
    others = content_authors_of(other) if other is not None else ()
    return with_content_authors(with_author(resource, author), others)


def made_of[R: Resource](made: R, source: Resource) -> R:
    """Return an object that the server makes of `source`, with the authors of that."""
    return authored_as(made, source)


def _annotated[R: Resource](resource: R, key: str, text: str) -> R:
    if resource.annotations.get(key, "") == text:
        return resource
    others = {name: value for name, value in resource.annotations.items() if name != key}
    return resource.with_metadata(annotations=others | {key: text} if text else others)
