"""Reports about components: one record, and everybody who listens is told."""

import asyncio
from datetime import UTC, datetime, timedelta

from upwell.machine.components import Components


class TickingClock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


def test_a_component_is_well_until_a_fault_is_reported() -> None:
    components = Components(TickingClock())
    router = components.add("router")

    assert [(one.name, one.faulty) for one in components.states()] == [("router", False)]
    router.fail("RouterDown", "haproxy has ended")

    (state,) = components.states()
    assert (state.faulty, state.reason, state.message) == (
        True,
        "RouterDown",
        "haproxy has ended",
    )


def test_a_fault_that_is_reported_again_keeps_its_time() -> None:
    router = Components(TickingClock()).add("router")
    router.fail("RouterDown", "haproxy has ended")
    since = router.state.since

    router.fail("RouterDown", "haproxy does not start: no memory")
    assert (router.state.since, router.state.message) == (
        since,
        "haproxy does not start: no memory",
    )
    router.recover()
    assert not router.state.faulty
    assert router.state.since > since


def test_a_component_that_is_added_twice_is_one() -> None:
    components = Components(TickingClock())
    components.add("router").fail("RouterDown", "haproxy has ended")
    assert components.add("router").state.faulty


async def test_listeners_hear_of_every_turn_and_of_nothing_else() -> None:
    components = Components(TickingClock())
    router = components.add("router")
    changes = components.changes()
    assert [one.faulty for one in await anext(changes)] == [False]

    router.recover()  # it was well
    later = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    assert not later.done()
    router.fail("RouterDown", "haproxy has ended")
    assert [one.faulty for one in await later] == [True]
