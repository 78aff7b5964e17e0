"""Changes that wait for approval while the tag that has them declares something else."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.builds.build_namespace import IMAGE_TRIGGER, NAMESPACE
from tests.support.waves.namespace import IMAGE, WavesNamespace

from upwell.actions.rollouts import RolloutActions
from upwell.actions.waves import WaveActions
from upwell.api.builds.build import BuildRequest
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream, ImportState, TagReference
from upwell.api.meta import ObjectKey
from upwell.api.waves.wave import APPROVAL_ANNOTATION, WaveDecision, WavePhase
from upwell.oci import Digest
from upwell.policy.builds.requests import BuildRefusedError
from upwell.policy.images.imported import change_behind
from upwell.policy.images.streams import forget_imports
from upwell.policy.waves.approval import ApprovalRules
from upwell.reconcilers.images.tracking import TagTracking, take_sources

EVERY = ApprovalRules(all_images=True)
NONE = ApprovalRules()
STREAM = ObjectKey("ImageStream", NAMESPACE, "debian")


def tags(*declared: dict[str, Any]) -> Callable[[ImageStream], ImageStream]:
    def change(stream: ImageStream) -> ImageStream:
        found = tuple(TagReference.model_validate(one) for one in declared)
        spec = stream.spec.model_copy(update={"tags": found})
        names = {one["name"] for one in declared if "from" in one}
        status = forget_imports(stream.status, names)
        return stream.model_copy(update={"spec": spec, "status": status})

    return change


def failing(stream: ImageStream) -> ImageStream:
    """Return a stream of which another source is declared, that gives nothing."""
    source = {"kind": "DockerImage", "name": "vendor.test/nowhere:1"}
    changed = tags({"name": "latest", "from": source})(stream)
    [history] = changed.status.tags
    state = ImportState(source="vendor.test/nowhere:1", failures=3)
    told = history.model_copy(update={"import_state": state})
    return changed.with_status(changed.status.model_copy(update={"tags": (told,)}))


CHANGES = {
    "undeclared": tags(),
    "annotations alone": tags({"name": "latest"}),
    "another source that fails": failing,
}


async def rewrite(setup: WavesNamespace, change: Callable[[ImageStream], ImageStream]) -> None:
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    changed = change(stream)
    written = await setup.store.update(changed)
    await setup.store.update_status(written.with_status(changed.status))
    await setup.wave_index.ready()


async def setup_of(rules: ApprovalRules) -> WavesNamespace:
    """Return a namespace in which a change waits, of a stream that asks where no rule does."""
    setup = await WavesNamespace.standing(rules)
    if rules.are_none:
        stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
        annotations = {APPROVAL_ANNOTATION: "manual"}
        await setup.store.update(stream.with_metadata(annotations=annotations))
    return setup


async def approve(setup: WavesNamespace, rules: ApprovalRules) -> None:
    actions = WaveActions(
        setup.wave_index,
        setup.actions,
        RolloutActions(setup.store, setup.clock),
        setup.clock,
    )
    wave = (await setup.all())[-1]
    decision = WaveDecision(by="ada", at=setup.clock())
    if rules.are_none:
        await actions.approve_for(STREAM, wave.name, decision)
    else:
        await actions.approve(wave.name, decision)


@pytest.mark.parametrize("rules", [EVERY, NONE], ids=["waves", "stream"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_change_waits_on_whatever_its_tag_declares_since(
    change: Callable[[ImageStream], ImageStream], rules: ApprovalRules
) -> None:
    setup = await setup_of(rules)
    await setup.imports("new")
    await setup.all()
    await rewrite(setup, change)
    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1"]
    with pytest.raises(BuildRefusedError, match="upwell wave approve"):
        await setup.actions.instantiate(NAMESPACE, "base", BuildRequest())

    await approve(setup, rules)
    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1", "base-2"]


@pytest.mark.parametrize("rules", [EVERY, NONE], ids=["waves", "stream"])
async def test_it_waits_and_can_be_approved_also_when_others_have_moved_on(
    rules: ApprovalRules,
) -> None:
    setup = await setup_of(rules)
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    other = stream.with_metadata(name="other", resource_version="", uid="", annotations={})
    made = await setup.store.create(other)
    await setup.store.update_status(made.with_status(stream.status))
    await setup.imports("new")
    await rewrite(setup, tags())
    setup.clock.advance(60)
    change = await setup.moves("other", "newer")
    await setup.wave_index.ready()
    await setup.look(*setup.waves.moved(*change))
    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1"]

    [first, *_] = await setup.all()
    assert first.spec.digest == str(Digest.of(b"new"))
    assert first.status.phase is not WavePhase.SUPERSEDED


async def test_a_retired_tag_keeps_no_wave_open_for_those_who_ask_for_no_approval() -> None:
    setup = await WavesNamespace.standing()
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    other = stream.with_metadata(name="other", resource_version="", uid="")
    made = await setup.store.create(other)
    await setup.store.update_status(made.with_status(stream.status))
    await setup.imports("new")
    await rewrite(setup, tags())
    setup.clock.advance(60)
    change = await setup.moves("other", "newer")
    await setup.wave_index.ready()
    await setup.look(*setup.waves.moved(*change))
    [first, *others] = await setup.all()
    assert first.status.phase is WavePhase.SUPERSEDED
    assert not others, "nothing follows the tag that has the newer one"


async def test_it_waits_on_in_a_tag_of_the_stream_that_has_copied_it() -> None:
    setup = await setup_of(NONE)
    await setup.imports("new")
    await setup.all()
    source = {"kind": "DockerImage", "name": IMAGE}
    follows = {"kind": "ImageStreamTag", "name": "debian:latest"}
    tracking = TagTracking(setup.cache)
    for copy in ({"name": "mine", "from": follows}, {"name": "mine"}):
        await rewrite(setup, tags({"name": "latest", "from": source}, copy))
        stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
        sources = await tracking.sources(stream)
        status = take_sources(stream, stream.status, sources, setup.clock())
        await setup.store.update_status(stream.with_status(status))
    await setup.stream("debian", "pushed")
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    history = stream.status.tag("mine")
    assert history is not None
    change = change_behind(history)
    assert change is not None
    assert change.digest == str(Digest.of(b"new")), "that which it has copied"

    await setup.config("third", "debian:mine", [IMAGE_TRIGGER])
    await setup.wave_index.ready()
    await setup.reconcile("third")
    assert await setup.names("third") == []


@pytest.mark.parametrize("rules", [EVERY, NONE], ids=["waves", "stream"])
async def test_a_tag_that_refers_without_an_import_names_nothing_that_was_approved(
    rules: ApprovalRules,
) -> None:
    setup = await setup_of(rules)
    await setup.imports("new")
    await setup.all()
    source = {"kind": "DockerImage", "name": IMAGE}
    await rewrite(setup, tags({"name": "latest", "from": source, "reference": True}))
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    sources = await TagTracking(setup.cache).sources(stream)
    status = take_sources(stream, stream.status, sources, setup.clock())
    await setup.store.update_status(stream.with_status(status))

    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1"]
    condition = await setup.current("base")
    assert condition.reason == "WaveApproval"
    assert "without an import" in condition.message
    with pytest.raises(BuildRefusedError, match="without an import"):
        await setup.actions.instantiate(NAMESPACE, "base", BuildRequest())


async def test_a_paused_wave_holds_what_a_tag_has_that_is_not_declared_any_more() -> None:
    setup = await WavesNamespace.standing()
    await setup.imports("new")
    [wave] = await setup.all()
    await setup.store.update(
        wave.model_copy(update={"spec": wave.spec.model_copy(update={"paused": True})})
    )
    await rewrite(setup, tags())
    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1"]
    assert (await setup.current("base")).reason == "WavePaused"


async def test_a_plan_of_an_image_has_no_tag_that_imports_it_no_more() -> None:
    setup = await WavesNamespace.standing()
    await setup.imports("new")
    await rewrite(setup, tags())
    view = await setup.wave_index.plan(IMAGE, NAMESPACE, "", setup.clock())
    assert not view.impact.steps


async def test_what_an_earlier_version_has_stored_is_a_change_too() -> None:
    setup = await setup_of(NONE)
    await setup.imports("new")
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    document = {
        "metadata": {"name": "old", "namespace": NAMESPACE},
        "spec": {"tags": [one.model_dump(by_alias=True) for one in stream.spec.tags]},
    }
    old = decode_as(ImageStream, document)
    [history] = stream.status.tags
    items = tuple(one.model_copy(update={"imported": None}) for one in history.items)
    bare = history.model_copy(update={"items": items})
    told = old.with_status(stream.status.model_copy(update={"tags": (bare,)})).status.tags[0]
    assert change_behind(told) == change_behind(history)


@pytest.mark.parametrize("rules", [EVERY, NONE], ids=["waves", "stream"])
async def test_files_of_an_image_that_no_trigger_follows_wait_too(rules: ApprovalRules) -> None:
    setup = await setup_of(rules)
    await setup.stream("other", "other-old")
    files = {
        "from": {"kind": "ImageStreamTag", "name": "debian:latest"},
        "paths": ({"sourcePath": "/bin/.", "destinationDir": "bin"},),
    }
    source = {"dockerfile": "FROM base\n", "images": (files,)}
    await setup.config("third", "other:latest", [IMAGE_TRIGGER], source=source)
    await setup.reconcile("third")
    assert await setup.names("third") == ["third-1"]
    await setup.end("third-1")

    await setup.imports("new")
    await setup.all()
    await setup.stream("other", "other-new")
    await setup.reconcile("third")
    assert await setup.names("third") == ["third-1"]
    assert (await setup.current("third")).reason == "WaveApproval"
    with pytest.raises(BuildRefusedError, match="upwell wave approve"):
        await setup.actions.instantiate(NAMESPACE, "third", BuildRequest())
    await approve(setup, rules)
    await setup.reconcile("third")
    assert await setup.names("third") == ["third-1", "third-2"]
