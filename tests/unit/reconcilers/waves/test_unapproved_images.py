"""Changes that wait for approval, and whatever else would use their images by itself."""

from typing import Any

import pytest
from tests.support.builds.build_namespace import NAMESPACE
from tests.support.waves.namespace import IMAGE, WavesNamespace
from tests.unit.reconcilers.waves.test_kept_changes import (
    EVERY,
    NONE,
    STREAM,
    approve,
    rewrite,
    setup_of,
    tags,
)

from upwell.actions.rollouts import RolloutActions
from upwell.actions.waves import WaveActions
from upwell.api.apps import DeploymentConfig
from upwell.api.builds.build import BuildRequest
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.image import ImageStream, ImageStreamStatus, LookupPolicy, TagEvent
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.api.pipeline import ComponentSource, Pipeline, PipelineSpec, Stage
from upwell.api.promotion import Release
from upwell.api.waves.wave import WaveCancellation
from upwell.oci import Digest
from upwell.policy.builds.requests import BuildRefusedError
from upwell.policy.images.imported import MAX_HISTORY, with_items
from upwell.policy.images.streams import (
    StreamName,
    StreamTag,
    pull_specs,
    record_image,
)
from upwell.policy.rollouts.requests import RolloutRefusedError
from upwell.policy.rollouts.triggers import Reason
from upwell.policy.waves.changes import present_moves
from upwell.reconcilers.images.tracking import TagTracking, take_sources
from upwell.reconcilers.promotion.pipelines import RELEASE_CURRENT, PipelineReconciler
from upwell.reconcilers.rollouts.gate import ImageUpdate
from upwell.reconcilers.rollouts.local_images import LocalImageBarredError, LocalImages
from upwell.reconcilers.waves.gate import WaveGate

OLD, NEW = (str(Digest.of(mark)) for mark in (b"old", b"new"))
ASKED_BY = pytest.mark.parametrize("rules", [EVERY, NONE], ids=["waves", "stream"])


async def waiting(rules: Any) -> WavesNamespace:
    setup = await setup_of(rules)
    await setup.imports("new")
    await setup.all()
    return setup


async def follow(setup: WavesNamespace, name: str = "debian", namespace: str = NAMESPACE) -> None:
    """Let the tags of a stream take what their sources have."""
    stream = await setup.store.get(ImageStream, namespace, name)
    sources = await TagTracking(setup.cache).sources(stream)
    status = take_sources(stream, stream.status, sources, setup.clock())
    await setup.store.update_status(stream.with_status(status))
    await setup.wave_index.ready()


async def elsewhere(setup: WavesNamespace) -> None:
    """Create a stream of another namespace whose tag follows that of the stream."""
    source = {"kind": "ImageStreamTag", "name": "debian:latest", "namespace": NAMESPACE}
    document = {
        "metadata": {"name": "debian", "namespace": "other"},
        "spec": {"tags": [{"name": "latest", "from": source}]},
    }
    await setup.store.create(decode_as(ImageStream, document))
    await follow(setup, namespace="other")


class Line:
    """A Pipeline whose only component is a tag."""

    def __init__(self, setup: WavesNamespace, namespace: str = NAMESPACE) -> None:
        self._setup = setup
        self._namespace = namespace
        self._reconciler = PipelineReconciler(setup.store, setup.index, setup.clock)

    async def create(self) -> None:
        source = ObjectReference(kind="ImageStreamTag", name="debian:latest")
        part = ComponentSource(name="debian", from_=source)
        spec = PipelineSpec(components=(part,), stages=(Stage(name="prod"),), coalesce_seconds=0)
        metadata = ObjectMeta(name="line", namespace=self._namespace)
        await self._setup.store.create(Pipeline(metadata=metadata, spec=spec))

    async def released(self) -> list[str]:
        """Return the digests of the Releases, once all is decided."""
        pipeline = await self._stored()
        for _ in range(4):
            await self._reconciler.reconcile(pipeline.key)
        found = sorted((await self._setup.store.list(Release)).items, key=lambda x: x.spec.number)
        return [one.image.partition("@")[2] for x in found for one in x.spec.components]

    async def _stored(self) -> Pipeline:
        return await self._setup.store.get(Pipeline, self._namespace, "line")

    async def message(self) -> str:
        condition = find((await self._stored()).status.conditions, RELEASE_CURRENT)
        return (condition.message if condition is not None else None) or ""


