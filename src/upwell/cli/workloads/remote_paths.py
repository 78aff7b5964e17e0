"""Files on this machine and in containers, as `cp` and `rsync` name them."""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from upwell.api.decoding.kinds import find_names
from upwell.cli.core.connection import Session
from upwell.cli.workloads.conversations import ENTERED, Place


@dataclass(frozen=True, slots=True)
class FilePath:
    """A path here, or in a container."""

    path: str
    place: Place | None = None

    def __str__(self) -> str:
        return self.path if self.place is None else f"{self.place}:{self.path}"


def parse_pair(
    session: Session, words: Sequence[str], container: str
) -> tuple[FilePath, FilePath, Place]:
    """Return source and destination, one of which is in a container, and that container.

    Raises click.UsageError.
    """
    if len(words) != 2:  # noqa: PLR2004 - a source and a destination
        raise click.UsageError("source and destination are required")
    source, destination = (_parse(session, word, container) for word in words)
    if source.place is not None and destination.place is not None:
        raise click.UsageError("one of source and destination must be a local path")
    place = source.place or destination.place
    if place is None:
        raise click.UsageError("one of source and destination must be in a pod, as POD:PATH")
    return source, destination, place


def _parse(session: Session, text: str, container: str) -> FilePath:
    """Read `[NAMESPACE/]POD:PATH`, `KIND/NAME:PATH`, or a path here."""
    where, colon, path = text.partition(":")
    if not colon or where.startswith((".", "~", "/")):
        return FilePath(_not_empty(text, text))
    parts = where.split("/")
    if len(parts) > 2 or not all(parts):  # noqa: PLR2004 - a namespace or kind, and a name
        raise click.UsageError(f"{text!r}: write [[NAMESPACE/]POD:]PATH or KIND/NAME:PATH")
    resource, namespace = ENTERED[-1], session.namespace  # a Pod
    if len(parts) > 1:
        names = find_names(parts[0])
        found = names.resource() if names is not None else None
        if found is not None and issubclass(found, ENTERED):
            resource = found
        else:
            namespace = parts[0]
    return FilePath(_not_empty(path, text), Place(resource, namespace, parts[-1], container))


def _not_empty(path: str, text: str) -> str:
    if not path or "\0" in path:
        raise click.UsageError(f"{text!r} names no path")
    return path
