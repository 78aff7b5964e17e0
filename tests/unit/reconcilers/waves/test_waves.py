"""Waves, with streams, builds and workloads as they stand in the store."""

from datetime import UTC, datetime

import pytest
from tests.support.builds.build_namespace import IMAGE_TRIGGER, NAMESPACE, pull_spec
from tests.support.waves.namespace import IMAGE, WavesNamespace

from upwell.actions.plans import PlanActions
from upwell.api.apps import Deployment
from upwell.api.builds.build import BuildPhase, BuildRequest
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectMeta
from upwell.api.waves.plan import ImpactPlanSpec
from upwell.api.waves.wave import Wave, WavePhase, WaveSpec
from upwell.oci import Digest
from upwell.policy.waves.canary import CanaryRules
from upwell.policy.waves.changes import ImageMove
from upwell.policy.waves.progress import WaveRules
from upwell.reconcilers.waves.waves import Waves


@pytest.fixture
async def setup() -> WavesNamespace:
    """Return `base`, which stands on the vendor's image, and `app`, which stands on `base`."""
    return await WavesNamespace.standing()


async def test_a_first_import_is_no_wave(setup: WavesNamespace) -> None:
    assert await setup.all() == []


async def test_a_change_is_one_wave_until_all_that_follows_has_it(setup: WavesNamespace) -> None:
    setup.clock.advance(60)
    await setup.imports("new")
    [wave] = await setup.all()
    assert wave.spec.image == IMAGE
    assert wave.spec.digest == str(Digest.of(b"new"))
    assert wave.spec.previous == str(Digest.of(b"old"))
    assert wave.status.phase is WavePhase.RUNNING
    assert (wave.status.builds.done, wave.status.builds.total, wave.status.levels) == (0, 2, 2)

    await setup.built("base", "base-new")
    [wave] = await setup.all()
    assert (wave.status.builds.done, wave.status.builds.total) == (1, 2)
    await setup.built("app", "app-new")
    [wave] = await setup.all()
    assert wave.status.phase is WavePhase.COMPLETE
    assert wave.status.ended == setup.clock()
    assert wave.status.estimated_end is None


async def test_the_same_change_of_two_streams_is_one_wave(setup: WavesNamespace) -> None:
    await setup.imports("new")
    first = await setup.all()
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    copy = stream.with_metadata(name="other", resource_version="", uid="")
    await setup.store.create(copy)

    for key in {*setup.waves.moved(None, copy)}:
        await setup.look(key)
    assert [one.name for one in await setup.all()] == [one.name for one in first]


async def test_the_next_change_supersedes_what_is_left(setup: WavesNamespace) -> None:
    await setup.imports("new")
    setup.clock.advance(10)
    await setup.imports("newer")

    old, new = await setup.all()
    assert (old.status.phase, new.status.phase) == (WavePhase.SUPERSEDED, WavePhase.RUNNING)


async def test_a_digest_that_comes_back_is_another_wave(setup: WavesNamespace) -> None:
    for mark in ("new", "newer", "new", "newer"):
        setup.clock.advance(10)
        await setup.imports(mark)
        await setup.all()

    waves = await setup.all()
    assert [one.spec.digest for one in waves] == [
        str(Digest.of(mark.encode())) for mark in ("new", "newer", "new", "newer")
    ]
    phases = [one.status.phase for one in waves]
    assert phases == [*[WavePhase.SUPERSEDED] * 3, WavePhase.RUNNING]
    assert waves[2].name == f"{waves[0].name}-2"


async def test_a_wave_ends_when_the_image_is_what_it_was_before(setup: WavesNamespace) -> None:
    setup.clock.advance(10)
    await setup.imports("new")
    [wave] = await setup.all()
    spec = wave.spec.model_copy(update={"paused": True})
    await setup.store.update(wave.model_copy(update={"spec": spec}))
    setup.clock.advance(10)
    await setup.imports("old")  # which all is built on still

    [ended] = await setup.all()
    assert ended.status.phase is WavePhase.SUPERSEDED
    setup.clock.advance(10)
    await setup.imports("new")
    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1", "base-2"], "the old pause has ended"