@ASKED_BY
async def test_a_pipeline_makes_a_release_of_a_change_once_it_is_approved(rules: Any) -> None:
    setup = await setup_of(rules)
    line = Line(setup)
    await line.create()
    assert await line.released() == [OLD]
    await setup.imports("new")
    await setup.all()
    setup.clock.advance(7200)
    assert await line.released() == [OLD]
    assert "`upwell wave approve" in await line.message()

    await approve(setup, rules)
    assert await line.released() == [OLD, NEW]
    assert await line.message() == ""


async def test_a_new_pipeline_begins_with_nothing_that_waits() -> None:
    line = Line(await waiting(NONE))
    await line.create()
    assert await line.released() == []


async def test_a_pipeline_of_another_namespace_waits_for_the_stream_that_its_tag_follows() -> None:
    setup = await setup_of(NONE)
    await elsewhere(setup)
    line = Line(setup, "other")
    await line.create()
    assert await line.released() == [OLD]
    await setup.imports("new")
    await setup.all()
    await follow(setup, namespace="other")
    assert await line.released() == [OLD]


async def test_a_workload_of_another_namespace_waits_for_the_stream_that_its_tag_follows() -> None:
    setup = await setup_of(NONE)
    await elsewhere(setup)
    await setup.imports("new")
    await setup.all()
    await follow(setup, namespace="other")
    stream = await setup.store.get(ImageStream, "other", "debian")
    after, before = pull_specs(stream, "latest")
    workload = config(before).with_metadata(namespace="other")
    update = ImageUpdate(("c", False), before, after)
    gate = WaveGate(setup.index, setup.clock)
    bar = await gate.bar(workload, [update], {StreamName("other", "debian"): stream})
    assert bar is not None
    assert bar.reason is Reason.WAVE_APPROVAL


@ASKED_BY
async def test_a_reference_by_digest_waits_until_it_is_imported(rules: Any) -> None:
    setup = await waiting(rules)
    source = {"kind": "DockerImage", "name": f"{IMAGE.partition(':')[0]}@{NEW}"}
    await rewrite(setup, tags({"name": "latest", "from": source, "reference": True}))
    await follow(setup)
    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1"]


async def test_a_change_that_was_cancelled_unapproved_is_built_by_nobody() -> None:
    setup = await waiting(EVERY)
    [wave] = await setup.all()
    rollouts = RolloutActions(setup.store, setup.clock)
    actions = WaveActions(setup.wave_index, setup.actions, rollouts, setup.clock)
    cancellation = WaveCancellation(by="ada", at=setup.clock(), reason="bad")
    await actions.cancel(wave.name, cancellation)
    await setup.all()
    with pytest.raises(BuildRefusedError, match="nobody has approved"):
        await setup.actions.instantiate(NAMESPACE, "base", BuildRequest())


async def local(setup: WavesNamespace) -> LocalImages:
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    spec = stream.spec.model_copy(update={"lookup_policy": LookupPolicy(local=True)})
    await setup.store.update(stream.model_copy(update={"spec": spec}))
    return LocalImages(setup.store, setup.index.unapproved_changes)


@ASKED_BY
async def test_a_local_name_stands_for_the_image_before_a_change_that_waits(rules: Any) -> None:
    setup = await waiting(rules)
    names = await local(setup)
    assert (await names.resolve("debian", NAMESPACE)).endswith(OLD)
    await approve(setup, rules)
    assert (await names.resolve("debian", NAMESPACE)).endswith(NEW)


async def test_a_local_name_stands_for_nothing_where_all_waits() -> None:
    setup = await waiting(NONE)
    names = await local(setup)
    stream = await setup.store.get(ImageStream, NAMESPACE, STREAM.name)
    [history] = stream.status.tags
    only = history.model_copy(update={"items": history.items[:1]})
    await setup.store.update_status(
        stream.with_status(stream.status.model_copy(update={"tags": (only,)}))
    )
    with pytest.raises(LocalImageBarredError, match="waits for approval"):
        await names.resolve("debian", NAMESPACE)


