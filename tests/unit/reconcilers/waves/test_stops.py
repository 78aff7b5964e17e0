"""Waves that are stopped because too much of what they have reached failed."""

import pytest
from tests.support.builds.build_namespace import IMAGE_TRIGGER, NAMESPACE
from tests.support.waves.fleet import Fleet, debian

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.inputs import GitSourceRevision, SourceRevision
from upwell.api.image import ImageStream
from upwell.api.pipeline import Quarantine
from upwell.api.values.author import with_author
from upwell.api.waves.wave import Wave, WavePhase
from upwell.policy.waves.progress import WaveRules

TEAMS = [(f"team-{number}", "web") for number in range(10)]


async def fleet_of(share: float = 0.2) -> Fleet:
    """Return ten workloads that got the new image and have not ended their rollouts."""
    fleet = Fleet(WaveRules(stop_share=share))
    await fleet.imports("old")
    for namespace, name in TEAMS:
        await fleet.deployment(namespace, name, serves=debian("old"))
    fleet.clock.advance(3600)
    await fleet.imports("new")
    await fleet.follow()
    fleet.clock.advance(10)
    return fleet


@pytest.fixture
async def fleet() -> Fleet:
    return await fleet_of()


async def failing(fleet: Fleet, number: int, good: int = 0) -> Wave:
    for place in TEAMS[:number]:
        await fleet.rolls_out(*place, phase="Failed")
    for place in TEAMS[number : number + good]:
        await fleet.rolls_out(*place)
    return await fleet.wave()


async def quarantines(fleet: Fleet) -> list[str]:
    return [one.spec.digest for one in (await fleet.store.list(Quarantine)).items]


async def late_workload(fleet: Fleet) -> tuple[str, str]:
    """Return a workload that has not got the new image when the Wave is stopped."""
    await fleet.deployment("late", "web", serves=debian("old"))
    await fleet.follow()
    return "late", "web"


async def test_a_share_of_failures_stops_it_and_its_image_is_quarantined(fleet: Fleet) -> None:
    wave = await failing(fleet, 3, 5)
    assert wave.status.phase is WavePhase.STOPPED
    assert wave.status.stop is not None
    assert [one.namespace for one in wave.status.stop.failures] == ["team-0", "team-1", "team-2"]
    assert "3 of 8" in wave.status.message
    assert f"`upwell wave resume {wave.name} --reason WHY`" in wave.status.message
    assert await quarantines(fleet) == [wave.spec.digest]

    place = await late_workload(fleet)
    condition = await fleet.condition(*place)
    assert condition.reason == "WaveStopped"
    assert wave.name in condition.message
    [held] = [one for one in (await fleet.wave()).status.held if one.namespace == "late"]
    assert held.reason == condition.message


async def stands_for(fleet: Fleet, person: str, *places: tuple[str, str]) -> None:
    """Let a person be the author of workloads, as the server notes it."""
    for place in places:
        found = await fleet.get_workload(*place)
        await fleet.store.update(with_author(found, person))


async def test_a_person_stops_nobody_by_what_is_theirs_in_however_many_namespaces(
    fleet: Fleet,
) -> None:
    await stands_for(fleet, "eve", *TEAMS[:4])
    assert (await failing(fleet, 4, 2)).status.stop is None
    await fleet.rolls_out(*TEAMS[4], phase="Failed")
    assert (await fleet.wave()).status.phase is WavePhase.STOPPED


async def test_what_fails_nearly_everywhere_stops_it_whoever_deploys_it(fleet: Fleet) -> None:
    await stands_for(fleet, "deployer", *TEAMS[:9])
    assert (await failing(fleet, 5, 1)).status.stop is None
    await fleet.rolls_out(*TEAMS[5], phase="Failed")
    assert (await fleet.wave()).status.phase is WavePhase.STOPPED


@pytest.mark.parametrize(("failed", "good"), [(2, 0), (3, 12)])
async def test_fewer_failures_do_not(failed: int, good: int) -> None:
    fleet = await fleet_of(0.3)
    wave = await failing(fleet, failed, good)
    assert wave.status.phase is not WavePhase.STOPPED
    assert await quarantines(fleet) == []


async def test_without_a_share_nothing_stops_it() -> None:
    wave = await failing(await fleet_of(0), 10)
    assert wave.status.stop is None


async def test_a_person_lets_it_go_on_and_it_is_not_stopped_again(fleet: Fleet) -> None:
    wave = await failing(fleet, 3)
    place = await late_workload(fleet)
    spec = wave.spec.model_copy(update={"resumed": True, "reason": "known"})
    await fleet.store.update(wave.model_copy(update={"spec": spec}))
    for late in TEAMS[3:6]:
        await fleet.rolls_out(*late, phase="Failed")
    wave = await fleet.wave()
    assert wave.status.phase is not WavePhase.STOPPED
    assert await quarantines(fleet) == []
    assert "late/web" in await fleet.follow()
    assert (await fleet.condition(*place)).reason == "Resolved"


