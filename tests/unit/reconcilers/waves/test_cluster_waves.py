"""Waves of what a cluster rolls out: who goes first, what stops them, how many go at once."""

from datetime import timedelta

import pytest
from tests.support.waves.cluster_fleet import ClusterFleet
from tests.support.waves.fleet import debian

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.codec import decode_as
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Quarantine
from upwell.api.waves.wave import CanaryState, WavePhase
from upwell.policy.rollouts.triggers import Reason
from upwell.policy.waves.budget import NO_BUDGET, RolloutBudget
from upwell.policy.waves.canary import CanaryRules
from upwell.policy.waves.progress import NO_RULES, WaveRules

SOAK = timedelta(minutes=5)
PLACES = [(f"team-{number % 4}", f"web-{number}") for number in range(8)]
CANARY = WaveRules(CanaryRules(0.1, SOAK))


async def fleet_of(rules: WaveRules = NO_RULES, budget: RolloutBudget = NO_BUDGET) -> ClusterFleet:
    """Return eight Deployments in four namespaces that run the old image, all well."""
    fleet = ClusterFleet(rules, budget)
    await fleet.imports("old")
    for place in PLACES:
        await fleet.deployment(*place, serves=debian("old"))
    await fleet.follow()
    fleet.clock.advance(3600)
    await fleet.imports("new")
    await fleet.look()
    return fleet


async def places(fleet: ClusterFleet) -> list[tuple[str, str]]:
    """Let triggers act; return who has the newest image."""
    return [(one[0], one[1]) for one in (name.split("/") for name in await fleet.follow())]


def waits(fleet: ClusterFleet, place: tuple[str, str]) -> tuple[Reason, str]:
    verdict = fleet.kept_back[ObjectKey("Deployment", *place)]
    return verdict.reason, verdict.message


async def test_one_goes_first_and_the_others_when_it_has_been_healthy() -> None:
    fleet = await fleet_of(CANARY)
    [first] = await places(fleet)
    [other] = [one for one in PLACES if one != first][:1]
    reason, message = waits(fleet, other)
    assert reason is Reason.WAVE_CANARY
    assert "upwell rollout latest" not in message
    assert (await fleet.wave()).status.phase is WavePhase.RUNNING

    await fleet.rolls_out(*first)
    assert await fleet.canary() is CanaryState.SOAKING
    fleet.clock.advance(SOAK.total_seconds())
    assert await fleet.canary() is CanaryState.PASSED
    assert await places(fleet) == sorted(PLACES)
    assert not fleet.kept_back
    for place in PLACES:
        await fleet.rolls_out(*place)
    assert (await fleet.wave()).status.phase is WavePhase.COMPLETE


async def test_canaries_that_fail_are_put_back_and_hold_the_others() -> None:
    fleet = await fleet_of(CANARY)
    [first] = await places(fleet)
    await fleet.rolls_out(*first, phase="Failed")
    await fleet.look()
    [second] = await places(fleet)
    assert second[0] != first[0]
    await fleet.rolls_out(*second, phase="Failed")
    wave = await fleet.wave()
    assert wave.status.phase is WavePhase.WAITING
    assert wave.status.canary is not None
    assert wave.status.canary.state is CanaryState.FAILING
    assert "does not start" in wave.status.canary.message
    assert await places(fleet) == []


async def test_a_canary_that_crashes_while_it_soaks_does_not_pass() -> None:
    fleet = await fleet_of(CANARY)
    [first] = await places(fleet)
    await fleet.rolls_out(*first)
    assert await fleet.canary() is CanaryState.SOAKING
    await fleet.crashes(*first)
    fleet.clock.advance(SOAK.total_seconds())
    wave = await fleet.wave()
    assert wave.status.canary is not None
    assert wave.status.canary.state is not CanaryState.PASSED
    assert {one.namespace for one in wave.status.canary.workloads} > {first[0]}


async def test_a_share_of_rollouts_that_fail_stops_it_and_its_image_is_quarantined() -> None:
    fleet = await fleet_of(WaveRules(stop_share=0.2))
    assert await places(fleet) == sorted(PLACES)
    for place in PLACES[:3]:
        await fleet.rolls_out(*place, phase="Failed")
    for place in PLACES[3:6]:
        await fleet.rolls_out(*place)
    wave = await fleet.wave()
    assert wave.status.phase is WavePhase.STOPPED
    assert "3 of 6" in wave.status.message
    assert len((await fleet.store.list(Quarantine)).items) == 1

    await fleet.deployment("late", "web", serves=debian("old"))
    await fleet.follow()
    assert waits(fleet, ("late", "web"))[0] is Reason.WAVE_STOPPED


@pytest.mark.parametrize("phase", ["Complete", "Failed"])
async def test_rollouts_take_turns_and_the_next_begins_when_one_ends(phase: str) -> None:
    fleet = await fleet_of(budget=RolloutBudget(at_once=2))
    first = await places(fleet)
    assert len(first) == 2
    assert await places(fleet) == first
    [other] = [one for one in PLACES if one not in first][:1]
    reason, message = waits(fleet, other)
    assert reason is Reason.WAITS_FOR_TURN
    assert "of 6: 2 of 2 rollouts are under way; pending: " in message

    await fleet.rolls_out(*first[0], phase=phase)
    fleet.clock.advance(1)
    now = {*await places(fleet), first[0]}
    assert len(now) == 3
    fleet.start()
    assert {*await places(fleet), first[0]} == now, "those under way are known after a restart"


async def test_a_namespace_has_turns_of_its_own() -> None:
    fleet = await fleet_of(budget=RolloutBudget(per_namespace=1))
    first = await places(fleet)
    assert sorted(namespace for namespace, _ in first) == [f"team-{n}" for n in range(4)]


async def test_what_is_not_written_keeps_no_turn() -> None:
    fleet = await fleet_of(budget=RolloutBudget(at_once=1))
    [first] = await places(fleet)
    await fleet.rolls_out(*first, phase="Failed")
    [second] = await places(fleet)
    assert second != first, "what failed before takes no turn"
    await fleet.store.delete(Deployment, *second)
    [third] = await places(fleet)
    assert third not in {first, second}


async def test_one_budget_is_for_all_kinds_whoever_rolls_them_out() -> None:
    fleet = await fleet_of(budget=RolloutBudget(at_once=1))
    [_] = await places(fleet)
    metadata = {"namespace": "late", "name": "web"}
    why = fleet.turns.take(decode_as(DeploymentConfig, {"metadata": metadata}))
    assert "1 of 1 rollouts are under way" in why
    assert "`upwell rollout latest dc/web -n late` goes at once" in why
