"""Test the outbox that replicas share: a leader goes on where the last one ended."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.delivery.envelopes import envelope
from tests.support.notifications.notifier_setup import SOURCE, NotifierSetup, settled, until

from upwell.actions.notifications import SubscriptionActions
from upwell.api.core import Secret
from upwell.api.image import ImageStream
from upwell.api.subscription import Subscription
from upwell.delivery.interface import DeliveryError, Envelope, Fate
from upwell.delivery.sqlite import SqliteOutbox
from upwell.machine.components import Components, WatchedComponent
from upwell.reconcilers.notifications.shared_outbox import SharedOutbox
from upwell.store.memory import MemoryStore

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CI = "uid-ci"
FIRST = "upwell-events-waiting-0"


@dataclass
class SharingReplica:
    """A replica's outbox, and what it shares of it."""

    outbox: SqliteOutbox
    shared: SharedOutbox
    component: WatchedComponent
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def begin(self) -> None:
        self.tasks.append(asyncio.create_task(self.shared.keep()))

    async def lead(self) -> None:
        self.begin()
        async with asyncio.timeout(30):
            await self.shared.taken_over()

    async def end(self) -> None:
        """End its term in good order."""
        self.tasks[-1].cancel()
        await asyncio.wait({self.tasks[-1]})

    def add(self, *numbers: int, subject: str = "a", fate: Fate = Fate.SEND) -> int:
        return self.outbox.add(CI, [(envelope(one, subject), fate) for one in numbers], NOW)

    def waiting(self) -> list[str]:
        return [one.envelope.id for one in self.outbox.next_due(CI, 100)]


type MakeReplica = Callable[[str], SharingReplica]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(lambda: NOW)


@pytest.fixture
async def replica(store: MemoryStore, tmp_path: Path) -> AsyncIterator[MakeReplica]:
    made: list[SharingReplica] = []
    with ExitStack() as stack:

        def opened(name: str) -> SharingReplica:
            outbox = SqliteOutbox(tmp_path / name / "deliveries.db")
            stack.callback(outbox.close)
            component = Components(lambda: NOW).add("outbox")
            shared = SharedOutbox(store, outbox, "upwell", "upwell", lambda: NOW, component)
            made.append(SharingReplica(outbox, shared, component))
            return made[-1]

        yield opened
        for one in made:
            for task in one.tasks:
                task.cancel()
                await asyncio.wait({task})


async def test_a_leader_goes_on_where_one_that_was_killed_wrote_last(replica: MakeReplica) -> None:
    one, two = replica("one"), replica("two")
    await one.lead()
    one.add(1, 2, 3, 4)
    first, _ = one.outbox.next_due(CI, 1)[0], one.add(5, fate=Fate.GATHER)
    one.outbox.delivered(first, NOW)
    one.outbox.dead_letter(one.outbox.next_due(CI, 1)[0], NOW, "answered 404")
    one.outbox.postpone(one.outbox.next_due(CI, 1)[0], NOW, "answered 503", ["mail"])
    await one.shared.write()  # and it ends there

    await two.lead()
    assert two.outbox.stats(CI) == one.outbox.stats(CI)
    assert two.outbox.next_due(CI, 9) == one.outbox.next_due(CI, 9)
    assert two.outbox.dead_letters(CI) == one.outbox.dead_letters(CI)
    assert two.outbox.gathered(CI) == one.outbox.gathered(CI)
    assert two.add(1, 2, 3, 4, 5) == 0  # as they are derived anew
    assert two.outbox.add("uid-other", [(envelope(1), Fate.SEND)], NOW) == 0
    assert two.add(6) == 1


async def test_a_leader_that_ends_in_good_order_leaves_all_that_it_had(
    replica: MakeReplica,
) -> None:
    one, two = replica("one"), replica("two")
    await one.lead()
    one.add(1)
    await one.end()
    await two.lead()
    assert two.waiting() == ["event-1"]


async def test_what_a_leader_had_in_an_earlier_term_is_not_sent(replica: MakeReplica) -> None:
    one, two = replica("one"), replica("two")
    await one.lead()
    one.add(1)
    await one.end()
    await two.lead()
    two.outbox.delivered(two.outbox.next_due(CI, 1)[0], NOW)
    two.add(2, 3)
    await two.end()

    await one.lead()
    assert one.waiting() == ["event-2"]
    assert one.add(1) == 0
    assert one.outbox.stats(CI).delivered == 1


async def test_a_first_leader_keeps_what_its_folder_has(replica: MakeReplica) -> None:
    one, two = replica("one"), replica("two")
    one.add(1)
    await one.lead()
    assert one.waiting() == ["event-1"]
    await one.end()
    await two.lead()
    assert two.waiting() == ["event-1"]


