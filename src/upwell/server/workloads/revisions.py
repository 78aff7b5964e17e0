"""Revisions of workloads as objects that are read and watched like others."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, cast

from upwell.api.meta import ObjectKey, Resource
from upwell.store.interface import (
    EVERYTHING,
    Change,
    Listing,
    NotFoundError,
    Reader,
    Selector,
    WatchEvent,
    WatchProgress,
)

type _ByUid = Mapping[str, Resource]


class RevisionReader[W: Resource]:
    """Implements Reader for one kind of revision; their versions are those of their workloads.

    `revisions_of` returns those of a workload, each owned by it.
    """

    def __init__(
        self,
        objects: Reader,
        workload: type[W],
        revisions_of: Callable[[W], Sequence[Resource]],
    ) -> None:
        self._objects = objects
        self._workload = workload
        self._revisions_of = revisions_of

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one; raises NotFoundError."""
        listing = await self.list(kind, Selector(namespace, name=name))
        for found in listing.items:
            return found
        raise NotFoundError(ObjectKey(kind.KIND.kind, namespace, name))

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return those that match."""
        del kind
        listing = await self._objects.list(self._workload, Selector(selector.namespace))
        found = [
            one
            for workload in listing.items
            for one in self._revisions_of(workload)
            if _matches(one, selector)
        ]
        found.sort(key=lambda one: (one.namespace, one.name))
        return cast("Listing[R]", Listing(found, listing.resource_version))

    async def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after `since` in order, for ever; raises ExpiredError.

        From a watch of the workloads that begins at the client's version. What a workload's
        revisions were at that version is not known if it has changed since: its first change tells
        all that it has. One that it forgot by that change is the sole that is not told of.
        """
        listing = await self.list(kind, selector) if since else Listing[R]([], "0")
        known: dict[str, Resource] = {one.uid: one for one in listing.items}
        told: set[str] = set()
        events = self._objects.watch(
            self._workload, Selector(selector.namespace), since=since, progress=progress
        )
        async for event in events:
            owner = event.resource.uid
            every: Sequence[Resource] = self._revisions_of(event.resource)
            gone = event.change is Change.DELETED
            present = {} if gone else {one.uid: one for one in every if _matches(one, selector)}
            before = _owned(known, owner)
            if since and owner not in told and _is_older(event, listing):
                changes = _all_anew(event, every, selector)
            else:
                changes = _changes(before, present)
            told.add(owner)
            for change, one in changes:
                versioned = one.with_metadata(resource_version=event.resource.resource_version)
                yield cast("WatchEvent[R]", WatchEvent(change, versioned))
            known = {uid: one for uid, one in known.items() if uid not in before} | present


def _is_older(event: WatchEvent[Any], listing: Listing[Any]) -> bool:
    """Return True if the listing was made after the change, and says nothing of before it."""
    return int(event.resource.resource_version) <= int(listing.resource_version)


def _all_anew(
    event: WatchEvent[Any], revisions: Sequence[Resource], selector: Selector
) -> list[tuple[Change, Resource]]:
    """Return a change for each revision, whatever it was before: to be told twice harms nobody.

    One that does not match may have done so with the workload's labels of before.
    """
    relabelled = event.previous_labels not in (None, event.resource.labels)
    return [
        (event.change if _matches(one, selector) else Change.DELETED, one)
        for one in revisions
        if _matches(one, selector) or (relabelled and _is_named(one, selector))
    ]


def _changes(old: _ByUid, new: _ByUid) -> list[tuple[Change, Resource]]:
    gone = [(Change.DELETED, one) for uid, one in old.items() if uid not in new]
    return gone + [
        (Change.MODIFIED if uid in old else Change.ADDED, one)
        for uid, one in new.items()
        if uid not in old or _content(one) != _content(old[uid])
    ]


def _content(one: Resource) -> Resource:
    """Return what matters of it: the version is raised by every change of its workload."""
    return one.with_metadata(resource_version=None)


def _owned(known: _ByUid, owner: str) -> _ByUid:
    return {uid: one for uid, one in known.items() if _is_owned(one, owner)}


def _is_owned(one: Resource, owner: str) -> bool:
    return any(reference.uid == owner for reference in one.metadata.owner_references)


def _matches(one: Resource, selector: Selector) -> bool:
    return _is_named(one, selector) and all(
        one.labels.get(key) == text for key, text in selector.labels.items()
    )


def _is_named(one: Resource, selector: Selector) -> bool:
    return selector.name in {"", one.name}
