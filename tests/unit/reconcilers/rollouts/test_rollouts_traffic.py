"""Messages between rollouts and routing."""

import asyncio
from datetime import timedelta

from tests.support.rollouts.memory_machine import MemoryClock

from upwell.api.meta import ObjectKey
from upwell.policy.routing.table import InForce
from upwell.reconcilers.rollouts.traffic import ROUTER_KEY, KeyFeed, Traffic

WEB = ObjectKey("Deployment", "shop", "web")
QUIET = InForce(quiet=frozenset({"old"}))


async def next_key(feed: KeyFeed) -> ObjectKey:
    async with asyncio.timeout(30):
        return await anext(feed.keys())


def test_an_instance_is_quiet_from_the_table_that_says_so() -> None:
    clock = MemoryClock()
    traffic = Traffic(clock)
    traffic.drain(WEB, frozenset({"old", "older"}))
    assert traffic.quiet_since("old") is None

    traffic.publish(QUIET)
    told = clock()
    clock.advance(5)
    traffic.publish(QUIET)

    assert traffic.quiet_since("old") == told
    assert traffic.quiet_since("older") is None


def test_the_time_of_quiet_starts_anew_when_the_instance_served_in_between() -> None:
    clock = MemoryClock()
    traffic = Traffic(clock)
    traffic.drain(WEB, frozenset({"old"}))
    traffic.publish(QUIET)

    traffic.drain(WEB, frozenset())
    assert traffic.quiet_since("old") is None
    traffic.drain(WEB, frozenset({"old"}))
    assert traffic.quiet_since("old") is None

    clock.advance(60)
    traffic.publish(QUIET)
    assert traffic.quiet_since("old") == clock() - timedelta(0)


def test_a_table_from_before_the_wish_changed_makes_nothing_quiet() -> None:
    traffic = Traffic(MemoryClock())
    traffic.drain(WEB, frozenset({"old"}))
    traffic.drain(WEB, frozenset())

    traffic.publish(QUIET)  # computed while the instance was still to drain
    traffic.drain(WEB, frozenset({"old"}))

    assert traffic.quiet_since("old") is None


async def test_each_side_wakes_the_other() -> None:
    traffic = Traffic(MemoryClock())
    traffic.drain(WEB, frozenset({"old"}))
    assert await next_key(traffic.for_routing) == ROUTER_KEY

    traffic.publish(QUIET)
    assert await next_key(traffic.for_rollouts) == WEB

    traffic.drain(WEB, frozenset())
    traffic.publish(InForce(serving={"new": WEB}))
    assert await next_key(traffic.for_rollouts) == WEB


def test_nothing_is_live_before_the_first_table() -> None:
    traffic = Traffic(MemoryClock())
    assert not traffic.is_live(WEB, "new")

    traffic.publish(InForce())  # computed before the workload was there
    assert not traffic.is_live(WEB, "new")

    traffic.publish(InForce(routed={WEB: True}))
    assert not traffic.is_live(WEB, "new")

    traffic.publish(InForce(serving={"new": WEB}, routed={WEB: True}))
    assert traffic.is_live(WEB, "new")

    traffic.publish(InForce(routed={WEB: False}))
    assert traffic.is_live(WEB, "new")  # no Service selects it: being ready is all there is