async def test_lifting_the_quarantine_lets_it_go_on_too(fleet: Fleet) -> None:
    await failing(fleet, 3)
    [one] = (await fleet.store.list(Quarantine)).items
    await fleet.store.delete(Quarantine, "", one.name)
    await fleet.look()
    wave = await fleet.wave()
    assert wave.status.phase is not WavePhase.STOPPED
    assert await quarantines(fleet) == []


async def test_a_server_that_is_killed_before_the_quarantine_makes_it_later(fleet: Fleet) -> None:
    wave = await failing(fleet, 3)
    [one] = (await fleet.store.list(Quarantine)).items
    assert wave.status.stop is not None
    undone = wave.status.stop.model_copy(update={"quarantined": False})
    await fleet.store.delete(Quarantine, "", one.name)
    status = wave.status.model_copy(update={"stop": undone})
    await fleet.store.update_status(wave.with_status(status))
    fleet.start()
    assert (await fleet.wave()).status.phase is WavePhase.STOPPED
    assert await quarantines(fleet) == [wave.spec.digest]


async def test_a_wave_that_is_deleted_leaves_the_quarantine(fleet: Fleet) -> None:
    wave = await failing(fleet, 3)
    await fleet.store.delete(Wave, "", wave.name)
    assert await quarantines(fleet) == [wave.spec.digest]
    place = await late_workload(fleet)
    assert (await fleet.condition(*place)).reason == "WaveStopped"


async def test_the_next_change_is_not_stopped(fleet: Fleet) -> None:
    await failing(fleet, 3)
    fleet.clock.advance(10)
    await fleet.imports("newer")
    wave = await fleet.wave()
    assert wave.status.phase is WavePhase.RUNNING
    assert len(await fleet.follow()) == len(TEAMS)


async def test_what_was_cancelled_or_never_worked_says_nothing_of_the_image() -> None:
    fleet = Fleet(WaveRules(stop_share=0.1))
    await fleet.imports("old")
    for namespace, name in TEAMS[:6]:
        await fleet.deployment(namespace, name)
        await fleet.follow()
        await fleet.rolls_out(namespace, name, phase="Failed")
    fleet.clock.advance(60)
    await fleet.imports("new")
    await fleet.follow()
    for place in TEAMS[:6]:
        await fleet.rolls_out(*place, phase="Failed")
    assert (await fleet.wave()).status.stop is None


async def builds_that_fail(
    fleet: Fleet, *, before: BuildPhase, reason: str, commit: str = ""
) -> Wave:
    """Let four BuildConfigs build on the old image and fail on the new one."""
    names = [f"app-{number}" for number in range(4)]
    await fleet.imports("old")
    for name in names:
        await fleet.stream(name)
        await fleet.config(name, "debian:latest", [IMAGE_TRIGGER])
        await fleet.reconcile(name)
        await fleet.end(f"{name}-1", before)
        await fleet.reconcile(name)
    fleet.clock.advance(60)
    await fleet.imports("new")
    for name in names:
        await fleet.reconcile(name)
        await fleet.end(f"{name}-2", BuildPhase.FAILED)
        build = await fleet.store.get(Build, NAMESPACE, f"{name}-2")
        status = build.status.model_copy(
            update={
                "reason": reason,
                "message": "no package",
                "revision": SourceRevision.of_git(GitSourceRevision(commit=commit)),
            }
        )
        await fleet.store.update_status(build.with_status(status))
    return await fleet.wave()


@pytest.mark.parametrize(
    ("before", "reason", "stopped"),
    [
        (BuildPhase.COMPLETE, "DockerBuildFailed", True),
        (BuildPhase.FAILED, "DockerBuildFailed", False),
        (BuildPhase.COMPLETE, "FetchSourceFailed", False),
        (BuildPhase.COMPLETE, "PushImageToRegistryFailed", False),
    ],
)
async def test_builds_count_that_were_good_on_the_image_before(
    before: BuildPhase, reason: str, *, stopped: bool
) -> None:
    fleet = Fleet(WaveRules(stop_share=0.2))
    wave = await builds_that_fail(fleet, before=before, reason=reason)
    assert (wave.status.phase is WavePhase.STOPPED) is stopped
    if stopped:
        await fleet.config("fifth", "debian:latest", [IMAGE_TRIGGER])
        await fleet.reconcile("fifth")
        assert (await fleet.current("fifth")).reason == "Quarantined"
        stream = await fleet.store.get(ImageStream, NAMESPACE, "debian")
        assert stream.status.tags[0].items[0].image == wave.spec.digest


async def test_a_build_of_another_commit_says_nothing_of_the_image() -> None:
    fleet = Fleet(WaveRules(stop_share=0.2))
    good, reason = BuildPhase.COMPLETE, "DockerBuildFailed"
    wave = await builds_that_fail(fleet, before=good, reason=reason, commit="f" * 40)
    assert wave.status.stop is None
