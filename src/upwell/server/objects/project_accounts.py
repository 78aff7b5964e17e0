"""ServiceAccounts that every namespace has, as in OpenShift: clients see them before any is stored.

Each is a view of its namespace until the first write to it, which creates it: so nothing is written
when a namespace begins or an installation is upgraded, and no quota counts what nobody has asked
for. What acts as an account reads the store alone: a view has no token and no rights.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import batched
from typing import cast, overload
from uuid import UUID, uuid5

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.api.codec import encode
from upwell.api.core import PROJECT_ACCOUNTS, Namespace, ServiceAccount
from upwell.api.meta import ObjectMeta, Resource
from upwell.server.http.errors import success
from upwell.server.http.target import RequestTarget
from upwell.server.objects.objects import Handler
from upwell.server.objects.write_options import WriteOptions
from upwell.server.objects.writes import Change, Document, Writer, WriteResult
from upwell.store import semantics
from upwell.store.interface import (
    EVERYTHING,
    AlreadyExistsError,
    ConflictError,
    Listing,
    NotFoundError,
    Reader,
    Selector,
    WatchEvent,
    WatchProgress,
)
from upwell.store.interface import Change as Happened

type _Event = WatchEvent[ServiceAccount]

_TURN = 1000
"""Namespaces that are looked at before others have their turn."""
_ACCOUNTS = UUID("5c1f6f1e-0d0e-4f0b-9a55-6b1c0a3d7a42")
"""Space of the names of which the uids of views are made."""


def project_accounts(namespace: Namespace) -> tuple[ServiceAccount, ...]:
    """Return the accounts that a namespace has before anybody writes them.

    They have no grants, and no author. The uid of each is the same each time, and no other's.
    """
    return tuple(_view(namespace, name) for name in PROJECT_ACCOUNTS)


def _view(namespace: Namespace, name: str) -> ServiceAccount:
    return ServiceAccount(
        metadata=ObjectMeta(
            name=name,
            namespace=namespace.name,
            uid=str(uuid5(_ACCOUNTS, f"{namespace.uid}/{name}")),
            creation_timestamp=namespace.metadata.creation_timestamp,
            resource_version=namespace.resource_version,
        )
    )


@dataclass(frozen=True, slots=True)
class _Accounts(Sequence[ServiceAccount]):
    """Accounts in order: each by its name, and what is stored of it or the Namespace that has it.

    A cluster of many namespaces is listed in pages, of which each costs what it shows.
    """

    _places: Sequence[tuple[str, Resource]]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> ServiceAccount: ...
    @overload
    def __getitem__(self, index: slice) -> "_Accounts": ...
    def __getitem__(self, index: int | slice) -> "ServiceAccount | _Accounts":
        if isinstance(index, slice):
            return _Accounts(self._places[index])
        name, found = self._places[index]
        return _view(found, name) if isinstance(found, Namespace) else cast("ServiceAccount", found)


class ProjectAccounts:
    """Implements Reader for ServiceAccounts: those that are stored, and the views of the others."""

    def __init__(self, objects: Reader) -> None:
        self._objects = objects

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one; raises NotFoundError."""
        try:
            return await self._objects.get(kind, namespace, name)
        except NotFoundError:
            view = await self.view(namespace, name)
            if view is None:
                raise
            return cast("R", view)

    async def unstored(self, namespace: str, name: str) -> ServiceAccount | None:
        """Return the view of an account while nobody has written it; None: there is none."""
        view = await self.view(namespace, name)
        if view is None:
            return None
        found = await self.get(ServiceAccount, namespace, name)
        return view if found.uid == view.uid else None

    async def view(self, namespace: str, name: str) -> ServiceAccount | None:
        """Return an account as a namespace has it before it is written; None: it has none."""
        if name not in PROJECT_ACCOUNTS:
            return None
        try:
            found = await self._objects.get(Namespace, "", namespace)
        except NotFoundError:
            return None
        return _view(found, name)

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return those that match; views are made as they are looked at, page by page."""
        listing = await self._objects.list(kind, selector)
        if selector.labels:  # which no view has
            return listing
        namespaces = await self._objects.list(Namespace, Selector(name=selector.namespace))
        names = [name for name in PROJECT_ACCOUNTS if selector.name in {"", name}]
        found: dict[tuple[str, str], Resource] = {}
        for some in batched(namespaces.items, _TURN):
            found |= {(one.name, name): one for one in some for name in names}
            await asyncio.sleep(0)
        found |= {(one.namespace, one.name): one for one in listing.items}
        items = _Accounts([(name, found[space, name]) for space, name in sorted(found)])
        return replace(listing, items=cast("Sequence[R]", items))

    async def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after `since` in order, for ever; raises ExpiredError.

        From one watch of all kinds, so that what befalls a namespace and its accounts is in order.
        """
        if selector.labels:  # which no view has
            watched = self._objects.watch(kind, selector, since=since, progress=progress)
            async for event in watched:
                yield event
            return
        if not since:
            listing = await self.list(kind, selector)
            for one in listing.items:
                yield WatchEvent(Happened.ADDED, one)
            since = listing.resource_version
        stored = {
            (one.namespace, one.name)
            for one in (await self._objects.list(ServiceAccount, selector)).items
        }
        async with aclosing(
            self._objects.watch(Resource, since=since, progress=progress)
        ) as events:
            async for happened in events:
                told = [
                    event
                    for event in await self._events_of(happened, stored)
                    if semantics.is_named(selector, event.resource)
                ]
                for one_told in _numbered(told, happened.resource.resource_version):
                    yield cast("WatchEvent[R]", one_told)

    async def _events_of(
        self, event: WatchEvent[Resource], stored: set[tuple[str, str]]
    ) -> Sequence[_Event]:
        """Return what a change is for clients; `stored` are the accounts that are, and is kept."""
        resource = event.resource
        if isinstance(resource, Namespace) and event.change is not Happened.MODIFIED:
            views = project_accounts(resource)
            # Those that were stored have ended before it, and were told of then.
            left = [one for one in views if (one.namespace, one.name) not in stored]
            stored.difference_update((one.namespace, one.name) for one in views)
            return [WatchEvent(event.change, one) for one in left]
        if not isinstance(resource, ServiceAccount):
            return []
        told = WatchEvent(event.change, resource, event.previous_labels)
        if event.change is Happened.MODIFIED:
            return [told]
        place = (resource.namespace, resource.name)
        if event.change is Happened.ADDED:
            stored.add(place)
            was_seen = resource.name in PROJECT_ACCOUNTS
            return [replace(told, change=Happened.MODIFIED) if was_seen else told]
        view = await self.view(*place)
        if view is None and resource.name in PROJECT_ACCOUNTS:
            return [told]  # it went with its Namespace, whose end is told next
        stored.discard(place)
        return [told, WatchEvent(Happened.ADDED, view)] if view is not None else [told]