def config(image: str) -> DeploymentConfig:
    source = {"kind": "ImageStreamTag", "name": "debian:latest"}
    params = {"automatic": True, "containerNames": ["c"], "from": source}
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }
    document = {
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {
            "template": template,
            "triggers": [{"type": "ImageChange", "imageChangeParams": params}],
        },
    }
    return decode_as(DeploymentConfig, document)


@ASKED_BY
async def test_a_rollout_by_hand_brings_a_change_once_it_is_approved(rules: Any) -> None:
    setup = await setup_of(rules)
    [before] = (await setup.store.get(ImageStream, NAMESPACE, "debian")).status.tags
    await setup.store.create(config(before.items[0].docker_image_reference))
    await setup.imports("new")
    await setup.all()
    rollouts = RolloutActions(setup.store, setup.clock, setup.index.bar_of_change)
    with pytest.raises(RolloutRefusedError, match="`upwell wave approve"):
        await rollouts.latest(DeploymentConfig, NAMESPACE, "web", again=False)

    await approve(setup, rules)
    done = await rollouts.latest(DeploymentConfig, NAMESPACE, "web", again=False)
    assert NEW in str(done.spec)


async def test_what_runs_nothing_yet_waits_for_nobody() -> None:
    setup = await waiting(NONE)
    await setup.store.create(config(" "))
    rollouts = RolloutActions(setup.store, setup.clock, setup.index.bar_of_change)
    done = await rollouts.latest(DeploymentConfig, NAMESPACE, "web", again=False)
    assert NEW in str(done.spec)


async def test_a_build_takes_no_change_that_it_was_not_made_for() -> None:
    setup = await waiting(NONE)
    tag = StreamTag(NAMESPACE, "debian", "latest")
    [first] = await setup.builds("base")
    image = f"registry.internal/{NAMESPACE}/debian@{NEW}"
    bar = await setup.index.bar_of_new(first, tag, image)
    assert bar is not None
    assert await setup.index.bar_of_new(first, tag, image.replace(NEW, OLD)) is None


async def test_a_copy_of_a_change_that_came_after_a_reference_waits_too() -> None:
    setup = await setup_of(NONE)
    imports = {"name": "latest", "from": {"kind": "DockerImage", "name": IMAGE}}
    await rewrite(setup, tags({**imports, "reference": True}))
    await follow(setup)
    await rewrite(setup, tags(imports))
    await setup.moves("debian", "new")
    await setup.all()
    copy = {"name": "mine", "from": {"kind": "ImageStreamTag", "name": "debian:latest"}}
    await rewrite(setup, tags(imports, copy))
    await follow(setup)
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    moves = dict(present_moves(stream))
    assert moves["mine"].digest == NEW
    assert moves["latest"].previous == OLD


def recorded(setup: WavesNamespace, status: ImageStreamStatus, mark: str) -> ImageStreamStatus:
    """Return a status after a push; of a mark with a colon, after a reference without an import."""
    reference, image = f"vendor.test/{mark}", ""
    if ":" not in mark:
        image = str(Digest.of(mark.encode()))
        reference = f"registry.internal/shop/debian@{image}"
    event = TagEvent(created=setup.clock(), docker_image_reference=reference, image=image)
    return record_image(status, "latest", event, changes={})


@pytest.mark.parametrize(
    ("others", "last"),
    [
        (["p"], "new"),
        ([f"p{number}" for number in range(MAX_HISTORY)], "new"),
        ([f"debian:{number}" for number in range(100, 100 + MAX_HISTORY)], "debian:11"),
    ],
    ids=["pruned", "pushes", "references"],
)
async def test_no_number_of_others_has_a_change_forgotten(others: list[str], last: str) -> None:
    setup = await waiting(NONE)
    await rewrite(setup, tags())
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    status = stream.status
    for mark in others:
        status = recorded(setup, status, mark)
    [history] = status.tags
    if len(others) == 1:
        pruned = with_items(history, history.items[:1])
        status = status.model_copy(update={"tags": (pruned,)})
    status = recorded(setup, status, last)
    assert len(status.tags[0].items) in {2, MAX_HISTORY}
    await setup.store.update_status(stream.with_status(status))
    await setup.wave_index.ready()
    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1"]