async def test_nothing_is_written_while_nothing_changes(
    replica: MakeReplica, store: MemoryStore
) -> None:
    one, two = replica("one"), replica("two")
    await one.lead()
    await one.end()
    assert not (await store.list(Secret)).items

    await one.lead()
    one.add(1)
    await one.end()
    before = [found.resource_version for found in (await store.list(Secret)).items]
    await two.lead()
    await two.end()
    assert before == [found.resource_version for found in (await store.list(Secret)).items]


async def test_what_the_last_leader_still_sent_is_overwritten(replica: MakeReplica) -> None:
    one, two = replica("one"), replica("two")
    await one.lead()
    one.add(1)
    await one.shared.write()
    await two.lead()
    one.add(2)
    await one.shared.write()  # it was on its way when two began
    two.add(3)
    await two.end()
    await one.end()
    three = replica("three")
    await three.lead()
    assert [one.envelope.id for one in three.shared.outbox.contents(()).events] == [
        "event-1",
        "event-3",
    ]


async def test_a_secret_that_somebody_deleted_is_made_anew(
    replica: MakeReplica, store: MemoryStore
) -> None:
    one, two = replica("one"), replica("two")
    await one.lead()
    one.add(1)
    await one.shared.write()
    await store.delete(Secret, "upwell", FIRST)
    one.add(2)
    await one.end()
    await two.lead()
    assert two.outbox.stats(CI).pending == 2


@pytest.mark.parametrize("data", [{"part": b"?"}, {"other": b""}])
async def test_events_wait_while_a_secret_is_damaged(
    replica: MakeReplica, store: MemoryStore, data: dict[str, bytes]
) -> None:
    one, two = replica("one"), replica("two")
    await one.lead()
    one.add(1)
    await one.end()
    found = await store.get(Secret, "upwell", FIRST)
    damaged = found.model_copy(update={"data": Secret.encode_values(data)})
    await store.update(damaged)

    two.begin()
    await until(lambda: two.component.state.faulty)
    assert f"Secret upwell/{FIRST} is damaged" in two.component.state.message
    assert "delete it" in two.component.state.message
    assert two.waiting() == []


async def test_dead_letters_are_listed_and_replayed_by_any_replica(tmp_path: Path) -> None:
    setup = NotifierSetup(tmp_path)
    await setup.subscribe()
    setup.receivers.answer = lambda _: DeliveryError("answered 404", permanent=True)
    outbox = SqliteOutbox(tmp_path / "follower" / "deliveries.db")
    async with setup.running("leader") as leader:
        leading = setup.actions
        following = SubscriptionActions(
            setup.store,
            outbox,
            leader.targets,
            leader.dispatcher,
            SOURCE,
            lambda: setup.now,
            setup.shared(outbox),
        )
        await setup.push("sha256:a")
        await setup.push("sha256:b", "other")

        async def dead() -> int:
            return len(await following.dead_letters("shop", "ci"))

        await settled(dead, 2)
        letters = await following.dead_letters("shop", "ci")
        assert letters == await leading.dead_letters("shop", "ci")

        setup.receivers.answer = lambda _: None
        wanted = letters[1].envelope.id
        assert await following.replay("shop", "ci", ["unknown", wanted]) == 1
        await until(lambda: [one.id for one in setup.receivers.received] == [wanted])
        assert await following.replay("shop", "ci", None) >= 1
        await until(lambda: len(setup.receivers.received) > 1)
        assert {one.id for one in setup.receivers.received} == {one.envelope.id for one in letters}

        async def asked() -> tuple[str, ...]:
            return (await setup.store.get(Subscription, "shop", "ci")).status.replays

        await settled(asked, ())
    outbox.close()


async def test_the_next_leader_sends_what_the_last_one_could_not(tmp_path: Path) -> None:
    setup = NotifierSetup(tmp_path)
    await setup.subscribe()
    async with setup.running("one"):
        await setup.push("sha256:a")
        await until(lambda: setup.told() == ["sha256:a"])
        setup.receivers.answer = _is_down
        await setup.push("sha256:b")
        await setup.push("sha256:z", "deleted")
        await until(lambda: len(setup.receivers.refused) > 1)
    await setup.store.delete(ImageStream, "shop", "deleted")
    setup.receivers.answer = lambda _: None
    setup.now = setup.now.replace(minute=30)

    async def delivered() -> int:
        return (await setup.store.get(Subscription, "shop", "ci")).status.delivered

    async with setup.running("two"):
        await settled(delivered, 3)
        assert sorted(setup.told()) == ["sha256:a", "sha256:b", "sha256:z"]


def _is_down(_: Envelope) -> DeliveryError:
    return DeliveryError("answered 503")