class ProjectAccountWrites:
    """Writes of accounts that are seen and not stored yet; all others go their usual way."""

    def __init__(self, accounts: ProjectAccounts, writer: Writer) -> None:
        self._accounts = accounts
        self._writer = writer

    async def create(
        self, target: RequestTarget, change: Change, options: WriteOptions
    ) -> WriteResult | None:
        """Create an account by the first change of it; None: it is stored, or there is none.

        A view never changes, so that whoever has read it at all has read its newest version.
        """
        view = await self._accounts.unstored(target.namespace, target.name)
        if view is None:
            return None

        def changed() -> Document | None:
            seen = encode(view)
            wanted = change(encode(view))
            return None if wanted == seen else wanted

        document = await options.work.computed(changed, options.size)
        if document is None:
            return WriteResult(view)
        metadata = document.get("metadata")
        if isinstance(metadata, dict) and metadata.get("uid") not in {None, "", view.uid}:
            raise ConflictError(view.key)
        try:
            written = await self._writer.create(target, document, options)
        except AlreadyExistsError:
            return None  # another request was faster: the usual way says what follows
        return replace(written, created=False)

    async def kept(self, target: RequestTarget, options: WriteOptions) -> ServiceAccount:
        """Return the account of a path for a token, which outlives no view; raises NotFoundError.

        One that is seen alone is created, but for a dry run.
        """
        place = (target.namespace, target.name)
        view = await self._accounts.unstored(*place)
        if view is not None and not options.dry_run:
            try:
                at = RequestTarget(ServiceAccount, *place)
                await self._writer.create(at, encode(view), options)
            except AlreadyExistsError:
                pass  # another request was faster
        return await self._accounts.get(ServiceAccount, *place)

    def delete(self, handler: Handler) -> Handler:
        """Return `handler`, which deletes what is stored, for views too: of them, nothing is."""

        async def answered(request: Request, target: RequestTarget) -> Response:
            try:
                return await handler(request, target)
            except NotFoundError:
                view = await self._accounts.unstored(target.namespace, target.name)
                if view is None:
                    raise
                # Without the uid: clients wait until there is no object of that.
                return JSONResponse(success(view.key, ""))

        return answered


def _numbered(told: Sequence[_Event], version: str) -> Iterator[_Event]:
    """Yield the events of one change: whoever has not had the last is told all of them again."""
    for at, event in enumerate(told, start=1):
        number = version if at == len(told) else str(int(version) - 1)
        yield replace(event, resource=event.resource.with_metadata(resource_version=number))
