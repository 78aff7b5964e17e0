"""Reports about components: one record, and everybody who listens is told."""

import asyncio
from datetime import timedelta

from tests.support.clocks import TickingClock

from upwell.machine.components import Components


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


def test_faults_are_remembered_with_their_times() -> None:
    router = Components(TickingClock()).add("router")
    for number in range(20):
        router.fail("RouterDown", f"fault {number}")
        router.fail("RouterDown", f"fault {number}, looked at again")
        router.recover()
    router.fail("RouterDown", "the last one")

    *ended, last = router.state.faults
    assert len(router.state.faults) == 10
    assert ended[-1].message == "fault 19, looked at again"
    assert all(one.until is not None and one.until > one.since for one in ended)
    assert (last.message, last.until) == ("the last one", None)


def test_a_component_of_which_nobody_has_reported_says_so() -> None:
    router = Components(TickingClock()).add("router")
    before = router.state
    router.recover()
    after = router.state
    assert [before.reported, after.reported] == [False, True]
    assert after.faults == ()


async def test_listeners_hear_of_every_turn_and_of_nothing_else() -> None:
    components = Components(TickingClock())
    router = components.add("router")
    router.recover()
    changes = components.changes()
    assert [one.faulty for one in await anext(changes)] == [False]

    later = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    router.recover()  # it was well
    await asyncio.sleep(0)
    assert not later.done()
    router.fail("RouterDown", "haproxy has ended")
    assert [one.faulty for one in await later] == [True]


def test_it_says_since_when_all_that_is_required_is_well() -> None:
    clock = TickingClock()
    components = Components(clock)
    began = components.well_since()
    router, cache = components.add("router"), components.add("cache", required=False)
    added = router.state.since
    assert began < added == components.well_since()
    cache.fail("CacheDown", "gone")
    assert components.well_since() == added
    router.fail("RouterDown", "haproxy has ended")
    assert components.well_since() > router.state.since
    router.recover()
    assert components.well_since() == router.state.since


def test_it_knows_the_faults_that_a_time_has_met() -> None:
    components = Components(TickingClock())
    router, cache = components.add("router"), components.add("cache", required=False)
    cache.fail("CacheDown", "gone")
    before = router.state.since
    assert components.fault_since(before) == ""
    router.fail("RouterDown", "haproxy has ended")
    assert components.fault_since(before) == "router is faulty (RouterDown: haproxy has ended)"
    router.recover()
    ended = "router was faulty (RouterDown: haproxy has ended)"
    assert components.fault_since(before) == ended
    assert components.fault_since(before, "router") == ended
    assert components.fault_since(before, "podman") == ""
    assert components.fault_since(router.state.since) == components.fault_since(before)
    assert components.fault_since(router.state.since + timedelta(microseconds=1)) == ""
