"""Waves of namespaces that want to hold others back: each is of its image, and of nobody else's."""

from datetime import timedelta

from tests.support.builds.build_namespace import IMAGE_TRIGGER, NAMESPACE
from tests.support.waves.fleet import Fleet, debian

from upwell.api.builds.build import BuildPhase
from upwell.api.pipeline import Quarantine, QuarantineSpec
from upwell.api.waves.wave import Wave, WavePhase
from upwell.policy.waves.canary import CanaryRules
from upwell.policy.waves.progress import WaveRules

COPY = "evil.test/base:1"
TENANTS = [(NAMESPACE, f"web-{number}") for number in range(3)]
RULES = WaveRules(CanaryRules(0.1, timedelta(minutes=5)), stop_share=0.2)


async def copied(rules: WaveRules = RULES) -> Fleet:
    """Return a fleet in which a tenant has copied the new base to a registry of its own."""
    fleet = Fleet(rules)
    await fleet.imports("old")
    await fleet.imports("old", image=COPY, stream="evil")
    for place in TENANTS:
        await fleet.deployment(*place, "evil:latest", serves=debian("old"))
    await fleet.deployment("team", "web", serves=debian("old"))
    await fleet.follow()
    fleet.clock.advance(3600)
    return fleet


async def stopped(fleet: Fleet) -> Wave:
    """Let a tenant's workloads fail on its copy of the new base."""
    await fleet.imports("new", image=COPY, stream="evil")
    await fleet.look()
    for _ in TENANTS:
        await fleet.follow()
        for place in TENANTS:
            await fleet.rolls_out(*place, phase="Failed")
        await fleet.look()
    [wave] = await fleet.waves_now()
    return wave


async def test_the_quarantine_of_a_wave_holds_what_follows_its_image_alone() -> None:
    fleet = await copied(WaveRules(stop_share=0.2))
    await fleet.config("app", "debian:latest", [IMAGE_TRIGGER])
    await fleet.config("own", "evil:latest", [IMAGE_TRIGGER])
    for name in ("app", "own"):
        await fleet.stream(name)
        await fleet.reconcile(name)
        await fleet.end(f"{name}-1", BuildPhase.COMPLETE)
    wave = await stopped(fleet)
    assert wave.status.phase is WavePhase.STOPPED
    assert [one.spec.image for one in (await fleet.store.list(Quarantine)).items] == [COPY]
    await fleet.imports("new")
    await fleet.reconcile("app", "own")
    assert await fleet.names("app") == ["app-1", "app-2"]
    assert (await fleet.current("own")).reason == "Quarantined"
    assert await fleet.follow() == ["team/web"]


async def test_the_quarantine_of_a_person_holds_the_digest_wherever_it_is() -> None:
    fleet = await copied(WaveRules())
    await fleet.imports("new")
    [wave] = await fleet.waves_now()
    spec = QuarantineSpec(digest=wave.spec.digest, image=COPY, reason="seen to fail")
    made = Quarantine.model_validate({"metadata": {"name": "by-hand"}, "spec": spec.model_dump()})
    await fleet.store.create(made)
    await fleet.config("app", "debian:latest", [IMAGE_TRIGGER])
    await fleet.reconcile("app")
    assert (await fleet.current("app")).reason == "Quarantined"


async def test_failures_of_one_namespace_stop_nobody_elses_wave() -> None:
    fleet = Fleet(WaveRules(stop_share=0.2))
    await fleet.imports("old")
    others = [("team-0", "web"), ("team-1", "web")]
    for place in (*TENANTS, *others):
        await fleet.deployment(*place, serves=debian("old"))
    fleet.clock.advance(3600)
    await fleet.imports("new")
    await fleet.follow()
    for place in TENANTS:
        await fleet.rolls_out(*place, phase="Failed")
    for place in others:
        await fleet.rolls_out(*place)
    assert (await fleet.wave()).status.stop is None
    await fleet.rolls_out(*others[0], phase="Failed")
    assert (await fleet.wave()).status.phase is WavePhase.STOPPED


async def test_a_namespace_counts_once_however_many_of_its_objects_fail() -> None:
    fleet = Fleet(WaveRules(stop_share=0.5))
    await fleet.imports("old")
    many = [("evil", f"web-{number}") for number in range(20)]
    others = [(f"team-{number}", "web") for number in range(4)]
    for place in (*many, *others):
        await fleet.deployment(*place, serves=debian("old"))
    fleet.clock.advance(3600)
    await fleet.imports("new")
    await fleet.follow()
    for place in (*many, others[0]):
        await fleet.rolls_out(*place, phase="Failed")
    for place in others[1:]:
        await fleet.rolls_out(*place)
    assert (await fleet.wave()).status.stop is None, "two of five namespaces"
    await fleet.rolls_out(*others[1], phase="Failed")
    assert (await fleet.wave()).status.phase is WavePhase.STOPPED


async def test_the_canaries_of_a_copy_hold_nobody_else() -> None:
    fleet = await copied(WaveRules(CanaryRules(0.1, timedelta(minutes=5))))
    await fleet.deployment("other", "web", serves=debian("old"))
    fleet.clock.advance(60)
    await stopped(fleet)
    await fleet.imports("new")
    [first] = await fleet.follow()
    await fleet.rolls_out(*first.split("/"))
    await fleet.look()
    fleet.clock.advance(300)
    await fleet.look()
    assert await fleet.follow() == ["other/web", "team/web"]
