"""A cluster's objects as those of one Upwell: complete, of its namespaces, of kinds it serves."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import cast

from upwell.api.defaults import as_stored, with_kept_form
from upwell.api.meta import Resource
from upwell.api.schemas.custom_names import (
    custom_name,
    own_name,
    with_custom_name,
    with_own_name,
)
from upwell.api.schemas.native import NATIVE_GROUPS
from upwell.store.clusters.namespaces import SeveralNamespaces
from upwell.store.interface import (
    EVERYTHING,
    Change,
    ExpiredError,
    KindWithdrawnError,
    Listing,
    Selector,
    Store,
    WatchEvent,
    WatchProgress,
)
from upwell.store.kubernetes_errors import KindNotServedError

log = logging.getLogger(__name__)

_RECHECK_SECONDS = 60.0
"""Time until a kind that the cluster does not serve is looked for again."""


class ClusterStore:
    """Shows some namespaces of a cluster; there are no objects of kinds that it does not serve.

    An API server that starts knows no path of a custom resource for a while. So it is taken for one
    that does not serve a kind when it says that it is `ready` (raising UnavailableError else), and
    never once it has served that kind: its objects are there, and a KindWithdrawnError says so.

    `namespaces`, empty for all, are what is listed and watched of kinds that live in one, each by
    itself; `needed` are shown too, if the account may. What a cluster keeps of custom resources is
    what somebody wrote: they get their defaults here, and Images their names.
    """

    def __init__(
        self,
        cluster: Store,
        namespaces: frozenset[str] = frozenset(),
        needed: frozenset[str] = frozenset(),
        *,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._cluster = cluster
        self._ready = ready
        self._served: set[type[Resource]] = set()
        self._shown = namespaces | needed if namespaces else frozenset()
        self._several = SeveralNamespaces(cluster, namespaces, needed)

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one object; raises NotFoundError."""
        with self._serving(kind):
            return _complete(await self._cluster.get(kind, namespace, custom_name(kind, name)))

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return the objects that match."""
        try:
            found = await self._list(kind, selector)
        except KindNotServedError:
            log.debug("kind not served by the cluster", extra={"kind": kind.KIND.resource})
            return Listing((), "")
        items = [_complete(one) for one in found.items if self._shows(one.namespace)]
        unreadable = [
            key._replace(name=own_name(kind, key.name))
            for key in found.unreadable
            if self._shows(key.namespace)
        ]
        return Listing(items, found.resource_version, unreadable)

    async def _list[R: Resource](self, kind: type[R], selector: Selector) -> Listing[R]:
        """Return the objects; raises KindNotServedError if it is certain that there are none."""

        async def listed() -> Listing[R]:
            with self._serving(kind):
                if self._is_bounded(kind, selector):
                    return await self._several.list(kind, selector)
                return await self._cluster.list(kind, selector)

        try:
            return await listed()
        except KindNotServedError:
            if self._ready is None:
                raise
            await self._ready()
            return await listed()  # it may have been starting when it was asked first

    async def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after `since` in order, for ever; raises ExpiredError.

        Of a kind that is not served it is raised in a minute: it may have been installed since.
        """
        try:
            if self._is_bounded(kind, selector):
                watch = self._several.watch(kind, selector, since)
            else:
                watch = self._cluster.watch(kind, selector, since=since, progress=progress)
            async with aclosing(watch) as events:
                async for event in events:
                    if not self._shows(event.resource.namespace):
                        continue
                    # Of what is deleted the name may be all that is known.
                    is_gone = event.change is Change.DELETED
                    complete = with_own_name if is_gone else _complete
                    yield replace(event, resource=complete(event.resource))
        except KindNotServedError as error:
            if kind not in self._served:
                await asyncio.sleep(_RECHECK_SECONDS)
            raise ExpiredError(since) from error  # to list it tells what is wrong

    async def create[R: Resource](self, resource: R) -> R:
        """Store a new object; raises AlreadyExistsError."""
        with self._serving(type(resource)):
            return _complete(await self._cluster.create(with_custom_name(resource)))

    async def update[R: Resource](self, resource: R) -> R:
        """Write metadata and spec; raises NotFoundError or ConflictError."""
        with self._serving(type(resource)):
            return _complete(await self._cluster.update(with_custom_name(resource)))

    async def update_status[R: Resource](self, resource: R) -> R:
        """Write the status; raises NotFoundError or ConflictError."""
        with self._serving(type(resource)):
            return _complete(await self._cluster.update_status(with_custom_name(resource)))

    async def delete(
        self, kind: type[Resource], namespace: str, name: str, *, resource_version: str = ""
    ) -> None:
        """Delete an object; with a resourceVersion, only that one. Raises NotFoundError."""
        name = custom_name(kind, name)
        with self._serving(kind):
            await self._cluster.delete(kind, namespace, name, resource_version=resource_version)

    def _is_bounded(self, kind: type[Resource], selector: Selector) -> bool:
        return bool(self._shown) and kind.KIND.namespaced and not selector.namespace

    def _shows(self, namespace: str) -> bool:
        return not self._shown or not namespace or namespace in self._shown

    @contextmanager
    def _serving(self, kind: type[Resource]) -> Iterator[None]:
        """Note that a kind is served; raise KindWithdrawnError if it was, and is not any more."""
        try:
            yield
        except KindNotServedError as error:
            if kind not in self._served:
                raise
            raise KindWithdrawnError(
                f"the API server does not serve {kind.KIND.resource} ({kind.KIND.api_version}) any"
                " more: it starts, or the custom resource definition was deleted. No object of it"
                " is taken to be gone"
            ) from error
        self._served.add(kind)


def _complete[R: Resource](resource: R) -> R:
    """Return an object of a custom resource with its defaults; of others the cluster sees to it."""
    if resource.KIND.group in NATIVE_GROUPS:
        return resource
    return cast("R", as_stored(with_kept_form(with_own_name(resource))))
