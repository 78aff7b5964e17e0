"""Builds of Waves whose images move on, meet in one build, or change while they run."""

import pytest
from tests.support.builds.build_namespace import IMAGE_TRIGGER, NAMESPACE
from tests.support.waves.namespace import WavesNamespace

from upwell.api.builds.build import BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream, ImportState
from upwell.api.waves.wave import WavePhase
from upwell.oci import Digest
from upwell.store.interface import NotFoundError

PUBLICATIONS = 60
SECONDS = 10
BUILD = 20
"""Publications while one build runs."""


async def begin(setup: WavesNamespace, name: str) -> None:
    """Let a build begin if none runs."""
    builds = await setup.builds(name)
    queued = [one for one in builds if one.status.phase is BuildPhase.NEW]
    if queued and not any(one.status.phase is BuildPhase.RUNNING for one in builds):
        await setup.end(queued[0].name, BuildPhase.RUNNING)


async def test_a_base_that_is_published_every_ten_seconds_is_not_built_for_each() -> None:
    setup = await WavesNamespace.standing()
    for number in range(PUBLICATIONS):
        setup.clock.advance(SECONDS)
        await setup.imports(f"new-{number}")
        await setup.reconcile("base", "app")
        if number % BUILD == BUILD - 1:
            await setup.built("base", f"base-{number}")
        await begin(setup, "base")
    await setup.built("base", "base-last")
    await setup.reconcile("base")
    await begin(setup, "base")
    await setup.built("base", "base-very-last")
    await setup.built("app", "app-last")

    lengths = PUBLICATIONS // BUILD
    assert len(await setup.builds("base")) <= 1 + lengths + 2, "one in each length, and the last"
    assert len(await setup.builds("app")) <= 1 + lengths + 2
    waves = await setup.all()
    assert {one.status.phase for one in waves[:-1]} == {WavePhase.SUPERSEDED}
    assert waves[-1].status.phase is WavePhase.COMPLETE


async def test_a_diamonds_tip_is_built_once() -> None:
    setup = await WavesNamespace.standing()
    await setup.stream("side")
    await setup.stream("tip")
    await setup.config("side", "debian:latest", [IMAGE_TRIGGER])
    await setup.built("side", "side-old")
    app = {"kind": "ImageStreamTag", "name": "side:latest"}
    both = [IMAGE_TRIGGER, {"type": "ImageChange", "imageChange": {"from": app}}]
    await setup.config("tip", "base:latest", both)
    await setup.built("tip", "tip-old")

    await setup.imports("new")
    await setup.reconcile("tip")
    await setup.built("base", "base-new")
    await setup.reconcile("tip")
    assert await setup.names("tip") == ["tip-1"], "waits for the other side"
    await setup.built("side", "side-new")
    await setup.built("tip", "tip-new")
    await setup.reconcile("tip")
    assert await setup.names("tip") == ["tip-1", "tip-2"]
    await setup.built("app", "app-new")
    [wave] = await setup.all()
    assert (wave.status.phase, wave.status.builds.total) == (WavePhase.COMPLETE, 4)


async def alpine(setup: WavesNamespace, mark: str) -> None:
    """Let the image of another vendor change, and a stream import it."""
    source = {"kind": "DockerImage", "name": "other.test/alpine:3"}
    try:
        before = await setup.store.get(ImageStream, NAMESPACE, "alpine")
    except NotFoundError:
        tag = {"name": "latest", "from": source, "importPolicy": {"scheduled": True}}
        document = {
            "metadata": {"name": "alpine", "namespace": NAMESPACE},
            "spec": {"tags": (tag,)},
        }
        before = await setup.store.create(ImageStream.model_validate(document))
    await setup.stream("alpine", mark)
    stream = await setup.store.get(ImageStream, NAMESPACE, "alpine")
    digest = str(Digest.of(mark.encode()))
    state = ImportState(source=source["name"], imported_digest=digest, upstream_digest=digest)
    told = stream.status.tags[0].model_copy(update={"import_state": state})
    status = stream.status.model_copy(update={"tags": (told,)})
    after = await setup.store.update_status(stream.with_status(status))
    await setup.wave_index.ready()
    await setup.look(*setup.waves.moved(before, after))


async def test_two_waves_that_want_one_build_get_it_once() -> None:
    setup = await WavesNamespace.standing()
    await alpine(setup, "alpine-old")
    await setup.stream("both")
    tag = {"kind": "ImageStreamTag", "name": "alpine:latest"}
    triggers = [IMAGE_TRIGGER, {"type": "ImageChange", "imageChange": {"from": tag}}]
    await setup.config("both", "debian:latest", triggers)
    await setup.built("both", "both-old")

    setup.clock.advance(SECONDS)
    await setup.imports("new")
    await alpine(setup, "alpine-new")
    waves = {one.spec.image: one for one in await setup.all()}
    assert sorted(waves) == ["other.test/alpine:3", "vendor.test/debian:11"]
    for _ in range(3):
        await setup.reconcile("both")
    first, second = await setup.builds("both")
    pinned = {one.image.rpartition("@")[2] for one in second.spec.image_inputs}
    assert pinned == {str(Digest.of(mark)) for mark in (b"new", b"alpine-new")}

    await setup.built("both", "both-new")
    for _ in range(3):
        await setup.reconcile("both")
    assert await setup.names("both") == [first.name, second.name]
    waves = {one.spec.image: one for one in await setup.all()}
    assert waves["other.test/alpine:3"].status.phase is WavePhase.COMPLETE
    builds = waves["vendor.test/debian:11"].status.builds
    assert (builds.done, builds.total) == (1, 3), "base and app are to come"


async def test_a_graph_that_changes_while_a_wave_runs_is_looked_at_anew() -> None:
    setup = await WavesNamespace.standing()
    await setup.imports("new")
    [wave] = await setup.all()
    assert wave.status.builds.total == 2
    await setup.config("late", "debian:latest", [IMAGE_TRIGGER])
    await setup.store.delete(BuildConfig, NAMESPACE, "app")
    await setup.built("base", "base-new")
    await setup.wave_index.ready()
    [wave] = await setup.all()
    assert (wave.status.builds.done, wave.status.builds.total) == (1, 2)
    await setup.built("late", "late-new")
    assert [one.status.phase for one in await setup.all()] == [WavePhase.COMPLETE]


@pytest.mark.parametrize("tag", ["app:latest", "base:latest"])
async def test_a_cycle_ends_a_wave_in_waiting_and_builds_nothing_endlessly(tag: str) -> None:
    setup = await WavesNamespace.standing()
    config = await setup.get("base")
    back = {
        "type": "ImageChange",
        "imageChange": {"from": {"kind": "ImageStreamTag", "name": tag}},
    }
    document = config.spec.model_dump(by_alias=True)
    document["triggers"] = (*document["triggers"], back)
    spec = type(config.spec).model_validate(document)
    await setup.store.update(config.model_copy(update={"spec": spec}))

    await setup.imports("new")
    for number in range(5):
        await setup.reconcile("base", "app")
        for name in ("base", "app"):
            newest = (await setup.builds(name))[-1]
            if newest.status.phase is BuildPhase.NEW:
                await setup.built(name, f"{name}-{number}")
    assert len(await setup.names("base")) <= 3
    assert len(await setup.names("app")) <= 3
    assert len(await setup.all()) == 1
