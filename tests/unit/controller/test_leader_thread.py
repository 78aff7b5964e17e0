"""An election on its own thread: the event loop that is led may be busy, or hang."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.kubernetes.simulated_time import SimulatedTime, SleepingProcess

from upwell.api.coordination.leases import Lease
from upwell.api.meta import Resource
from upwell.controller.leader import Election, LeaderElection, LeaderTerm, NotLeaderError
from upwell.controller.leader_thread import HELD_SECONDS, LeaderThread
from upwell.store.fence import fenced_context, require_fence
from upwell.store.interface import UnavailableError
from upwell.store.memory import MemoryStore

REAL_SECONDS = 30
"""Deadline of what another thread does at once."""


class LeaseStore(MemoryStore):
    """A store of Leases that may be away."""

    away = False

    async def update[R: Resource](self, resource: R) -> R:
        if self.away:
            raise UnavailableError("no route to the API server")
        return await super().update(resource)


class LedReplica:
    """A replica that leads in the test's event loop, by a clock that the test moves."""

    def __init__(self) -> None:
        self.time = SimulatedTime()
        self.process = SleepingProcess(self.time)
        self.leases = LeaseStore(self.wall)
        self.terms: list[LeaderTerm] = []
        self._leading = False
        self.closed = 0
        self._there: asyncio.AbstractEventLoop | None = None
        self._begun = threading.Event()
        election = LeaderElection(
            self.leases,
            Election("upwell", "upwell", "one"),
            wall=self.wall,
            clock=self.time,
            sleep=self._sleep,
            chance=lambda: 0.5,
        )
        self.leader = LeaderThread(election, self.close, clock=self.time, sleep=self._sleep)
        self.running = asyncio.create_task(self.leader.run(self.lead))

    async def lead(self, term: LeaderTerm) -> None:
        self.terms.append(term)
        self._leading = True
        try:
            await asyncio.Event().wait()
        finally:
            self._leading = False

    def leads(self) -> bool:
        """Return True while what is led runs."""
        return self._leading

    async def until_led(self, terms: int = 1) -> LeaderTerm:
        async with asyncio.timeout(REAL_SECONDS):
            while len(self.terms) < terms:
                await self.advance(0.5)
        return self.terms[-1]

    async def advance(self, seconds: float) -> None:
        """Let time pass, in which the led event loop takes its turns."""
        await asyncio.to_thread(self._begun.wait, REAL_SECONDS)
        assert self._there is not None
        for _ in range(max(1, round(seconds * 2))):
            moved = asyncio.run_coroutine_threadsafe(self.time.advance(0.5), self._there)
            await asyncio.wrap_future(moved)

    def hold(self, seconds: float) -> None:
        """Let time pass in which the led event loop takes no turn."""
        assert self._there is not None
        moved = asyncio.run_coroutine_threadsafe(self.time.advance(seconds), self._there)
        moved.result(REAL_SECONDS)

    async def holder(self) -> str:
        return (await self.leases.get(Lease, "upwell", "upwell")).spec.holder_identity or ""

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.wait({self.running})

    def wall(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time.now)

    async def _sleep(self, seconds: float) -> None:
        self._there = asyncio.get_running_loop()
        self._begun.set()
        await self.process.sleep(seconds)

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
async def replica() -> AsyncIterator[LedReplica]:
    made = LedReplica()
    yield made
    await made.stop()
    assert "leader-election" not in {thread.name for thread in threading.enumerate()}


async def test_an_event_loop_that_is_held_keeps_the_lease(replica: LedReplica) -> None:
    term = await replica.until_led()
    before = (await replica.leases.get(Lease, "upwell", "upwell")).spec.renew_time

    replica.hold(20)

    term.require()
    lease = await replica.leases.get(Lease, "upwell", "upwell")
    assert before is not None
    assert lease.spec.renew_time is not None
    assert lease.spec.renew_time - before >= timedelta(seconds=17)
    await replica.advance(5)
    assert replica.leads()
    assert replica.terms == [term]


async def test_a_leader_that_is_deposed_while_held_writes_nothing(
    replica: LedReplica,
) -> None:
    term = await replica.until_led()
    replica.leases.away = True

    replica.hold(20)

    assert replica.leads(), "it could not be told yet"
    context = fenced_context(term)
    with pytest.raises(NotLeaderError):
        context.run(require_fence)
    await replica.advance(1)
    assert not replica.leads()
    replica.leases.away = False
    assert await replica.until_led(2) is not term


async def test_an_event_loop_that_hangs_leads_no_more(replica: LedReplica) -> None:
    term = await replica.until_led()

    replica.hold(HELD_SECONDS + 30)

    with pytest.raises(NotLeaderError):
        term.require()
    lease = await replica.leases.get(Lease, "upwell", "upwell")
    assert lease.spec.renew_time is not None
    assert lease.spec.renew_time < replica.wall() - timedelta(seconds=10), "another may take it"
    await replica.until_led(2)


async def test_an_orderly_stop_ends_what_is_led_and_gives_back(
    replica: LedReplica,
) -> None:
    await replica.until_led()

    await replica.stop()

    assert not replica.leads()
    assert await replica.holder() == ""
    assert replica.closed == 1


async def test_a_fault_of_what_is_led_is_raised_and_gives_back(
    replica: LedReplica,
) -> None:
    await replica.stop()

    async def fail(_: LeaderTerm) -> None:
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError, match="a fault of ours"):
        await replica.leader.run(fail)
    assert await replica.holder() == ""


async def test_what_is_led_has_the_context_of_who_asked_for_it(replica: LedReplica) -> None:
    term = await replica.until_led()
    fenced = fenced_context(term)
    seen: list[threading.Thread] = []

    async def lead(_: LeaderTerm) -> None:
        require_fence()
        seen.append(threading.current_thread())
        raise ValueError("seen")

    await replica.stop()  # ends the term, so that its fence refuses
    second = LeaderThread(replica.leader.election, replica.close)
    with pytest.raises(NotLeaderError):
        await asyncio.get_running_loop().create_task(second.run(lead), context=fenced)
    assert not seen
