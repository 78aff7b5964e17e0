"""Changes of imported images, as streams show them: each has its Wave."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from upwell.api.image import ImageStream, ImportState, NamedTagEventList, TagEvent, TagReference
from upwell.api.values.author import author_person_of
from upwell.api.waves.wave import ENDED_WAVES, Wave, WavePhase
from upwell.oci import Digest, InvalidReferenceError, Reference
from upwell.policy.images.repository_tags import effective_tags

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class ImageMove:
    """Another digest that an imported tag has got."""

    image: str
    """The image as its registry names it."""
    digest: str
    previous: str
    changed: datetime
    """Time of the import."""
    imported: str = ""
    """Digest that the tag has: that one, or of one manifest of it."""
    asked_by: str = ""
    """Person who had it imported by hand; empty: it was found by the schedule."""

    def names(self) -> Iterator[str]:
        """Yield the names that its Wave may have; the later ones if the digest has come back."""
        reference = Reference.parse(self.image)
        last = reference.name.rpartition("/")[2]
        text = _NOT_IN_NAMES.sub("-", f"{last}-{reference.tag}".lower()).strip("-")[:200]
        first = f"{text}-{Digest.parse(self.digest).short}"
        yield first
        yield from (f"{first}-{number}" for number in count(2))

    def is_of(self, wave: Wave) -> bool:
        """Return True if a Wave is of a change of the same image to the same digest."""
        return (wave.spec.image, wave.spec.digest) == (self.image, self.digest)

    def covered_by(self, waves: Iterable[Wave]) -> Wave | None:
        """Return the Wave that this change belongs to, of the image's own.

        One that has ended is it while the image has not changed again: a tag that imports later.
        """
        known = list(waves)
        for one in known:
            if self.is_of(one) and one.status.phase not in ENDED_WAVES:
                return one
        newest = max(known, key=began_at, default=None)
        if newest is None or not self.is_of(newest) or newest.status.lifted is not None:
            return None
        return None if newest.status.phase is WavePhase.SUPERSEDED else newest


def began_at(wave: Wave) -> tuple[float, str]:
    """Return the sort key of Waves, the oldest first."""
    began = wave.spec.changed or wave.metadata.creation_timestamp
    return (began.timestamp() if began is not None else 0.0, wave.name)


def present_moves(stream: ImageStream) -> Iterator[tuple[TagReference, ImageMove]]:
    """Yield the changes by which tags have got the images that they name now, if imports did it.

    A first import is no change.
    """
    for tag in effective_tags(stream):
        history = stream.status.tag(tag.name) if tag.imports else None
        if history is None or len(history.items) < 2:  # noqa: PLR2004 - a change has two sides
            continue
        new, old = history.items[:2]
        state = history.import_state
        if state is not None and _is_imported(new, state):
            with suppress(InvalidReferenceError):
                image = str(Reference.parse(tag.imports or ""))
                person = author_person_of(stream) if new.generation != old.generation else ""
                digest = state.upstream_digest
                yield tag, ImageMove(image, digest, old.image, new.created, new.image, person)


def new_moves(
    before: ImageStream | None, after: ImageStream, since: datetime
) -> Iterator[ImageMove]:
    """Yield the changes that a stream has got since `before`; without it, those since a time."""
    for tag, move in present_moves(after):
        history = after.status.tag(tag.name)
        known = before.status.tag(tag.name) if before is not None else None
        if history is not None and _is_news(history.items[0], known, since):
            yield move


def _is_imported(new: TagEvent, state: ImportState) -> bool:
    """Return True if upstream gave the image: a tag that imports may be pushed or mapped to."""
    return state.imported_digest == new.image and not new.unproven


def _is_news(new: TagEvent, known: NamedTagEventList | None, since: datetime) -> bool:
    if known is not None and known.latest is not None:
        return known.latest.image != new.image
    return new.created >= since