async def test_what_is_pushed_to_a_tag_that_imports_is_no_wave(setup: WavesNamespace) -> None:
    await setup.imports("evil", pushed=True)
    assert await setup.all() == []


async def test_a_pause_holds_who_imports_one_manifest_of_the_index(setup: WavesNamespace) -> None:
    await setup.imports("child", upstream="index")
    [wave] = await setup.all()
    assert wave.spec.digest == str(Digest.of(b"index"))
    assert wave.status.phase is WavePhase.RUNNING
    spec = wave.spec.model_copy(update={"paused": True})
    await setup.store.update(wave.model_copy(update={"spec": spec}))

    await setup.reconcile("base")
    assert (await setup.current("base")).reason == "WavePaused"


@pytest.mark.parametrize("gone", ["what stands on it", "the stream"])
async def test_a_pause_outlives_what_others_delete(setup: WavesNamespace, gone: str) -> None:
    setup.clock.advance(10)
    await setup.imports("new")
    [wave] = await setup.all()
    spec = wave.spec.model_copy(update={"paused": True})
    await setup.store.update(wave.model_copy(update={"spec": spec}))
    if gone == "the stream":
        await setup.store.delete(ImageStream, NAMESPACE, "debian")
    else:
        for name in ("base", "app"):
            await setup.store.delete(BuildConfig, NAMESPACE, name)
    await setup.wave_index.ready()

    [paused] = await setup.all()
    assert paused.status.phase is WavePhase.PAUSED
    await setup.config("third", "debian:latest", [IMAGE_TRIGGER])
    if gone != "the stream":
        await setup.reconcile("third")
        assert (await setup.current("third")).reason == "WavePaused"


async def test_a_failed_build_stops_the_wave_and_is_told(setup: WavesNamespace) -> None:
    await setup.imports("new")
    await setup.reconcile("base")
    await setup.end("base-2", BuildPhase.FAILED)

    [wave] = await setup.all()
    assert wave.status.builds.failed == 1
    assert [(one.kind, one.name) for one in wave.status.held] == [("BuildConfig", "base")]
    assert wave.status.phase is WavePhase.WAITING, "`app` stands on what failed"
    assert "; 1 failed, BuildConfig shop/base: build base-2 failed" in wave.status.message


async def test_what_failed_on_the_image_before_has_not_failed_on_this(
    setup: WavesNamespace,
) -> None:
    await setup.actions.instantiate(NAMESPACE, "base", BuildRequest())
    await setup.end("base-2", BuildPhase.FAILED)
    setup.clock.advance(10)
    await setup.imports("new")
    [wave] = await setup.all()
    assert (wave.status.phase, wave.status.builds.failed) == (WavePhase.RUNNING, 0)
    assert "failed" not in wave.status.message


async def test_the_plan_of_a_wave_marks_what_failed_and_what_is_built_on_it(
    setup: WavesNamespace,
) -> None:
    await setup.imports("new")
    await setup.reconcile("base")
    await setup.end("base-2", BuildPhase.FAILED)
    [wave] = await setup.all()

    actions = PlanActions(setup.wave_index, setup.clock, CanaryRules())
    plan = await actions.plan(NAMESPACE, ImpactPlanSpec(wave=wave.name), lambda _kind, _name: True)
    steps = {one.name: one for one in plan.steps}
    base, app = (steps[f"BuildConfig {NAMESPACE}/{name}"] for name in ("base", "app"))
    assert [(one.stops, "base-2" in one.reason) for one in base.obstacles] == [(True, True)]
    for one in (base, app):
        assert (one.by_itself, one.ends_after_seconds) == (False, None)
    assert (plan.summary.not_by_itself, plan.summary.marked, plan.summary.seconds) == (2, 1, None)

    spec = ImpactPlanSpec(image=IMAGE)
    later = await actions.plan(NAMESPACE, spec, lambda _kind, _name: True)
    assert later.summary.marked == 0, "the next change has not failed"


async def test_a_wave_without_workloads_tells_of_none_that_go_first(setup: WavesNamespace) -> None:
    rules = WaveRules(CanaryRules(share=0.5))
    setup.waves = Waves(setup.wave_index, setup.clock, lambda: setup.time, rules)
    await setup.imports("new")
    assert "go first" not in (await setup.all())[0].status.message
    await setup.built("base", "base-new")
    await setup.built("app", "app-new")
    [wave] = await setup.all()
    assert wave.status.phase is WavePhase.COMPLETE
    assert wave.status.message == "2 of 2 builds and 0 of 0 workloads have it"


