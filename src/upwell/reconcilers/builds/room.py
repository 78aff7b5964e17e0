"""Room that builds take on the disk while they run: looked at all the time, and limited.

A build that takes more than it may is ended for good: another try would only take it again.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from decimal import Decimal

from upwell.api.builds.build import Build
from upwell.api.core import BUILD_STORAGE
from upwell.api.values.quantities import InvalidQuantityError, format_bytes, parse_quantity
from upwell.builder.interface import STORAGE_EXCEEDED, Builder, BuildError

log = logging.getLogger(__name__)

_SECONDS = 1.0
"""Between two looks at a build, at least."""
_SHARE = 20
"""Times that a look took, between it and the next: counting many files takes long."""
_OWN = "ephemeral-storage"
"""Name of the limit in `spec.resources.limits` of a Build."""

type FindLimit = Callable[[str], Awaitable[tuple[str, Decimal] | None]]
"""Returns the quota of a namespace for all its builds, and its bytes; None: there is none."""

type LimitRoom = Callable[[Build], AbstractAsyncContextManager[None]]
"""Runs a block, which is a build, within its limits; raises BuildError."""


def unlimited(_: Build) -> AbstractAsyncContextManager[None]:
    """Run a build without a limit: a LimitRoom."""
    return nullcontext()


class BuildRooms:
    """The room of all builds that run."""

    def __init__(self, builder: Builder, find_limit: FindLimit, most: int | None) -> None:
        """`most` is the limit of each build, in bytes."""
        self._builder = builder
        self._find_limit = find_limit
        self._most = most
        self._used: dict[str, dict[str, int]] = defaultdict(dict)

    async def used(self, namespace: str) -> int:
        """Return the bytes that the running builds of a namespace take."""
        return sum(self._used.get(namespace, {}).values())

    @asynccontextmanager
    async def limited(self, build: Build) -> AsyncIterator[None]:
        """Run the block, and end it when the build takes more room than it may.

        Raises BuildError.
        """
        own = _own_limit(build)
        most = min((limit for limit in (own, self._most) if limit is not None), default=None)
        try:
            async with asyncio.timeout(None) as scope:
                watching = asyncio.create_task(self._watch(build, most, scope))
                try:
                    yield
                finally:
                    watching.cancel()
                    await asyncio.wait([watching])
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise BuildError(STORAGE_EXCEEDED, watching.result()) from error
        finally:
            used = self._used[build.namespace]
            used.pop(build.uid, None)
            if not used:
                del self._used[build.namespace]

    async def _watch(self, build: Build, most: int | None, scope: asyncio.Timeout) -> str:
        """End the scope when there is too much, and return why."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                why = await self._fault(build, most)
            except Exception:
                # A limit outlives the fault of one look, be it the store's, the disk's or ours.
                log.exception("room not counted", extra={"key": str(build.key)})
                why = ""
            if why:
                scope.reschedule(began)
                return why
            await asyncio.sleep(max(_SECONDS, _SHARE * (loop.time() - began)))

    async def _fault(self, build: Build, most: int | None) -> str:
        quota = await self._find_limit(build.namespace)
        if most is None and quota is None:
            return ""
        used = self._used[build.namespace]
        taken = used[build.uid] = await self._builder.storage_used(build.uid)
        if most is not None and taken > most:
            return (
                f"The build took {format_bytes(taken)} on the disk while it ran, and may take"
                f" {format_bytes(most)}: write less, or have `storage` below `[builds]` in the"
                f" server's configuration, or {_OWN} in spec.resources.limits, raised."
            )
        # Of the namespace's builds, the one that takes the most makes room for the others.
        largest = max(used, key=lambda uid: (used[uid], uid))
        total = sum(used.values())
        if quota is not None and total > quota[1] and largest == build.uid:
            name, limit = quota
            return (
                f"exceeded quota: {name}, used: {BUILD_STORAGE}={format_bytes(total)}, limited:"
                f" {BUILD_STORAGE}={format_bytes(int(limit))}; of the running builds of namespace"
                f" {build.namespace} this one took the most, {format_bytes(taken)}: write less,"
                " run fewer builds at once, or have the quota raised."
            )
        return ""


def _own_limit(build: Build) -> int | None:
    """Return the bytes that the build itself says it may take; raises BuildError."""
    limits = build.spec.resources.limits if build.spec.resources else {}
    if _OWN not in limits:
        return None
    try:
        return int(parse_quantity(limits[_OWN]))
    except InvalidQuantityError as error:
        raise BuildError("GenericBuildFailed", f"spec.resources.limits: {error}") from error
