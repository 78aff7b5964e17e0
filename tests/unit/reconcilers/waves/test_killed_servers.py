"""Servers that are killed at each write of a Wave: nothing is lost, doubled, or told otherwise."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.support.builds.build_namespace import IMAGE_TRIGGER, NAMESPACE
from tests.support.waves.fleet import IMAGE, debian
from tests.support.waves.killed_server import MortalFleet

from upwell.api.builds.build import BuildPhase
from upwell.api.waves.wave import CanaryState, Wave, WaveCancellation, WaveDecision, WavePhase
from upwell.policy.waves.approval import ApprovalRules
from upwell.policy.waves.budget import NO_BUDGET, RolloutBudget
from upwell.policy.waves.canary import CanaryRules
from upwell.policy.waves.progress import WaveRules

SOAK = timedelta(minutes=5)
RULES = WaveRules(CanaryRules(0.05, SOAK), ApprovalRules(all_images=True), stop_share=0.2)
PLACES = [(f"team-{number}", "web") for number in range(4)]
PRODUCT = (NAMESPACE, "app")

type Story = Callable[[MortalFleet], AsyncIterator[None]]


async def standing(
    rules: WaveRules = RULES, budget: RolloutBudget = NO_BUDGET, *, killed: bool
) -> MortalFleet:
    """Return workloads that run the old image, and one that runs what is built on it."""
    fleet = MortalFleet(rules, budget, killed=killed)
    await fleet.imports("old", look=False)
    await fleet.stream("app")
    await fleet.config("app", "debian:latest", [IMAGE_TRIGGER])
    await fleet.configs.reconcile((await fleet.get("app")).key)
    await fleet.built("app", "app-old")
    for place in PLACES:
        await fleet.deployment(*place, serves=debian("old"))
    await fleet.deployment(*PRODUCT, "app:latest", serves=debian("old"))
    await fleet.follow()
    await fleet.rolls_out(*PRODUCT)
    fleet.clock.advance(3600)
    return fleet


async def only(fleet: MortalFleet) -> Wave:
    [wave] = await fleet.waves_now()
    return wave


def said(fleet: MortalFleet) -> WaveDecision:
    return WaveDecision(by="ada", at=fleet.clock(), reason="seen")


async def first_of(fleet: MortalFleet) -> tuple[str, str]:
    canary = (await only(fleet)).status.canary
    assert canary is not None
    [first] = canary.workloads
    return first.namespace, first.name


async def approved(fleet: MortalFleet) -> AsyncIterator[None]:
    """A change that waits for approval, is built, goes to one first and then to all."""
    await fleet.imports("new", look=False)
    yield
    assert (await only(fleet)).status.phase is WavePhase.WAITING
    await fleet.decisions.approve((await only(fleet)).name, said(fleet))
    yield
    assert await fleet.names("app") == ["app-1", "app-2"]
    await fleet.end("app-2", BuildPhase.RUNNING)
    yield
    await fleet.built("app", "app-new")
    yield
    first = await first_of(fleet)
    assert await fleet.set_now() == ["/".join(first)]
    await fleet.rolls_out(*first)
    yield
    fleet.clock.advance(SOAK.total_seconds())
    yield
    assert await fleet.canary() is CanaryState.PASSED
    for place in {*PLACES, PRODUCT} - {first}:
        await fleet.rolls_out(*place)
    yield
    wave = await only(fleet)
    assert wave.status.phase is WavePhase.COMPLETE
    assert len(await fleet.set_now()) == len(PLACES)


async def stopped(fleet: MortalFleet) -> AsyncIterator[None]:
    """A change that one does well with, and that fails when the others get it, for that one too."""
    await fleet.imports("new", look=False)
    yield
    await fleet.decisions.approve((await only(fleet)).name, said(fleet))
    yield
    await fleet.built("app", "app-new")
    yield
    first = await first_of(fleet)
    await fleet.rolls_out(*first)
    yield
    fleet.clock.advance(SOAK.total_seconds())
    yield
    for place in [first, *(one for one in PLACES if one != first)][:3]:
        await fleet.rolls_out(*place, phase="Failed")
    yield
    wave = await only(fleet)
    assert wave.status.phase is WavePhase.STOPPED
    assert wave.status.stop is not None
    await fleet.imports("mended", look=False)
    fleet.clock.advance(60)
    yield
    before, after = sorted(await fleet.waves_now(), key=lambda one: str(one.spec.changed))
    assert (before.status.phase, after.status.phase) == (WavePhase.SUPERSEDED, WavePhase.WAITING)


async def cancelled(fleet: MortalFleet) -> AsyncIterator[None]:
    """A change that is cancelled while it waits for a build, and comes back later."""
    await fleet.imports("new", look=False)
    yield
    name = (await only(fleet)).name
    await fleet.decisions.approve(name, said(fleet))
    yield
    decision = WaveCancellation(by="ada", at=fleet.clock(), reason="broken")
    await fleet.decisions.cancel(name, decision)
    yield
    assert [one.status.cancelled for one in await fleet.builds("app")] == [None, True]
    fleet.clock.advance(60)
    await fleet.imports("old", look=False)
    yield
    fleet.clock.advance(60)
    await fleet.imports("new", look=False)
    yield
    waves = sorted(await fleet.waves_now(), key=lambda one: str(one.spec.changed))
    assert [one.status.phase for one in waves][-1] is WavePhase.WAITING, "asks anew"


async def two_bases(fleet: MortalFleet) -> AsyncIterator[None]:
    """Two images that change at once, and a workload that stands on both."""
    other = {"image": "vendor.test/alpine:3", "stream": "alpine"}
    await fleet.imports("alpine-old", look=False, **other)
    both = ("both", "web")
    await fleet.deployment(*both, "debian:latest", "alpine:latest", serves=debian("old"))
    yield
    fleet.clock.advance(3600)
    await fleet.imports("new", look=False)
    await fleet.imports("alpine-new", look=False, **other)
    yield
    waves = await fleet.waves_now()
    assert sorted(one.spec.image for one in waves) == ["vendor.test/alpine:3", IMAGE]
    for wave in waves:
        await fleet.decisions.approve(wave.name, said(fleet))
    yield
    await fleet.built("app", "app-new")
    for _ in range(2):  # those that go first, and those that follow
        yield
        for place in {*PLACES, PRODUCT, both}:
            await fleet.rolls_out(*place)
        yield
        fleet.clock.advance(SOAK.total_seconds())
    yield
    assert {one.status.phase for one in await fleet.waves_now()} == {WavePhase.COMPLETE}
    assert await fleet.names("app") == ["app-1", "app-2"]


@pytest.mark.parametrize("story", [approved, stopped, cancelled, two_bases])
async def test_a_server_that_is_killed_at_each_write_ends_where_another_does(story: Story) -> None:
    told: list[list[dict[str, Any]]] = []
    for killed in (False, True):
        fleet = await standing(killed=killed)
        steps = []
        async for _ in story(fleet):
            await fleet.works()
            steps.append(await fleet.told())
        assert bool(fleet.store.deaths) is killed
        told.append(steps)
    calm, killed_often = told
    for step, (one, other) in enumerate(zip(calm, killed_often, strict=True)):
        assert one == other, f"step {step}"


@pytest.mark.parametrize(("at_once", "expected"), [(1, 1), (2, 2), (0, 4), (10**9, 4)])
async def test_a_server_that_is_killed_at_each_write_keeps_to_its_budget(
    at_once: int, expected: int
) -> None:
    fleet = await standing(WaveRules(), RolloutBudget(at_once), killed=True)
    await fleet.imports("new", look=False)
    for got in range(expected, len(PLACES) + expected, expected):
        await fleet.works()
        new = {*await fleet.set_now()}
        assert len(new) == min(got, len(PLACES))
        waiting = [one for one in PLACES if "/".join(one) not in new]
        for place in waiting:
            assert (await fleet.condition(*place)).reason == "WaitsForTurn"
        for place in PLACES:
            workload = await fleet.get_workload(*place)
            if (workload.status.observed_generation or 0) < workload.generation:
                await fleet.rolls_out(*place)
