"""Leader election: one writes at a time, whoever dies, stops, or is cut off."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.kubernetes.simulated_time import SimulatedTime, SleepingProcess

from upwell.api.coordination.leases import Lease, LeaseSpec
from upwell.api.coordination.replicas import ReplicaPlace
from upwell.api.core import Namespace
from upwell.api.meta import ObjectMeta, Resource
from upwell.controller.leader import (
    ELECTION_LABELS,
    INSTALLATION_LABELS,
    NAMESPACES_ANNOTATION,
    Election,
    LeaderElection,
    LeaderTerm,
    NotLeaderError,
)
from upwell.store.interface import EVERYTHING, Listing, Selector, StoreError, UnavailableError
from upwell.store.memory import MemoryStore

LONGEST_FAILOVER = 15.0


class ForbiddenListError(StoreError):
    reason = "Forbidden"


class CutStore(MemoryStore):
    """A store that one process cannot reach while it is cut off."""

    def __init__(self, shared: MemoryStore, process: "Candidate") -> None:
        self._shared = shared
        self._process = process

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        self._require()
        return await self._shared.get(kind, namespace, name)

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        self._require()
        if self._process.sees_its_namespace_alone and not selector.namespace:
            raise ForbiddenListError("leases is forbidden")
        if self._process.list_seconds:
            await self._process.process.sleep(self._process.list_seconds)
        return await self._shared.list(kind, selector)

    async def create[R: Resource](self, resource: R) -> R:
        self._require()
        return await self._shared.create(resource)

    async def update[R: Resource](self, resource: R) -> R:
        self._require()
        written = await self._shared.update(resource)
        if self._process.loses_answers:
            self._process.loses_answers = False
            await asyncio.Event().wait()
        return written

    def _require(self) -> None:
        if self._process.cut_off:
            raise UnavailableError("no route to the API server")


@dataclass(eq=False)
class Candidate:
    """A replica, with its clock and its way to the store."""

    process: SleepingProcess
    cut_off: bool = False
    sees_its_namespace_alone: bool = False
    loses_answers: bool = False
    """The next update arrives, and its answer does not."""
    list_seconds: float = 0.0
    """Time that the API server takes for a list."""
    terms: list[LeaderTerm] = field(default_factory=list)
    leading: bool = False
    """True while what is led runs, which may be longer than it may write."""
    election: LeaderElection = field(init=False)
    running: asyncio.Task[None] = field(init=False)

    @property
    def may_write(self) -> bool:
        """True if a write of its last term would be let through."""
        return bool(self.terms) and self.terms[-1].seconds_left > 0

    async def lead(self, term: LeaderTerm) -> None:
        self.terms.append(term)
        self.leading = True
        try:
            await asyncio.Event().wait()
        finally:
            self.leading = False

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.wait({self.running})


@dataclass
class Replicas:
    """Candidates on one store and one time."""

    time: SimulatedTime = field(default_factory=SimulatedTime)
    store: MemoryStore = field(default_factory=lambda: MemoryStore(lambda: datetime.now(UTC)))
    all: list[Candidate] = field(default_factory=list)

    def start(
        self,
        lease: str = "upwell",
        namespaces: tuple[str, ...] = (),
        *,
        place: str = "upwell-system",
    ) -> Candidate:
        made = Candidate(SleepingProcess(self.time))
        number = len(self.all)
        chance = random.Random(number)  # noqa: S311 - no secrets
        # Clocks of machines differ by more than a lease lasts.
        start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=40 * number)
        made.election = LeaderElection(
            CutStore(self.store, made),
            Election(place, lease, f"replica-{number}", namespaces),
            wall=lambda: start + timedelta(seconds=self.time.now),
            clock=self.time,
            sleep=made.process.sleep,
            chance=chance.random,
        )
        made.running = asyncio.create_task(made.election.run(made.lead))
        self.all.append(made)
        return made

    async def until_led(self, leader: Candidate | None = None) -> None:
        """Let time pass until this one leads, or anybody; two never do."""
        end = self.time.now + LONGEST_FAILOVER
        while self.time.now < end:
            await self.time.advance(0.5)
            writers = [one for one in self.all if one.may_write]
            assert len(writers) <= 1
            if writers and (leader is None or leader in writers):
                return
        raise AssertionError(f"nobody leads after {LONGEST_FAILOVER} s")


@pytest.fixture
async def replicas() -> AsyncIterator[Replicas]:
    async with _replicas() as made:
        yield made


@asynccontextmanager
async def _replicas() -> AsyncIterator[Replicas]:
    made = Replicas()
    try:
        yield made
    finally:
        for one in made.all:
            one.running.cancel()
        await asyncio.wait([one.running for one in made.all])
        await made.store.close()


async def test_one_leads_and_the_others_name_it(replicas: Replicas) -> None:
    first = replicas.start()
    await replicas.time.advance(1)
    second = replicas.start()
    await replicas.time.advance(60)

    assert (first.leading, second.leading) == (True, False)
    assert first.election.role == "leader, as replica-0"
    assert second.election.role == "follows replica-0"
    lease = await replicas.store.get(Lease, "upwell-system", "upwell")
    assert lease.spec.holder_identity == "replica-0"
    assert len(first.terms) == 1


async def test_a_follower_knows_where_the_leader_answers(replicas: Replicas) -> None:
    first = replicas.start()
    first.election.place = ReplicaPlace("http://10.0.0.1:7080")
    await replicas.until_led(first)
    second = replicas.start()
    await replicas.time.advance(5)
    assert second.election.leader_place == first.election.place
    assert first.election.leader_place is None

    first.election.place = ReplicaPlace("https://10.0.0.1:7080", "a" * 64)  # renewed meanwhile
    await replicas.time.advance(6)
    assert second.election.leader_place == first.election.place

    await first.stop()
    await replicas.until_led(second)  # which does not say
    third = replicas.start()
    await replicas.time.advance(5)
    places = [one.election.leader_place for one in (second, third)]
    assert places == [None, None]


async def test_a_term_lasts_from_the_write_that_wins_it(replicas: Replicas) -> None:
    slow = replicas.start()
    slow.list_seconds = 2.5  # before that write, and after it

    await replicas.until_led()

    assert slow.terms[0].seconds_left >= 4


async def test_an_orderly_stop_hands_over_at_once(replicas: Replicas) -> None:
    first = replicas.start()
    await replicas.time.advance(1)
    second = replicas.start()
    await replicas.time.advance(5)

    await first.stop()

    assert not first.may_write
    await replicas.time.advance(3)
    assert second.may_write


async def test_a_stop_in_the_middle_of_a_renewal_gives_the_lease_back(replicas: Replicas) -> None:
    one = replicas.start()
    await replicas.until_led(one)
    one.loses_answers = True
    await replicas.time.advance(2.5)

    await one.stop()

    lease = await replicas.store.get(Lease, "upwell-system", "upwell")
    assert lease.spec.holder_identity == ""


async def test_a_killed_leader_is_followed_within_seconds(replicas: Replicas) -> None:
    first = replicas.start()
    await replicas.time.advance(1)
    second = replicas.start()
    await replicas.time.advance(5)

    first.process.stopped = True  # for ever: as good as killed

    await replicas.until_led(second)


async def test_a_leader_that_wakes_up_late_writes_nothing(replicas: Replicas) -> None:
    first = replicas.start()
    await replicas.time.advance(1)
    second = replicas.start()
    await replicas.time.advance(5)
    first.process.stopped = True
    await replicas.until_led(second)

    first.process.stopped = False

    with pytest.raises(NotLeaderError):
        first.terms[0].require()
    await replicas.time.advance(5)
    assert (first.leading, second.leading) == (False, True)
    assert len(first.terms) == 1


async def test_a_leader_that_slept_alone_begins_a_new_term(replicas: Replicas) -> None:
    alone = replicas.start()
    await replicas.time.advance(5)
    alone.process.stopped = True
    await replicas.time.advance(8)
    assert not alone.may_write

    alone.process.stopped = False
    await replicas.until_led()

    assert len(alone.terms) == 2
    assert alone.terms[0].seconds_left == 0


async def test_a_leader_that_is_cut_off_stops_before_another_leads(replicas: Replicas) -> None:
    first = replicas.start()
    await replicas.time.advance(1)
    second = replicas.start()
    await replicas.time.advance(5)

    first.cut_off = True
    while first.may_write:
        assert not second.may_write
        await replicas.time.advance(0.25)

    assert not second.may_write
    await replicas.time.advance(0.5)
    assert not first.leading, "what was led ends when it may not write"
    await replicas.until_led(second)
    first.cut_off = False
    await replicas.time.advance(5)
    assert first.election.role == "follows replica-1"


@pytest.mark.parametrize("seed", range(8))
async def test_two_never_write_whatever_happens_to_them(seed: int, replicas: Replicas) -> None:
    fate = random.Random(seed)  # noqa: S311 - no secrets
    for _ in range(3):
        replicas.start()
    for _ in range(400):
        one = fate.choice(replicas.all)
        if fate.random() < 0.05:
            one.process.stopped = not one.process.stopped
        if fate.random() < 0.05:
            one.cut_off = not one.cut_off
        await replicas.time.advance(0.25)
        assert sum(one.may_write for one in replicas.all) <= 1
    for one in replicas.all:
        one.process.stopped = one.cut_off = False
    await replicas.until_led()


async def test_another_upwell_on_the_same_namespaces_is_refused_with_a_reason(
    replicas: Replicas,
) -> None:
    replicas.start("upwell", ("shop", "bank"))
    await replicas.time.advance(5)

    second = replicas.start("other", ("bank",))
    elsewhere = replicas.start("third", ("corner",))
    await replicas.time.advance(30)

    assert not second.terms
    assert second.election.obstacle == (
        "another Upwell reconciles namespaces bank, shop: it is led by replica-0 through Lease"
        " upwell-system/upwell. Uninstall one of them, give them different [kubernetes] namespaces,"
        " or the same lease-name and lease-namespace if both are replicas of one"
    )
    assert elsewhere.may_write
    lease = await replicas.store.get(Lease, "upwell-system", "third")
    assert lease.annotations[NAMESPACES_ANNOTATION] == "corner"


async def test_another_upwell_takes_over_when_the_first_is_gone(replicas: Replicas) -> None:
    first = replicas.start("upwell")
    await replicas.time.advance(5)
    second = replicas.start("other")
    await replicas.time.advance(5)

    first.process.stopped = True

    await replicas.until_led(second)
    assert second.election.obstacle == ""


async def test_who_may_list_no_leases_elsewhere_leads_by_those_of_its_namespace(
    replicas: Replicas,
) -> None:
    first = replicas.start("upwell")
    first.sees_its_namespace_alone = True
    await replicas.until_led(first)
    second = replicas.start("other")
    second.sees_its_namespace_alone = True

    await replicas.time.advance(30)

    assert not second.terms
    assert "another Upwell reconciles all namespaces" in second.election.obstacle


async def test_another_upwell_is_seen_in_a_namespace_that_is_marked(replicas: Replicas) -> None:
    marked = ObjectMeta(name="other-upwell", labels=INSTALLATION_LABELS)
    await replicas.store.create(Namespace(metadata=marked))
    replicas.start(place="other-upwell")
    await replicas.time.advance(5)

    second = replicas.start()
    await replicas.time.advance(30)

    assert not second.terms
    assert "through Lease other-upwell/upwell" in second.election.obstacle


async def forge_lease(replicas: Replicas, namespace: str) -> Lease:
    """Write what looks like the Lease of another Upwell that leads for the next century."""
    meta = ObjectMeta(name="upwell", namespace=namespace, labels=ELECTION_LABELS)
    spec = LeaseSpec(holder_identity="another", lease_duration_seconds=2**31 - 1)
    return await replicas.store.create(Lease(metadata=meta, spec=spec))


async def test_a_lease_that_a_tenant_wrote_keeps_nobody_from_leading(replicas: Replicas) -> None:
    lease = await forge_lease(replicas, "shop")
    one = replicas.start()

    for _ in range(10):
        await replicas.time.advance(1)
        spec = lease.spec.model_copy(update={"lease_transitions": int(replicas.time.now)})
        lease = await replicas.store.update(lease.model_copy(update={"spec": spec}))

    assert one.may_write
    assert one.election.obstacle == ""


@pytest.mark.parametrize("name", ["upwell", "other"], ids=["its own", "another's"])
async def test_a_lease_that_nobody_renews_counts_for_a_minute(
    name: str, replicas: Replicas
) -> None:
    await forge_lease(replicas, "upwell-system")
    one = replicas.start(name)

    await replicas.time.advance(50)
    assert not one.terms
    await replicas.time.advance(20)
    assert one.may_write


async def test_of_two_that_begin_at_once_one_leads_at_most(replicas: Replicas) -> None:
    replicas.start("upwell")
    replicas.start("other")

    for _ in range(120):
        await replicas.time.advance(0.25)
        assert sum(one.may_write for one in replicas.all) <= 1
    assert any(one.may_write for one in replicas.all)


async def test_a_lease_that_cannot_be_asked_for_is_told(replicas: Replicas) -> None:
    one = replicas.start()
    one.cut_off = True
    await replicas.time.advance(5)

    assert one.election.obstacle == ("the lease cannot be asked for: no route to the API server")
    one.cut_off = False
    await replicas.until_led()
    assert one.election.obstacle == ""


async def test_what_is_led_and_fails_gives_the_lease_back(replicas: Replicas) -> None:
    one = replicas.start()
    await replicas.time.advance(3)
    await one.stop()

    async def fail(_: LeaderTerm) -> None:
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError, match="a fault of ours"):
        await one.election.run(fail)
    lease = await replicas.store.get(Lease, "upwell-system", "upwell")
    assert lease.spec.holder_identity == ""
