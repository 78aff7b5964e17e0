"""Images upstream of which nothing matters here: a Wave that has nothing to do, and no build."""

import pytest
from tests.support.builds.build_namespace import IMAGE_TRIGGER, NAMESPACE
from tests.support.waves.namespace import WavesNamespace

from upwell.api.image import IgnoredImage, ImageStream
from upwell.api.waves.wave import Wave, WaveDecision, WavePhase
from upwell.oci import Digest
from upwell.policy.waves.approval import ApprovalRules


async def passes_over(setup: WavesNamespace, mark: str, *, legacy: bool) -> None:
    """Let upstream name another image, of which the stream takes nothing."""
    setup.clock.advance(10)
    before = await setup.store.get(ImageStream, NAMESPACE, "debian")
    [history] = before.status.tags
    assert history.import_state is not None
    digest = str(Digest.of(mark.encode()))
    state = history.import_state.model_copy(
        update={"upstream_digest": digest, "last_check_time": setup.clock()}
    )
    if not legacy:
        ignored = IgnoredImage(
            digest=digest, seen=setup.clock(), reason="TimestampsOnly", message="but for times"
        )
        state = state.model_copy(update={"imported_digest": digest, "ignored": ignored})
    tags = (history.model_copy(update={"import_state": state}),)
    after = await setup.store.update_status(
        before.with_status(before.status.model_copy(update={"tags": tags}))
    )
    await setup.wave_index.ready()
    for key in {*setup.waves.moved(before, after)}:
        await setup.look(key)


@pytest.mark.parametrize("legacy", [True, False])
async def test_a_wave_without_effect_is_complete_and_builds_nothing(*, legacy: bool) -> None:
    setup = await WavesNamespace.standing()
    await passes_over(setup, "other platforms", legacy=legacy)
    [wave] = await setup.all()
    assert wave.spec.digest == str(Digest.of(b"other platforms"))
    assert wave.status.phase is WavePhase.COMPLETE
    why = "the manifest that is used here is the same" if legacy else "but for times"
    assert wave.status.message == f"nothing to do: {why}"
    await setup.reconcile("base", "app")
    assert await setup.names("base") == ["base-1"]
    setup.clock.advance(10)
    await setup.imports("new")
    assert [one.status.phase for one in await setup.all()][-1] is WavePhase.RUNNING


@pytest.mark.parametrize("legacy", [True, False])
async def test_what_waits_for_approval_waits_on_when_upstream_changes_without_effect(
    *, legacy: bool
) -> None:
    setup = await WavesNamespace.standing(ApprovalRules(all_images=True))
    await setup.imports("new", upstream="index" if legacy else "")
    [wave] = await setup.all()
    await passes_over(setup, "other platforms", legacy=legacy)
    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1"]
    assert (await setup.current("base")).reason == "WaveApproval"
    assert (await setup.store.get(Wave, "", wave.name)).status.phase is WavePhase.WAITING


@pytest.mark.parametrize("legacy", [True, False])
async def test_a_wave_ends_though_upstream_changes_without_effect_meanwhile(
    *, legacy: bool
) -> None:
    setup = await WavesNamespace.standing()
    await setup.imports("new", upstream="index" if legacy else "")
    [wave] = await setup.all()
    await passes_over(setup, "other platforms", legacy=legacy)
    assert (await setup.store.get(Wave, "", wave.name)).status.phase is WavePhase.RUNNING
    for name in ("base", "app"):
        await setup.built(name, f"{name}-new")
    await setup.all()
    ended = await setup.store.get(Wave, "", wave.name)
    assert ended.status.phase is WavePhase.COMPLETE
    assert "2 of 2 builds" in ended.status.message


@pytest.mark.parametrize("legacy", [True, False])
async def test_what_another_stream_takes_of_it_waits_for_approval(*, legacy: bool) -> None:
    setup = await WavesNamespace.standing(ApprovalRules(all_images=True))
    await passes_over(setup, "other platforms", legacy=legacy)
    assert [one.status.phase for one in await setup.all()] == [WavePhase.COMPLETE]
    setup.clock.advance(10)
    await setup.stream("debian", "other platforms")  # its tag asks for another platform now
    await setup.note_import("other platforms", "other platforms")
    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1"]
    await setup.wave_index.ready()
    await setup.look(*setup.waves.unrecorded(None, await setup.get("base")))
    assert [one.status.phase for one in await setup.all()][-1] is WavePhase.WAITING


@pytest.mark.parametrize("legacy", [True, False])
async def test_an_approval_goes_on_when_upstream_changes_without_effect(*, legacy: bool) -> None:
    setup = await WavesNamespace.standing(ApprovalRules(all_images=True))
    await setup.imports("new", upstream="index" if legacy else "")
    [wave] = await setup.all()
    given = WaveDecision(by="ada", at=setup.clock())
    status = wave.status.model_copy(update={"approval": given})
    await setup.store.update_status(wave.with_status(status))
    for name in ("base", "app"):
        await setup.built(name, f"{name}-new")
    [wave] = await setup.all()
    assert wave.status.phase is WavePhase.COMPLETE
    await passes_over(setup, "other platforms", legacy=legacy)
    await setup.config("third", "debian:latest", [IMAGE_TRIGGER])
    await setup.wave_index.ready()
    await setup.reconcile("third")
    assert await setup.names("third") == ["third-1"]


async def test_nothing_that_stands_on_it_is_no_wave() -> None:
    setup = WavesNamespace()
    await setup.imports("old")
    await passes_over(setup, "other", legacy=True)
    assert await setup.all() == []
