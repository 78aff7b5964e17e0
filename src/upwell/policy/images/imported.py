"""Changes of upstream images, as the histories of tags keep them with what they have brought."""

from collections.abc import Iterable

from upwell.api.image import (
    EarlierImport,
    ImageStreamStatus,
    ImportedChange,
    NamedTagEventList,
    TagEvent,
)
from upwell.oci import InvalidReferenceError, Reference

MAX_HISTORY = 100
"""Digests kept for a tag; the oldest go first."""
_BOTH_SIDES = 2
"""Digests of a history in which something has changed: a first import is no change."""


def change_behind(history: NamedTagEventList) -> ImportedChange | None:
    """Return the change by which a tag has got what it names now; None: no import did it.

    What the tag declares has no part in it: whoever declares something else keeps the digest.
    """
    latest = history.latest
    if latest is None or latest.imported is not None:
        return latest.imported if latest is not None else None
    return _of_import(history)


def change_brought(history: NamedTagEventList | None, event: TagEvent) -> ImportedChange | None:
    """Return the change that `event` brings to a tag, as its next digest; None: it is none.

    A digest that comes back, by a push perhaps, is the change that it was.
    """
    items = history.items if history is not None else ()
    told = event.imported
    if told is None:
        known = [(one.image, one.imported) for one in items]
        known += [(one.image, one.imported) for one in history.earlier_imports] if history else []
        again = (change for image, change in known if event.image and image == event.image)
        return next((one for one in again if one is not None), None)
    if told.previous is not None:  # of a tag that this one follows
        return told
    return _with_previous(told, items)


def change_kept(history: NamedTagEventList, event: TagEvent) -> ImportedChange | None:
    """Return the change behind the present digest of a tag, which `event` brings again.

    The image that brought it first counts. Of that, upstream may name another index by now.
    """
    known, told = change_behind(history), event.imported
    if known is None:
        if told is None or told.previous is not None:
            return told
        return _with_previous(told, history.items[1:])
    if told is None or told.image != known.image:
        return known
    return known.model_copy(update={"digest": told.digest})


def with_items(history: NamedTagEventList, items: Iterable[TagEvent]) -> NamedTagEventList:
    """Return a history with these items, which remembers what imports have brought of the others.

    As many of those as it may have items.
    """
    items = tuple(items)
    left = {one.image for one in items}
    gone = [
        EarlierImport(image=one.image, imported=one.imported, requested_by=one.requested_by)
        for one in history.items
        if one.imported is not None and one.image not in left
    ]
    earlier: dict[str, EarlierImport] = {}
    for one in (*gone, *history.earlier_imports):
        if one.image not in left:
            earlier.setdefault(one.image, one)
    changes = {"items": items, "earlier_imports": tuple(earlier.values())[:MAX_HISTORY]}
    return history.model_copy(update=changes)


def with_changes(status: ImageStreamStatus) -> ImageStreamStatus:
    """Return a status with the changes that an earlier version has told by states of imports alone.

    Those end with what the tag declares.
    """
    tags = tuple(map(_with_change, status.tags))
    if all(new is old for new, old in zip(tags, status.tags, strict=True)):
        return status
    return status.model_copy(update={"tags": tags})


def _with_previous(told: ImportedChange, before: Iterable[TagEvent]) -> ImportedChange | None:
    earlier = tuple(before)
    if not earlier:
        return None
    # What the tag referred to without an import has no digest.
    previous = next((one.image for one in earlier if one.image), "")
    return told.model_copy(update={"previous": previous})


def _with_change(history: NamedTagEventList) -> NamedTagEventList:
    latest = history.latest
    change = _of_import(history)
    if latest is None or latest.imported is not None or change is None:
        return history
    marked = latest.model_copy(update={"imported": change})
    return history.model_copy(update={"items": (marked, *history.items[1:])})


def _of_import(history: NamedTagEventList) -> ImportedChange | None:
    """Return the change behind a digest that an earlier version has stored."""
    state = history.import_state
    if state is None or len(history.items) < _BOTH_SIDES:
        return None
    new, old = history.items[:2]
    is_imported = state.imported_digest == new.image and not new.unproven
    if not is_imported and state.ignored is None:
        return None  # a tag that imports may be pushed or mapped to
    try:
        image = str(Reference.parse(state.source))
    except InvalidReferenceError:
        return None
    # Of an image that is passed over, nothing tells of which index this one came.
    digest = state.upstream_digest if state.ignored is None else new.image
    return ImportedChange(image=image, digest=digest, previous=old.image)
