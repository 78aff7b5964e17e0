"""Reports that are printed again whenever they say something else (`-w`)."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from upwell.api.meta import Resource
from upwell.cli.core.output import Format
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import listed, reconnected, watching
from upwell.store.interface import ApiClient, ExpiredError, Selector, UnavailableError

_MOMENT = 0.2
"""Seconds in which changes count as one."""


class PrintedReport(ABC):
    """Report of a command, as it is at one time."""

    @property
    def is_last(self) -> bool:
        """True where nothing more comes of what it is about."""
        return False

    @abstractmethod
    def said(self) -> object:
        """Return what it says, to be compared: without ages, which change by themselves."""

    @abstractmethod
    def write(self) -> None:
        """Write it to stdout."""


async def print_on_changes(
    client: ApiClient,
    kinds: Sequence[type[Resource]],
    namespace: str,
    read: Callable[[], Awaitable[PrintedReport]],
    output: str,
) -> None:
    """Print a report, and again whenever it says something else, until it is the last one.

    It is read after changes of objects of these kinds, and through restarts of the server; errors
    of `read` are raised. Between two reports is an empty line, or YAML's `---`.
    """
    shown = await read()
    shown.write()

    async def again() -> bool:
        nonlocal shown
        try:
            now = await read()
        except UnavailableError as error:
            await reconnected(client, error)
            now = await read()
        if now.said() != shown.said():
            echo("---" if output == Format.YAML else "")
            now.write()
            shown = now
        return shown.is_last

    if not shown.is_last:
        await on_changes(client, kinds, namespace, again)


async def on_changes(
    client: ApiClient,
    kinds: Sequence[type[Resource]],
    namespace: str,
    act: Callable[[], Awaitable[bool]],
) -> None:
    """Await `act` after each change of an object of these kinds, until it returns True.

    Changes of one moment are one, and the first one is what may have changed before: so nothing is
    missed between what the caller has read and the first look. Kinds of the cluster are followed
    wherever; of an empty namespace, all are.
    """
    changed = asyncio.Event()

    async def follow(kind: type[Resource]) -> None:
        selector = Selector(namespace if kind.KIND.namespaced else "")
        while True:
            listing = await listed(client, kind, selector)
            changed.set()
            since = listing.resource_version
            with suppress(ExpiredError):
                async with watching(client, kind, selector, since=since) as events:
                    async for _ in events:
                        changed.set()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(follow(kind)) for kind in kinds]
        while True:
            await changed.wait()
            await asyncio.sleep(_MOMENT)
            changed.clear()
            if await act():
                break
        for task in tasks:
            task.cancel()
