"""Approvals, cancellations and retries of Waves, with builds as the reconcilers start them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.builds.build_namespace import IMAGE_TRIGGER, NAMESPACE, pull_spec
from tests.support.builds.memory_builds import until
from tests.support.waves.namespace import WavesNamespace

from upwell.actions.rollouts import RolloutActions
from upwell.actions.waves import WaveActions
from upwell.api.builds.build import Build, BuildPhase, BuildRequest
from upwell.api.builds.config import PAUSED_ANNOTATION, BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.api.waves.wave import (
    APPROVAL_ANNOTATION,
    Wave,
    WaveApproval,
    WaveCancellation,
    WaveDecision,
    WavePhase,
)
from upwell.policy.builds.requests import BuildRefusedError
from upwell.policy.promotion.requests import RefusedError
from upwell.policy.waves.approval import ApprovalRules
from upwell.reconcilers.waves.waves import wave_controller
from upwell.store.interface import NotFoundError

EVERY = ApprovalRules(all_images=True)
STREAM = ObjectKey("ImageStream", NAMESPACE, "debian")


def actions_of(setup: WavesNamespace) -> WaveActions:
    rollouts = RolloutActions(setup.store, setup.clock)
    return WaveActions(setup.wave_index, setup.actions, rollouts, setup.clock)


def decision(setup: WavesNamespace, by: str = "ada", **also: str) -> WaveDecision:
    return WaveDecision(by=by, at=setup.clock(), **also)


def cancellation(setup: WavesNamespace, *, running: bool = False) -> WaveCancellation:
    return WaveCancellation(by="ada", at=setup.clock(), reason="broken", running=running)


@pytest.fixture
async def manual() -> WavesNamespace:
    """Return a namespace in which every change waits for approval, before one is imported."""
    return await WavesNamespace.standing(EVERY)


@pytest.fixture
async def free() -> WavesNamespace:
    return await WavesNamespace.standing()


async def copied(setup: WavesNamespace, name: str) -> ImageStream:
    """Let another stream have imported what `debian` has."""
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    try:
        other = await setup.store.get(ImageStream, NAMESPACE, name)
    except NotFoundError:
        other = await setup.store.create(
            stream.with_metadata(name=name, resource_version="", uid="")
        )
    return await setup.store.update_status(other.with_status(stream.status))


async def asking(setup: WavesNamespace, name: str = "debian", value: str = "manual") -> None:
    """Let a stream ask for approval of its changes."""
    stream = await setup.store.get(ImageStream, NAMESPACE, name)
    await setup.store.update(stream.with_metadata(annotations={APPROVAL_ANNOTATION: value}))


async def test_nothing_is_built_on_a_change_before_it_is_approved(manual: WavesNamespace) -> None:
    await manual.imports("new")
    [wave] = await manual.all()
    assert wave.spec.approval is WaveApproval.MANUAL
    assert wave.status.phase is WavePhase.WAITING
    await manual.reconcile("base", "app")
    assert await manual.names("base") == ["base-1"]
    condition = await manual.current("base")
    assert condition.reason == "WaveApproval"
    assert f"`upwell wave approve {wave.name}`" in condition.message
    assert any("waits for approval" in one.reason for one in wave.status.held)

    done = await actions_of(manual).approve(wave.name, decision(manual, reason="seen"))
    assert (done.status.approval and done.status.approval.by) == "ada"
    await manual.reconcile("base")
    assert await manual.names("base") == ["base-1", "base-2"]
    [wave] = await manual.all()
    assert wave.status.phase is WavePhase.RUNNING
    assert wave.status.approval is not None, "the reconciler keeps what people have said"


async def test_a_build_waits_before_its_wave_is_made(manual: WavesNamespace) -> None:
    await manual.stream("debian", "new")
    await manual.note_import("new", "new")

    await manual.reconcile("base")
    assert await manual.names("base") == ["base-1"]
    assert (await manual.current("base")).reason == "WaveApproval"


async def test_a_build_that_waits_has_its_wave_made_however_old_the_change_is(
    manual: WavesNamespace,
) -> None:
    await manual.stream("debian", "new")
    await manual.note_import("new", "new")
    manual.clock.advance(7 * 86_400)
    await manual.reconcile("base")
    await manual.wave_index.ready()

    config = await manual.get("base")
    keys = {*manual.waves.unrecorded(None, config)}
    await manual.look(*keys)
    [wave] = await manual.all()
    assert {wave.key} == keys
    assert {*manual.waves.unrecorded(None, config)} == set(), "it has its Wave"


async def test_a_wave_that_waits_and_is_deleted_is_made_again(manual: WavesNamespace) -> None:
    await manual.imports("new")
    [wave] = await manual.all()
    await manual.store.delete(Wave, "", wave.name)
    await manual.reconcile("base")
    assert await manual.names("base") == ["base-1"]

    await manual.wave_index.ready()
    await manual.look(*manual.waves.unrecorded(None, await manual.get("base")))
    assert [one.name for one in await manual.all()] == [wave.name]


async def test_who_deletes_what_waits_does_not_end_the_wait(manual: WavesNamespace) -> None:
    await manual.imports("new")
    await manual.all()
    for name in ("base", "app"):
        await manual.store.delete(BuildConfig, NAMESPACE, name)
    await manual.wave_index.ready()
    [wave] = await manual.all()
    assert wave.status.phase is WavePhase.WAITING

    await manual.config("third", "debian:latest", [IMAGE_TRIGGER])
    await manual.reconcile("third")
    assert await manual.names("third") == []
    await actions_of(manual).approve(wave.name, decision(manual))
    await manual.reconcile("third")
    assert await manual.names("third") == ["third-1"]


async def test_only_named_images_wait() -> None:
    for pattern, builds in (("vendor.test/*", 1), ("docker.io/*", 2)):
        setup = await WavesNamespace.standing(ApprovalRules(patterns=(pattern,)))
        await setup.imports("new")
        await setup.reconcile("base")
        assert len(await setup.names("base")) == builds, pattern


async def test_a_first_import_waits_for_nobody(manual: WavesNamespace) -> None:
    await manual.config("third", "debian:latest", [IMAGE_TRIGGER])
    await manual.reconcile("third")
    assert await manual.names("third") == ["third-1"]


async def test_what_others_build_on_a_change_waits_too(manual: WavesNamespace) -> None:
    await manual.actions.instantiate(NAMESPACE, "base", BuildRequest())
    await manual.imports("new")  # while it is built
    await manual.built("base", "base-new", on=pull_spec("debian", "new"))
    await manual.reconcile("app")
    assert await manual.names("app") == ["app-1"]
    assert (await manual.current("app")).reason == "WaveApproval"


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("triggers", [[IMAGE_TRIGGER], []])
async def test_a_build_that_is_asked_for_waits_for_the_approval_too(
    manual: WavesNamespace, triggers: list[dict[str, object]], *, paused: bool
) -> None:
    await manual.config("third", "debian:latest", triggers)
    await manual.actions.instantiate(NAMESPACE, "third", BuildRequest())
    await manual.end("third-1")
    await manual.imports("new")
    [wave] = await manual.all()
    if paused:
        spec = wave.spec.model_copy(update={"paused": True})
        await manual.store.update(wave.model_copy(update={"spec": spec}))
    for name in ("base", "third"):
        with pytest.raises(BuildRefusedError, match="is not built now") as refused:
            await manual.actions.instantiate(NAMESPACE, name, BuildRequest())
        who = f"`upwell wave approve {wave.name}` gives it (role promoter or approver"
        assert who in str(refused.value)
    await manual.actions.instantiate(NAMESPACE, "app", BuildRequest())

    await actions_of(manual).approve(wave.name, decision(manual))
    await manual.actions.instantiate(NAMESPACE, "third", BuildRequest())
    assert await manual.names("third") == ["third-1", "third-2"]


async def test_a_build_that_is_asked_for_waits_for_the_owner_of_the_stream(
    free: WavesNamespace,
) -> None:
    await asking(free)
    await free.imports("new")
    [wave] = await free.all()
    with pytest.raises(BuildRefusedError, match="--stream debian -n shop` gives it"):
        await free.actions.instantiate(NAMESPACE, "base", BuildRequest())
    await actions_of(free).approve_for(STREAM, wave.name, decision(free))
    await free.actions.instantiate(NAMESPACE, "base", BuildRequest())
    assert await free.names("base") == ["base-1", "base-2"]


async def test_who_has_an_image_imported_does_not_approve_it_alone(manual: WavesNamespace) -> None:
    await manual.imports("new")
    [wave] = await manual.all()
    asked = wave.spec.model_copy(update={"requested_by": "ada"})
    await manual.store.update(wave.model_copy(update={"spec": asked}))
    actions = actions_of(manual)

    with pytest.raises(RefusedError, match="ada had the image imported"):
        await actions.approve(wave.name, decision(manual))
    await actions.approve(wave.name, decision(manual, by="grace"))
    with pytest.raises(RefusedError, match="approved already, by grace"):
        await actions.approve(wave.name, decision(manual, by="joan"))


async def test_an_approval_holds_for_who_imports_the_same_later(manual: WavesNamespace) -> None:
    await manual.imports("new")
    [wave] = await manual.all()
    await actions_of(manual).approve(wave.name, decision(manual))
    await manual.built("base", "base-new")
    await manual.built("app", "app-new")
    assert [one.status.phase for one in await manual.all()] == [WavePhase.COMPLETE]

    other = await copied(manual, "other")
    await manual.config("third", "other:latest", [IMAGE_TRIGGER])
    await manual.look(*manual.waves.moved(None, other))
    _, again = await manual.all()
    assert again.status.approval == (await manual.all())[0].status.approval
    await manual.reconcile("third")
    assert await manual.names("third") == ["third-1"]


async def test_an_approval_ends_with_its_wave_for_who_imports_later(
    manual: WavesNamespace,
) -> None:
    await manual.imports("new")
    [wave] = await manual.all()
    await actions_of(manual).approve(wave.name, decision(manual))
    await manual.built("base", "base-new")
    await manual.built("app", "app-new")
    [ended] = await manual.all()
    assert ended.status.phase is WavePhase.COMPLETE
    await manual.store.delete(Wave, "", wave.name)

    other = await copied(manual, "other")
    await manual.config("third", "other:latest", [IMAGE_TRIGGER])
    await manual.look(*manual.waves.moved(None, other))
    [again] = await manual.all()
    assert (again.status.phase, again.status.approval) == (WavePhase.WAITING, None)
    await manual.reconcile("third", "base")
    assert await manual.names("third") == []
    assert await manual.names("base") == ["base-1", "base-2"]
    assert (await manual.current("third")).reason == "WaveApproval"


async def test_an_approval_does_not_hold_for_a_digest_that_comes_back(
    manual: WavesNamespace,
) -> None:
    await manual.imports("new")
    [wave] = await manual.all()
    await actions_of(manual).approve(wave.name, decision(manual))
    for mark in ("newer", "new"):
        manual.clock.advance(10)
        await manual.imports(mark)
        await manual.all()

    await manual.reconcile("base")
    assert await manual.names("base") == ["base-1"]
    assert [one.status.approval is None for one in await manual.all()] == [False, True, True]


async def test_a_stream_that_asks_holds_back_what_follows_it_alone(free: WavesNamespace) -> None:
    await copied(free, "mine")
    await free.config("own", "mine:latest", [IMAGE_TRIGGER])
    await free.built("own", "own-old")
    await asking(free, "mine")
    await free.imports("new")
    await copied(free, "mine")

    await free.reconcile("base", "own")
    assert await free.names("base") == ["base-1", "base-2"]
    assert await free.names("own") == ["own-1"]
    [wave] = await free.all()
    condition = await free.current("own")
    assert f"`upwell wave approve {wave.name} --stream mine -n {NAMESPACE}`" in condition.message
    assert [one.name for one in wave.status.held] == ["own"]
    assert "; 1 held back, BuildConfig shop/own: its change waits for app" in wave.status.message
    assert wave.status.phase is WavePhase.RUNNING

    mine_key = ObjectKey("ImageStream", NAMESPACE, "mine")
    await actions_of(free).approve_for(mine_key, wave.name, decision(free))
    await free.reconcile("own")
    assert await free.names("own") == ["own-1", "own-2"]


async def test_what_waits_for_a_stream_goes_on_at_once_when_that_is_approved(
    free: WavesNamespace,
) -> None:
    await asking(free)
    cache, configs = free.running()
    waves = wave_controller(free.wave_index, free.clock, asyncio.get_running_loop().time)
    tasks = [asyncio.create_task(one.run()) for one in (cache, configs, waves)]

    async def is_told() -> bool:
        message = (await free.current("base")).message
        return "`upwell wave approve" in message and "--stream debian" in message

    async def is_built() -> bool:
        return await free.names("base") == ["base-1", "base-2"]

    async def is_recorded() -> bool:
        return bool((await free.store.list(Wave)).items)

    try:
        await free.cache.ready(ImageStream)
        await free.moves("debian", "new")
        await until(is_recorded)
        await until(is_told)
        [wave] = (await free.store.list(Wave)).items
        await free.store.delete(Wave, "", wave.name)
        await until(is_recorded)
        await until(is_told)
        assert await free.names("base") == ["base-1"]
        [wave] = (await free.store.list(Wave)).items
        await actions_of(free).approve_for(STREAM, wave.name, decision(free))
        await until(is_built)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_both_approvals_that_are_missing_are_named(manual: WavesNamespace) -> None:
    await asking(manual)
    await manual.imports("new")
    [wave] = await manual.all()
    await manual.reconcile("base")
    approve, own = f"`upwell wave approve {wave.name}", f"--stream debian -n {NAMESPACE}`"
    message = (await manual.current("base")).message
    assert f"{approve}` gives it (role promoter or approver in all namespaces)" in message
    assert f"{approve} {own} gives it (role promoter or approver in namespace" in message

    await actions_of(manual).approve_for(STREAM, wave.name, decision(manual))
    await manual.reconcile("base")
    message = (await manual.current("base")).message
    assert (f"{approve}`" in message, own in message) == (True, False)


async def test_an_unknown_word_for_the_approval_waits_for_one(free: WavesNamespace) -> None:
    await asking(free, value="manul")
    await free.imports("new")
    await free.all()
    await free.reconcile("base")
    assert await free.names("base") == ["base-1"]
    condition = await free.current("base")
    assert condition.reason == "WaveApproval"
    assert f"{APPROVAL_ANNOTATION} is 'manul', which counts as manual" in condition.message


async def test_a_stream_approves_what_it_has_imported(free: WavesNamespace) -> None:
    await asking(free)
    await free.imports("new")
    [wave] = await free.all()
    actions = actions_of(free)
    await free.stream("other")
    with pytest.raises(RefusedError, match="has not imported the change"):
        await actions.approve_for(
            ObjectKey("ImageStream", NAMESPACE, "other"), wave.name, decision(free)
        )
    with pytest.raises(RefusedError, match="needs no approval"):
        await actions.approve(wave.name, decision(free))
    await actions.approve_for(STREAM, wave.name, decision(free))
    with pytest.raises(RefusedError, match="by ada"):
        await actions.approve_for(STREAM, wave.name, decision(free))


async def test_what_has_not_begun_is_not_built_by_a_cancelled_wave(free: WavesNamespace) -> None:
    await free.imports("new")
    [wave] = await free.all()
    await actions_of(free).cancel(wave.name, cancellation(free))
    await free.reconcile("base", "app")
    assert await free.names("base") == ["base-1"]
    condition = await free.current("base")
    assert condition.reason == "WaveCancelled"
    assert "broken" in condition.message
    [wave] = await free.all()
    assert wave.status.phase is WavePhase.CANCELLED
    with pytest.raises(RefusedError, match=r"has ended: .*cancelled by ada: broken"):
        await actions_of(free).cancel(wave.name, cancellation(free))

    await free.actions.instantiate(NAMESPACE, "base", BuildRequest())
    assert await free.names("base") == ["base-1", "base-2"], "a person builds on it all the same"


async def test_queued_builds_end_with_a_cancelled_wave_and_those_of_people_go_on(
    free: WavesNamespace,
) -> None:
    await free.config("third", "debian:latest", [IMAGE_TRIGGER])
    await free.built("third", "third-old")
    await free.imports("new")
    await free.reconcile("base")
    await free.actions.instantiate(NAMESPACE, "third", BuildRequest())
    [wave] = await free.all()
    await actions_of(free).cancel(wave.name, cancellation(free))
    await free.all()

    cancelled = {
        b.name for c in ("base", "third") for b in await free.builds(c) if b.status.cancelled
    }
    assert cancelled == {"base-2"}


@pytest.mark.parametrize("running", [False, True])
async def test_running_builds_end_with_a_cancelled_wave_if_that_is_said(
    free: WavesNamespace, *, running: bool
) -> None:
    await free.imports("new")
    await free.reconcile("base")
    await free.end("base-2", BuildPhase.RUNNING)
    [wave] = await free.all()
    actions = actions_of(free)
    await actions.cancel(wave.name, cancellation(free, running=running))
    await free.all()
    assert bool((await free.builds("base"))[-1].status.cancelled) is running
    if not running:
        await actions.cancel(wave.name, cancellation(free, running=True))
        await free.all()
        assert (await free.builds("base"))[-1].status.cancelled, "said later"


async def test_what_has_the_image_of_a_cancelled_wave_is_built_on_it_further(
    free: WavesNamespace,
) -> None:
    await free.imports("new")
    await free.built("base", "base-new")
    [wave] = await free.all()
    await actions_of(free).cancel(wave.name, cancellation(free))
    await free.stream("node", "node-1")
    config = await free.get("base")
    node = {"kind": "ImageStreamTag", "name": "node:latest"}
    trigger = {"type": "ImageChange", "imageChange": {"from": node}}
    document = config.spec.model_dump(by_alias=True)
    document["triggers"] = (*document["triggers"], trigger)
    await free.store.update(
        config.model_copy(update={"spec": type(config.spec).model_validate(document)})
    )

    await free.reconcile("base", "app")
    assert await free.names("base") == ["base-1", "base-2", "base-3"]
    assert await free.names("app") == ["app-1"], "has not begun"


async def test_a_cancelled_wave_keeps_back_until_the_image_changes_again(
    free: WavesNamespace,
) -> None:
    free.clock.advance(10)
    await free.imports("new")
    [wave] = await free.all()
    await actions_of(free).cancel(wave.name, cancellation(free))
    for name in ("base", "app"):  # whoever may delete what waits does not end it
        await free.store.delete(BuildConfig, NAMESPACE, name)
    await free.wave_index.ready()
    await free.all()
    await free.config("third", "debian:latest", [IMAGE_TRIGGER])
    await free.reconcile("third")
    assert (await free.current("third")).reason == "WaveCancelled"

    free.clock.advance(10)
    await free.imports("newer")
    old, new = await free.all()
    assert (old.status.phase, new.status.phase) == (WavePhase.CANCELLED, WavePhase.RUNNING)
    assert old.status.lifted is not None
    await free.reconcile("third")
    assert await free.names("third") == ["third-1"]

    free.clock.advance(10)
    await free.imports("new")
    assert [one.status.phase for one in await free.all()][-1] is WavePhase.RUNNING


async def test_what_failed_is_begun_again_once(free: WavesNamespace) -> None:
    await free.imports("new")
    await free.reconcile("base")
    await free.end("base-2", BuildPhase.FAILED)
    [wave] = await free.all()
    actions = actions_of(free)

    done = await actions.retry(wave.name, decision(free, reason="the mirror was down"))
    assert done.begun == ("BuildConfig shop/base",)
    assert await free.names("base") == ["base-1", "base-2", "base-3"]
    assert (await actions.retry(wave.name, decision(free))).begun == ()
    [wave] = await free.all()
    [told] = wave.status.retries
    assert (told.by, told.reason, told.begun) == ("ada", "the mirror was down", done.begun)
    assert wave.status.builds.failed == 0


async def test_what_cannot_begin_again_is_told(free: WavesNamespace) -> None:
    await free.imports("new")
    await free.reconcile("base")
    await free.end("base-2", BuildPhase.FAILED)
    config = await free.get("base")
    await free.store.update(config.with_metadata(annotations={PAUSED_ANNOTATION: "true"}))
    await free.wave_index.ready()
    [wave] = await free.all()

    done = await actions_of(free).retry(wave.name, decision(free))
    assert done.begun == ()
    assert [one.partition(":")[0] for one in done.left] == ["BuildConfig shop/base"]


async def test_a_wave_that_is_cancelled_meanwhile_begins_no_more(free: WavesNamespace) -> None:
    await free.config("third", "debian:latest", [IMAGE_TRIGGER])
    await free.reconcile("third")
    await free.end("third-1")
    await free.imports("new")
    for name in ("base", "third"):
        await free.reconcile(name)
        await free.end(f"{name}-2", BuildPhase.FAILED)
    [wave] = await free.all()
    actions = actions_of(free)
    begin = free.actions.instantiate

    async def begin_and_cancel(*arguments: Any) -> Build:
        build = await begin(*arguments)
        await actions.cancel(wave.name, cancellation(free))
        return build

    free.actions.instantiate = begin_and_cancel  # type: ignore[method-assign,assignment]
    done = await actions.retry(wave.name, decision(free))
    assert len(done.begun) == len(done.left) == 1
    assert "is cancelled (broken)" in done.left[0]


@pytest.mark.parametrize("how", ["paused", "cancelled", "unapproved"])
async def test_nothing_begins_again_while_a_wave_keeps_back(how: str) -> None:
    setup = await WavesNamespace.standing(EVERY if how == "unapproved" else ApprovalRules())
    await setup.imports("new")
    [wave] = await setup.all()
    if how == "paused":
        spec = wave.spec.model_copy(update={"paused": True})
        await setup.store.update(wave.model_copy(update={"spec": spec}))
    if how == "cancelled":
        await actions_of(setup).cancel(wave.name, cancellation(setup))
    with pytest.raises(RefusedError, match=r"paused|cancelled|approval"):
        await actions_of(setup).retry(wave.name, decision(setup))


@pytest.mark.parametrize(
    "ask",
    [
        lambda actions, setup: actions.approve("none", decision(setup)),
        lambda actions, setup: actions.cancel("none", cancellation(setup)),
        lambda actions, setup: actions.retry("none", decision(setup)),
    ],
)
async def test_a_wave_that_is_not_there_is_named(
    free: WavesNamespace, ask: Callable[..., object]
) -> None:
    with pytest.raises(NotFoundError, match="none"):
        await ask(actions_of(free), free)  # type: ignore[misc]


@pytest.mark.parametrize(
    "by",
    [
        "ada",
        "system:cluster-user:ada",
        "oidc:Ada@example.com",
        "system:serviceaccount:shop:bot",  # of which ada may have a token
        "system:cluster-user:system:serviceaccount:shop:bot",
    ],
)
async def test_who_may_be_the_person_who_had_it_imported_does_not_approve_it(
    manual: WavesNamespace, by: str
) -> None:
    await manual.imports("new")
    [wave] = await manual.all()
    asked = wave.spec.model_copy(update={"requested_by": "ada"})
    await manual.store.update(wave.model_copy(update={"spec": asked}))
    actions = actions_of(manual)
    with pytest.raises(RefusedError, match="so somebody else approves it"):
        await actions.approve(wave.name, decision(manual, by))
    done = await actions.approve(wave.name, decision(manual, "system:cluster-user:ben"))
    assert done.status.approval is not None
