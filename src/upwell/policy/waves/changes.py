"""Changes of imported images, as streams show them: each has its Wave."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from upwell.api.image import ImageStream, NamedTagEventList, TagEvent
from upwell.api.meta import ObjectKey
from upwell.api.waves.wave import ENDED_WAVES, Wave, WavePhase
from upwell.oci import Digest, InvalidReferenceError, Reference
from upwell.policy.images.imported import change_behind
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.waves.gate import needs_approval

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_OF_IMAGE = 8
"""Digits of an image's hash in the name of a Wave."""


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
    requested_by: str = ""
    """People who had it imported by hand, one a line; empty: it was found by the schedule."""

    def names(self, *, shared: bool = False) -> Iterator[str]:
        """Yield the names that its Wave may have; the later ones if the digest has come back.

        `shared`: those of an image whose first name is the same as another's, a mirror's perhaps.
        """
        reference = Reference.parse(self.image)
        last = reference.name.rpartition("/")[2]
        text = _NOT_IN_NAMES.sub("-", f"{last}-{reference.tag}".lower()).strip("-")[:200]
        first = f"{text}-{Digest.parse(self.digest).short}"
        if shared:
            first += f"-{Digest.of(self.image.encode()).short[:_OF_IMAGE]}"
        yield first
        yield from (f"{first}-{number}" for number in count(2))

    def is_of(self, wave: Wave) -> bool:
        """Return True if a Wave is of a change of the same image to the same digest."""
        same = self.digest == wave.spec.digest or self.imported in wave.status.digests
        return wave.spec.image == self.image and same

    def covered_by(self, waves: Iterable[Wave]) -> Wave | None:
        """Return the Wave that this change belongs to, of the image's own.

        One that has ended is it while the image has not changed again: a tag that imports later;
        but not one that had nothing to do, as nobody has approved what now is to be done.
        """
        known = [one for one in waves if not _had_nothing_to_approve(one)]
        for one in known:
            if self.is_of(one) and one.status.phase not in ENDED_WAVES:
                return one
        newest = max(known, key=began_at, default=None)
        if newest is None or not self.is_of(newest) or newest.status.lifted is not None:
            return None
        return None if newest.status.phase is WavePhase.SUPERSEDED else newest


def _had_nothing_to_approve(wave: Wave) -> bool:
    return wave.status.phase is WavePhase.COMPLETE and needs_approval(wave)


class PendingMoves:
    """Changes of images that are to be looked at: of each image and digest, the first import."""

    def __init__(self) -> None:
        self._moves: dict[str, dict[tuple[str, str], ImageMove]] = {}
        """By the first name of the Wave, and by image and digest: those of mirrors share names."""

    def add(self, move: ImageMove) -> ObjectKey:
        """Take a change in, and return the key under which it is found."""
        name = next(move.names())
        of_name = self._moves.setdefault(name, {})
        change = (move.image, move.digest)
        known = of_name.get(change)
        if known is None or move.changed < known.changed:
            of_name[change] = move
        return ObjectKey(Wave.KIND.kind, "", name)

    def of(self, key: ObjectKey) -> list[ImageMove]:
        """Return the changes of a key."""
        return [*self._moves.get(key.name, {}).values()]

    def made(self, move: ImageMove) -> None:
        """Forget a change, unless an earlier import of it has become known meanwhile."""
        name = next(move.names())
        of_name = self._moves.get(name, {})
        change = (move.image, move.digest)
        if of_name.get(change) is move:
            del of_name[change]
        if not of_name:
            self._moves.pop(name, None)


def began_at(wave: Wave) -> tuple[float, str]:
    """Return the sort key of Waves, the oldest first."""
    began = wave.spec.changed or wave.metadata.creation_timestamp
    return (began.timestamp() if began is not None else 0.0, wave.name)


def present_moves(stream: ImageStream) -> Iterator[tuple[str, ImageMove]]:
    """Yield the changes by which tags have got the images that they name now, if imports did it.

    Each with the name of its tag, whatever that declares by now. A first import is no change.
    """
    for history in stream.status.tags:
        latest, change = history.latest, change_behind(history)
        if latest is not None and change is not None:
            by = latest.requested_by or ""
            yield (
                history.tag,
                ImageMove(
                    change.image,
                    change.digest,
                    change.previous or "",
                    latest.created,
                    latest.image,
                    by,
                ),
            )


def new_moves(
    before: ImageStream | None, after: ImageStream, since: datetime
) -> Iterator[ImageMove]:
    """Yield the changes that a stream has got since `before`; without it, those since a time."""
    histories = after.status.by_tag()
    earlier = before.status.by_tag() if before is not None else {}
    for tag, move in present_moves(after):
        history = histories[tag]
        state = history.import_state
        # A tag that follows another one has its change, and no Wave of its own.
        is_import = state is not None and state.imported_digest == move.imported
        if is_import and _is_news(history.items[0], earlier.get(tag), since):
            yield move


def passed_over(before: ImageStream | None, after: ImageStream) -> Iterator[ImageMove]:
    """Yield the images that upstream names anew, and of which nothing matters to a stream's tags.

    The tags keep what they have: all that is used here of the new one is the same.
    """
    for tag in effective_tags(after) if before is not None else ():
        history = after.status.tag(tag.name) if tag.imports else None
        state = history.import_state if history is not None else None
        known = before.status.tag(tag.name) if before is not None else None
        was = known.import_state if known is not None else None
        if history is None or known is None or state is None or was is None:
            continue
        latest = history.latest
        digest, previous = state.upstream_digest, was.upstream_digest
        if previous not in {"", digest} and latest is not None and known.latest == latest:
            with suppress(InvalidReferenceError):
                image = str(Reference.parse(tag.imports or ""))
                now = state.last_check_time or latest.created
                yield ImageMove(image, digest, previous, now, latest.image)


def names_upstream(history: NamedTagEventList | None, wave: Wave) -> bool:
    """Return True if the image of a Wave is what upstream names for a tag."""
    state = history.import_state if history is not None else None
    return state is not None and state.upstream_digest == wave.spec.digest


def why_passed_over(history: NamedTagEventList | None, wave: Wave) -> str:
    """Say why a tag has not taken the image of a Wave, though upstream names it; empty: it has."""
    state = history.import_state if history is not None else None
    latest = history.latest if history is not None else None
    began = wave.spec.changed
    if state is None or latest is None or began is None:
        return ""
    if latest.created >= began:
        return ""
    if state.ignored is not None:
        return state.ignored.message
    same = state.imported_digest == latest.image
    return "the manifest that is used here is the same" if same else ""


def _is_news(new: TagEvent, known: NamedTagEventList | None, since: datetime) -> bool:
    if known is not None and known.latest is not None:
        return known.latest.image != new.image
    return new.created >= since
