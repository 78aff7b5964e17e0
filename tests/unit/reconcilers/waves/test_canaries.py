"""Workloads that go first in a Wave, and the others, which wait until these are healthy."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.builds.build_namespace import NAMESPACE
from tests.support.builds.memory_builds import until
from tests.support.waves.fleet import Fleet, debian

from upwell.actions.rollouts import RolloutActions
from upwell.api.apps import TRIGGERS_ANNOTATION, Deployment
from upwell.api.image import ImageStream
from upwell.api.values.author import with_author
from upwell.api.waves.wave import (
    APPROVAL_ANNOTATION,
    CanaryState,
    StreamApproval,
    Wave,
    WaveDecision,
    WavePhase,
)
from upwell.policy.rollouts.image_ownership import keep_triggered_images
from upwell.policy.rollouts.requests import NothingToDoError
from upwell.policy.rollouts.settings import template_of
from upwell.policy.rollouts.triggers import with_images
from upwell.policy.waves.approval import ApprovalRules
from upwell.policy.waves.canary import CanaryRules, share_of
from upwell.policy.waves.decisions import approved as wave_approved
from upwell.policy.waves.decisions import stream_approved
from upwell.policy.waves.progress import WaveRules

SOAK = timedelta(minutes=5)
PLACES = [(f"team-{number % 4}", f"web-{number}") for number in range(12)]


async def fleet_of(share: float = 0.05) -> Fleet:
    """Return twelve workloads in four namespaces that run the old image, all well."""
    fleet = Fleet(WaveRules(CanaryRules(share, SOAK)))
    await fleet.imports("old")
    for namespace, name in PLACES:
        await fleet.deployment(namespace, name, serves=debian("old"))
    await fleet.follow()
    fleet.clock.advance(3600)
    return fleet


@pytest.fixture
async def fleet() -> Fleet:
    return await fleet_of()


async def changed(fleet: Fleet) -> list[tuple[str, str]]:
    """Let the image change; return which workloads got it."""
    await fleet.imports("new")
    await fleet.look()
    return [(one[0], one[1]) for one in (name.split("/") for name in await fleet.follow())]


@pytest.mark.parametrize(
    ("count", "share", "wanted"),
    [(1, 0.05, 1), (20, 0.05, 1), (21, 0.05, 2), (100, 0.07, 7), (50, 0.14, 7), (100, 0.55, 55)],
)
def test_a_share_is_no_more_than_it_says(count: int, share: float, wanted: int) -> None:
    assert share_of(count, share) == wanted


async def test_without_a_share_all_go_at_once() -> None:
    fleet = await fleet_of(0)
    assert len(await changed(fleet)) == len(PLACES)
    assert (await fleet.wave()).status.canary is None


async def test_one_goes_first_and_the_others_when_it_has_been_healthy(fleet: Fleet) -> None:
    [first] = await changed(fleet)
    [other] = [one for one in PLACES if one != first][:1]
    condition = await fleet.condition(*other)
    wave = await fleet.wave()
    assert (condition.status, condition.reason) == ("False", "WaveCanary")
    assert wave.name in condition.message
    assert (first[1] in condition.message) is (first[0] == other[0]), "names of its own namespace"
    command = f"upwell rollout latest deployment/{other[1]} -n {other[0]}"
    assert f"; `{command}` goes at once" in condition.message
    assert wave.status.phase is WavePhase.RUNNING
    assert "0 of 1 that go first are healthy" in wave.status.message

    await fleet.rolls_out(*first)
    assert await fleet.canary() is CanaryState.SOAKING
    fleet.clock.advance(SOAK.total_seconds() - 1)
    assert await fleet.canary() is CanaryState.SOAKING
    assert len(await fleet.follow()) == 1
    fleet.clock.advance(1)
    assert await fleet.canary() is CanaryState.PASSED
    assert len(await fleet.follow()) == len(PLACES)


@pytest.mark.parametrize("asks", ["the server", "the stream"])
async def test_nobody_is_chosen_of_those_that_wait_for_an_approval(asks: str) -> None:
    fleet = await fleet_of()
    approval = {"by": "ada", "at": fleet.clock()}
    if asks == "the server":
        fleet.rules = replace(fleet.rules, approvals=ApprovalRules(all_images=True))
        fleet.ask_for_approval()
    else:
        stream = await fleet.store.get(ImageStream, NAMESPACE, "debian")
        manual = stream.with_metadata(annotations={APPROVAL_ANNOTATION: "manual"})
        await fleet.store.update(manual)
    await fleet.imports("new")
    for namespace, name in PLACES:
        await fleet.triggers.reconcile((await fleet.get_workload(namespace, name)).key)
        await fleet.look()
    assert await fleet.set_now() == []
    wave = await fleet.wave()
    assert wave.status.canary is None or not wave.status.canary.workloads

    if asks == "the server":
        wave = wave_approved(wave, WaveDecision.model_validate(approval))
    else:
        where = {"namespace": NAMESPACE, "stream": "debian"}
        given = StreamApproval.model_validate({**approval, **where})
        wave = stream_approved(wave, given)
    await fleet.store.update_status(wave)
    for namespace, name in PLACES:
        await fleet.triggers.reconcile((await fleet.get_workload(namespace, name)).key)
        await fleet.look()
    assert len(await fleet.follow()) == 1


async def test_the_share_is_spread_over_namespaces_and_the_same_each_time() -> None:
    first = await changed(await fleet_of(0.3))
    assert len(first) == 4
    assert len({namespace for namespace, _ in first}) == 4
    assert await changed(await fleet_of(0.3)) == first


async def next_one(fleet: Fleet, *before: tuple[str, str]) -> tuple[str, str]:
    """Return the workload that goes first beside these."""
    await fleet.look()
    [one] = {*await fleet.follow()} - {"/".join(place) for place in before}
    namespace, name = one.split("/")
    return namespace, name


async def test_canaries_of_two_namespaces_that_fail_hold_all(fleet: Fleet) -> None:
    [first] = await changed(fleet)
    await fleet.rolls_out(*first, phase="Failed")
    second = await next_one(fleet, first)
    assert second[0] != first[0]
    await fleet.rolls_out(*second, phase="Failed")
    fleet.clock.advance(86400)
    wave = await fleet.wave()
    assert wave.status.phase is WavePhase.WAITING
    assert wave.status.canary is not None
    assert wave.status.canary.state is CanaryState.FAILING
    assert "does not start" in wave.status.canary.message
    assert len(await fleet.follow()) == 2
    [third] = [one for one in PLACES if one[0] not in {first[0], second[0]}][:1]
    message = (await fleet.condition(*third)).message
    assert "they fail on the new image" in message
    assert not any(f" {name} " in message.partition(";")[0] for _, name in PLACES)

    fleet.clock.advance(1)
    await fleet.rolls_out(*first)
    await fleet.rolls_out(*second)
    assert await fleet.canary() is CanaryState.SOAKING


async def test_a_person_holds_nobody_else_by_what_is_theirs_in_two_namespaces(
    fleet: Fleet,
) -> None:
    [first] = await changed(fleet)
    await fleet.rolls_out(*first, phase="Failed")
    second = await next_one(fleet, first)
    for place in (first, second):
        await fleet.store.update(with_author(await fleet.get_workload(*place), "eve"))
    await fleet.rolls_out(*second, phase="Failed")
    third = await next_one(fleet, first, second)
    assert third[0] not in {first[0], second[0]}
    await fleet.rolls_out(*third)
    assert await fleet.canary() is CanaryState.SOAKING


async def test_a_canary_that_fails_holds_its_own_namespace_alone(fleet: Fleet) -> None:
    [first] = await changed(fleet)
    await fleet.rolls_out(*first, phase="Failed")
    second = await next_one(fleet, first)
    await fleet.rolls_out(*second)
    assert await fleet.canary() is CanaryState.SOAKING
    fleet.clock.advance(SOAK.total_seconds())
    assert await fleet.canary() is CanaryState.PASSED
    held = [one for one in PLACES if one[0] == first[0] and one != first]
    follows = {*await fleet.follow()}
    assert follows == {"/".join(one) for one in PLACES if one not in held}
    message = (await fleet.condition(*held[0])).message
    assert message.startswith(f"waits for {first[1]}, of this namespace and first in Wave")
    for place in PLACES:
        if "/".join(place) in follows and place not in {first, second}:
            await fleet.rolls_out(*place)
    assert (await fleet.wave()).status.phase is WavePhase.WAITING

    fleet.clock.advance(1)
    await fleet.rolls_out(*first)
    await fleet.look()
    assert len(await fleet.follow()) == len(PLACES)


async def test_a_canary_that_is_never_healthy_holds_nobody_elses_namespace(fleet: Fleet) -> None:
    [first] = await changed(fleet)
    await fleet.rolls_out(*first, phase="Progressing")
    fleet.clock.advance(3599)
    assert await fleet.canary() is CanaryState.ROLLING_OUT
    assert len(await fleet.follow()) == 1
    fleet.clock.advance(1)
    second = await next_one(fleet, first)
    assert second[0] != first[0]


async def test_where_there_is_no_other_namespace_a_canary_that_fails_holds_all() -> None:
    fleet = Fleet(WaveRules(CanaryRules(0.05, SOAK)))
    await fleet.imports("old")
    for number in range(3):
        await fleet.deployment("team", f"web-{number}", serves=debian("old"))
    fleet.clock.advance(3600)
    [first] = await changed(fleet)
    await fleet.rolls_out(*first, phase="Failed")
    assert await fleet.canary() is CanaryState.FAILING
    assert len(await fleet.follow()) == 1


async def test_a_clock_that_is_set_back_holds_nobody_where_there_is_no_wave(fleet: Fleet) -> None:
    fleet.clock.advance(3 * 86400)
    await changed(fleet)
    await fleet.store.delete(Wave, "", (await fleet.wave()).name)
    fleet.clock.advance(-86400)
    assert len(await fleet.follow()) == len(PLACES)


async def test_a_person_rolls_out_at_once_what_waits(fleet: Fleet) -> None:
    [first] = await changed(fleet)
    other = next(one for one in PLACES if one != first)
    actions = RolloutActions(fleet.store, fleet.clock)
    await actions.latest(Deployment, *other, again=False)
    assert await fleet.follow() == sorted("/".join(one) for one in (first, other))
    assert (await fleet.condition(*other)).reason == "Resolved"
    with pytest.raises(NothingToDoError, match="has the newest images"):
        await actions.latest(Deployment, *other, again=False)


async def test_a_person_sets_another_image_while_others_go_first(fleet: Fleet) -> None:
    """An image that is set where a trigger waits for a person stays, whatever the Wave brings."""
    [first] = await changed(fleet)
    other = next(one for one in PLACES if one != first)
    found = await fleet.get_workload(*other)
    entries = json.loads(found.annotations[TRIGGERS_ANNOTATION])
    manual = json.dumps([{**one, "paused": True} for one in entries])
    mine = with_images(found, {("app", False): debian("mine")})
    mine = mine.with_metadata(annotations={TRIGGERS_ANNOTATION: manual})
    await fleet.store.update(keep_triggered_images(found, mine))
    await fleet.rolls_out(*first)
    await fleet.look()
    fleet.clock.advance(SOAK.total_seconds())
    await fleet.look()
    assert len(await fleet.follow()) == len(PLACES) - 1
    now = await fleet.get_workload(*other)
    assert template_of(now).spec.containers[0].image == debian("mine")
    assert (await fleet.condition(*other)).reason == "Paused"


@pytest.mark.parametrize("way", ["deleted", "held", "paused", "scaled to zero"])
async def test_another_goes_first_when_one_cannot(fleet: Fleet, way: str) -> None:
    [first] = await changed(fleet)
    found = await fleet.get_workload(*first)
    match way:
        case "deleted":
            await fleet.store.delete(Deployment, *first)
        case "held":
            held = {**found.annotations, "upwell.dev/hold": "a person looks at it"}
            old = found.spec.template
            assert old is not None
            await fleet.store.update(found.with_metadata(annotations=held))
        case "paused":
            spec = found.spec.model_copy(update={"paused": True})
            await fleet.store.update(found.model_copy(update={"spec": spec}))
        case _:
            spec = found.spec.model_copy(update={"replicas": 0})
            await fleet.store.update(found.model_copy(update={"spec": spec}))
    await fleet.look()
    [second] = {*await fleet.follow()} - {"/".join(first)}
    await fleet.rolls_out(*second.split("/"))
    await fleet.look()
    fleet.clock.advance(SOAK.total_seconds())
    assert await fleet.canary() is CanaryState.PASSED


async def test_a_restart_keeps_who_was_chosen_and_counts_only_what_it_watched(
    fleet: Fleet,
) -> None:
    [first] = await changed(fleet)
    await fleet.rolls_out(*first)
    await fleet.look()
    fleet.clock.advance(SOAK.total_seconds() * 2)
    fleet.start()
    assert await fleet.canary() is CanaryState.SOAKING
    assert len(await fleet.follow()) == 1
    fleet.clock.advance(SOAK.total_seconds())
    assert await fleet.canary() is CanaryState.PASSED


async def test_a_wave_that_is_deleted_holds_nobody(fleet: Fleet) -> None:
    await changed(fleet)
    await fleet.store.delete(Wave, "", (await fleet.wave()).name)
    fleet.clock.advance(60)  # until then, it might be one that is not there yet
    assert len(await fleet.follow()) == len(PLACES)


async def test_an_import_waits_for_its_wave_to_be_there(fleet: Fleet) -> None:
    await fleet.imports("new", look=False)
    assert await fleet.follow() == []
    name = PLACES[0]
    assert (await fleet.condition(*name)).reason == "WaveCanary"
    result = await fleet.triggers.reconcile((await fleet.get_workload(*name)).key)
    assert result.requeue_after


async def test_what_joins_while_it_runs_starts_with_the_new_image(fleet: Fleet) -> None:
    await changed(fleet)
    await fleet.deployment("team-9", "new")
    assert "team-9/new" in await fleet.follow()
    await fleet.look()
    assert await fleet.canary() is CanaryState.ROLLING_OUT


async def test_the_next_change_keeps_back_what_was_not_healthy(fleet: Fleet) -> None:
    [first] = await changed(fleet)
    await fleet.rolls_out(*first, phase="Failed")
    await fleet.look()
    fleet.clock.advance(10)
    await fleet.imports("newer")
    await fleet.look()
    assert (await fleet.wave()).status.canary is not None
    assert len(await fleet.follow()) == 1, "the canary of the next Wave alone"


async def test_a_canary_of_one_wave_goes_first_in_all(fleet: Fleet) -> None:
    await fleet.imports("old", image="vendor.test/debian:bullseye", stream="bullseye")
    await fleet.deployment("both", "web", "debian:latest", "bullseye:latest", serves=debian("old"))
    [first] = await changed(fleet)
    wave = await fleet.wave()
    # Another image of the same content has its own Wave, in which somebody else goes first.
    spec = wave.spec.model_copy(update={"image": "vendor.test/debian:bullseye"})
    canary = wave.status.canary
    assert canary is not None
    names = (canary.workloads[0].model_copy(update={"namespace": "both", "name": "web"}),)
    status = wave.status.model_copy(
        update={"canary": canary.model_copy(update={"workloads": names})}
    )
    metadata = wave.metadata.model_copy(update={"name": "other", "resource_version": "", "uid": ""})
    made = await fleet.store.create(wave.model_copy(update={"metadata": metadata, "spec": spec}))
    await fleet.store.update_status(made.with_status(status))
    assert await fleet.follow() == ["both/web", "/".join(first)]


async def test_a_share_that_is_set_to_none_lets_all_go(fleet: Fleet) -> None:
    await changed(fleet)
    fleet.rules = WaveRules()
    fleet.start()
    assert len(await fleet.follow()) == len(PLACES)
    assert await fleet.canary() is None


async def test_what_runs_in_a_server_needs_no_other_call(fleet: Fleet) -> None:
    fleet.rules = WaveRules(CanaryRules(0.05, timedelta(0)))
    async with fleet.served():
        await fleet.imports("new", look=False)

        async def one_has_it() -> bool:
            return len(await fleet.set_now()) == 1

        async def others_wait() -> bool:
            found = [await fleet.condition(*place) for place in PLACES]
            return [one.reason for one in found].count("WaveCanary") == len(PLACES) - 1

        async def all_have_it() -> bool:
            return len(await fleet.set_now()) == len(PLACES)

        await until(one_has_it)
        await until(others_wait)
        [first] = await fleet.set_now()
        await fleet.rolls_out(*first.split("/"))
        await until(all_have_it)
