"""Outbox of whoever leads, kept in Secrets that all replicas share.

Each replica has an outbox in its own data folder. The leader begins its term with what the one
before it had, and writes what has changed since, at most a second later where that is little. So
what a leader takes with it when it is killed is that second: an event of it is derived anew from
its object, or delivered again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from upwell.api.coordination.replicas import shared_metadata
from upwell.api.core import Secret
from upwell.delivery.interface import DEAD, DeadLetter, Outbox, OutboxContents, OutboxError
from upwell.policy.notifications.shared_deliveries import (
    DamagedPartError,
    PackedParts,
    packed,
    part_names,
    periods_at,
    secret_name,
    unpacked,
)
from upwell.store.interface import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    Store,
    StoreError,
)

log = logging.getLogger(__name__)

_KEY = "part"
_PAUSE = 1.0
"""Seconds between two looks for changes."""
_BYTES_PER_SECOND = 100_000
"""Written at most, in the long run."""
_FAULT_PAUSE = 5.0
_LAST_SECONDS = 2.0
"""That a leader which ends has for its last changes."""


type TakenOver = Callable[[], Awaitable[None]]
"""Waits until the outbox has what the last leader's had."""


async def at_once() -> None:
    """Wait for nothing: the outbox is this process's alone."""


class ReportedFault(Protocol):
    """Component that shows whether the outbox is shared."""

    def fail(self, reason: str, message: str) -> None:
        """Report a fault."""
        ...

    def recover(self) -> None:
        """Report that nothing is wrong."""
        ...


@dataclass
class SharedOutbox:
    """The outbox of this replica, and the Secrets that all share which elect a leader by a Lease.

    `store` has those of the Lease's namespace, whichever namespaces are kept current.
    """

    store: Store
    outbox: Outbox
    namespace: str
    lease: str
    clock: Callable[[], datetime]
    component: ReportedFault
    _known: dict[str, Secret] = field(default_factory=dict)
    _taken_over: asyncio.Event = field(default_factory=asyncio.Event)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _written: int = -1
    _left_out: int = 0

    async def taken_over(self) -> None:
        """Wait until the outbox has what the last leader's had."""
        await self._taken_over.wait()

    @property
    def is_ours(self) -> bool:
        """True while this replica leads, so that its outbox is the one that counts."""
        return self._taken_over.is_set()

    async def dead_letters(self, subscription: str) -> Sequence[DeadLetter]:
        """Return those that the leader's outbox had when it wrote last, in the order of events.

        Raises a StoreError or an OutboxError.
        """
        found = await _contents(await self._secrets(), self.clock())
        return [
            DeadLetter(
                one.envelope, datetime.fromtimestamp(one.settled or 0, UTC), one.attempts, one.error
            )
            for one in found.events
            if one.subscription == subscription and one.state == DEAD
        ]

    async def keep(self) -> None:
        """Take over, then write what changes, until cancelled: the leader."""
        try:
            await self._take_over()
            while True:
                pause = await self._write_changes()
                await asyncio.sleep(pause)
        finally:
            if self._taken_over.is_set():
                self._taken_over.clear()
                with suppress(StoreError, OutboxError, TimeoutError):
                    async with asyncio.timeout(_LAST_SECONDS):
                        await self.write()

    async def _take_over(self) -> None:
        while True:
            try:
                self._known = await self._secrets()
                if self._known:
                    await self.outbox.replace(await _contents(self._known, self.clock()))
            except (StoreError, OutboxError) as error:
                self._report(f"events wait, as the last leader's cannot be read: {error}")
                await asyncio.sleep(_FAULT_PAUSE)
            else:
                self._written = -1
                self._taken_over.set()
                return

    async def _write_changes(self) -> float:
        """Write what has changed; return the seconds until the next look."""
        try:
            size = await self.write()
        except (StoreError, OutboxError) as error:
            self._report(f"another leader would deliver events again, or not at all: {error}")
            return _FAULT_PAUSE
        if self._left_out:
            self._report(f"no room for {self._left_out} events: no other leader would send them")
        else:
            self.component.recover()
        return max(_PAUSE, size / _BYTES_PER_SECOND)

    async def write(self) -> int:
        """Write what has changed; return its size in bytes. Raises a StoreError or OutboxError."""
        async with self._writing:
            return await self._write_newest()

    async def _write_newest(self) -> int:
        changes = self.outbox.changes
        if changes == self._written:
            return 0
        periods = periods_at(self.clock().timestamp())
        # Ten thousand events that wait take a second.
        parts = await asyncio.to_thread(lambda: packed(self.outbox.contents(periods)))
        size = await self._write_parts(parts)
        self._written = changes
        return size

    async def _write_parts(self, parts: PackedParts) -> int:
        """Write parts that have changed.

        What is settled goes last, and what is unsettled no more after it: whatever comes between,
        an event is told of twice at most.
        """
        self._left_out, size = parts.left_out, 0
        for name, value in (*parts.events.items(), *parts.settled.items()):
            if await self._write_part(name, value):
                size += len(value)
        return size

    async def _write_part(self, name: str, value: bytes) -> bool:
        known = self._known.get(name)
        data = Secret.encode_values({_KEY: value})
        if (known is None and not value) or (known is not None and known.data == data):
            return False
        try:
            await self._put(name, data)
        except (ConflictError, NotFoundError, AlreadyExistsError):
            # Of the last leader, what was on its way; or somebody has deleted it.
            self._known.pop(name, None)
            self._known |= await self._secrets(name)
            await self._put(name, data)
        return True

    async def _put(self, name: str, data: dict[str, str]) -> None:
        known = self._known.get(name)
        if known is not None:
            changed = known.model_copy(update={"data": data})
            self._known[name] = await self.store.update(changed)
            return
        full = secret_name(self.lease, name)
        meta = shared_metadata(self.namespace, full)
        self._known[name] = await self.store.create(Secret(metadata=meta, data=data))

    async def _secrets(self, *names: str) -> dict[str, Secret]:
        found = {}
        for name in names or part_names():
            with suppress(NotFoundError):
                full = secret_name(self.lease, name)
                found[name] = await self.store.get(Secret, self.namespace, full)
        return found

    def _report(self, message: str) -> None:
        log.warning("outbox not shared", extra={"why": message})
        self.component.fail("OutboxNotShared", message)


async def _contents(found: Mapping[str, Secret], now: datetime) -> OutboxContents:
    """Return what Secrets hold; raises OutboxError, naming the one that is damaged."""
    try:
        # Beside the event loop, which ten thousand events would hold for half a second.
        return await asyncio.to_thread(_unpacked, found, now.timestamp())
    except DamagedPartError as error:
        secret = found[error.part]
        raise OutboxError(
            f"Secret {secret.namespace}/{secret.name} is damaged: {error}; delete it, and the"
            " events that it has are lost, or sent again"
        ) from error


def _unpacked(found: Mapping[str, Secret], now: float) -> OutboxContents:
    parts = {}
    for name, secret in found.items():
        try:
            parts[name] = secret.decoded()[_KEY]
        except (KeyError, ValueError) as error:
            raise DamagedPartError(name, f"its entry {_KEY} is none: {error!r}") from error
    return unpacked(parts, now)