async def test_nothing_begins_while_a_wave_is_paused_and_all_goes_on_after(
    setup: WavesNamespace,
) -> None:
    await setup.imports("new")
    [wave] = await setup.all()
    spec = wave.spec.model_copy(update={"paused": True, "reason": "weekend"})
    await setup.store.update(wave.model_copy(update={"spec": spec}))
    await setup.reconcile("base")

    assert await setup.names("base") == ["base-1"]
    condition = await setup.current("base")
    assert condition.reason == "WavePaused"
    assert "weekend" in condition.message
    assert f"`upwell wave resume {wave.name}`" in condition.message
    [paused] = await setup.all()
    assert paused.status.phase is WavePhase.PAUSED

    await setup.store.update(paused.model_copy(update={"spec": wave.spec}))
    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1", "base-2"]


async def test_a_pause_outlives_what_is_written_of_another_wave_of_the_digest(
    setup: WavesNamespace,
) -> None:
    await setup.imports("new")
    [wave] = await setup.all()
    spec = wave.spec.model_copy(update={"paused": True})
    await setup.store.update(wave.model_copy(update={"spec": spec}))
    same = wave.spec.model_copy(update={"image": "vendor.test/debian:bullseye"})
    other = await setup.store.create(Wave(metadata=ObjectMeta(name="bullseye"), spec=same))
    await setup.reconcile("base")
    told = other.status.model_copy(update={"message": "news"})
    await setup.store.update_status(other.with_status(told))

    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1"]


async def test_a_change_that_nothing_follows_is_no_wave() -> None:
    setup = WavesNamespace()
    await setup.imports("old")
    await setup.imports("new")
    assert await setup.all() == []


async def test_what_a_killed_server_has_missed_has_its_wave_after_the_start(
    setup: WavesNamespace,
) -> None:
    await setup.stream("debian", "new")
    await setup.note_import("new", "new")
    await setup.wave_index.ready()
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")

    for key in {*setup.waves.moved(None, stream)}:
        await setup.look(key)
    assert len(await setup.all()) == 1
    again = Waves(setup.wave_index, setup.clock, lambda: setup.time)
    setup.clock.advance(7200)
    assert {key.name for key in again.moved(None, stream)} == {
        one.name for one in await setup.all()
    }


async def test_a_workload_that_runs_the_old_image_keeps_the_wave_open(
    setup: WavesNamespace,
) -> None:
    old, new = pull_spec("app", "app-old"), pull_spec("app", "app-new")
    deployment = Deployment.model_validate(
        {
            "metadata": {
                "namespace": NAMESPACE,
                "name": "web",
                "annotations": {
                    "image.openshift.io/triggers": '[{"from":{"kind":"ImageStreamTag","name":'
                    '"app:latest"},"fieldPath":"spec.template.spec.containers[0].image"}]'
                },
            },
            "spec": {"template": {"spec": {"containers": ({"name": "web", "image": old},)}}},
        }
    )
    await setup.store.create(deployment)
    await setup.imports("new")
    await setup.built("base", "base-new")
    await setup.built("app", "app-new")

    [wave] = await setup.all()
    assert wave.status.phase is WavePhase.RUNNING
    assert (wave.status.workloads.done, wave.status.workloads.total) == (0, 1)
    assert new != old


async def test_ended_waves_of_an_image_are_kept_in_a_number(setup: WavesNamespace) -> None:
    for number in range(30):
        setup.clock.advance(10)
        await setup.imports(f"new-{number}")
        await setup.all()
    assert len(await setup.all()) in {21, 22}


def test_the_name_of_a_wave_is_one_of_kubernetes_whatever_the_image_is_called() -> None:

    for image in ("docker.io/library/debian:11", f"x.test/a/b_c__d:{'V' * 120}", "h:5000/x:1_2"):
        name = next(ImageMove(image, str(Digest.of(b"x")), "", datetime.now(UTC)).names())
        assert len(name) <= 253
        assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert WaveSpec().paused is False
