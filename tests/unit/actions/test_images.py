"""Tags taken away and images pushed by name, while others write the same stream."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import push
from tests.support.server.api_server import ApiClock
from tests.support.server.memory_actions import memory_actions

from upwell.api.image import (
    Image,
    ImageStream,
    ImageStreamMapping,
    ImageStreamSpec,
    TagReference,
)
from upwell.api.meta import ObjectMeta, Resource
from upwell.oci import Digest, Platform, Reference
from upwell.policy.images.proofs import DESCRIBED_ANNOTATION
from upwell.policy.images.relevance import CONTENT_ANNOTATION
from upwell.policy.images.streams import mapped, newest_image
from upwell.reconcilers.images.records import FIRST_SEEN_ANNOTATION, ImageRecords
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.interface import RequestAccess
from upwell.store.interface import ConflictError, NotFoundError
from upwell.store.memory import MemoryStore

OLD, NEW, OTHER = (Digest.of(mark) for mark in (b"old", b"new", b"other"))


def mapping(digest: Digest) -> ImageStreamMapping:
    return ImageStreamMapping(
        metadata=ObjectMeta(name="app"),
        tag="latest",
        image=Image(metadata=ObjectMeta(name=str(digest))),
    )


class ContestedStore(MemoryStore):
    """A store in which somebody else writes the stream right before the next write of ours."""

    contest: Callable[[ImageStream], ImageStream] | None = None

    async def update_status[R: Resource](self, resource: R) -> R:
        if self.contest is not None:
            change, self.contest = self.contest, None
            current = await self.get(ImageStream, "shop", "app")
            await super().update_status(change(current))
        return await super().update_status(resource)


class ImageActionsSetup:
    def __init__(self, folder: Path) -> None:
        self.clock = ApiClock()
        self.store = ContestedStore(self.clock)
        self.registry = EmbeddedRegistry(folder, "registry.internal:5000")
        made = memory_actions(self.store, self.store, self.clock, folder, self.registry)
        self.actions = made.actions.images

    async def stream(self) -> ImageStream:
        return await self.store.get(ImageStream, "shop", "app")

    def touched(self, stream: ImageStream) -> ImageStream:
        changes = {"docker_image_repository": "registry.internal:5000/shop/app"}
        return stream.with_status(stream.status.model_copy(update=changes))

    def pushed(self, stream: ImageStream) -> ImageStream:
        return mapped(stream, mapping(OTHER), self.clock())


@pytest.fixture
async def setup(tmp_path: Path) -> ImageActionsSetup:
    setup = ImageActionsSetup(tmp_path)
    metadata = ObjectMeta(name="app", namespace="shop")
    spec = ImageStreamSpec(tags=(TagReference(name="latest"), TagReference(name="kept")))
    stream = await setup.store.create(ImageStream(metadata=metadata, spec=spec))
    await setup.actions.map_image(stream, mapping(OLD))
    return setup


async def test_what_a_client_says_of_an_image_decides_nothing_and_gives_way(
    setup: ImageActionsSetup,
) -> None:
    digest = await push(setup.registry, "shop/app:latest", "mark")
    forged = ObjectMeta(
        name=str(digest),
        labels={"trusted": "yes"},
        annotations={
            CONTENT_ANNOTATION: "as before",
            FIRST_SEEN_ANNOTATION: "1999-01-01T00:00:00Z",
        },
    )
    image = Image(metadata=forged, docker_image_metadata={"Config": {"User": "nobody"}})
    wanted = mapping(digest).model_copy(update={"image": image})
    await setup.actions.map_image(await setup.stream(), wanted)
    kept = await setup.store.get(Image, "", str(digest))
    assert kept.annotations == {DESCRIBED_ANNOTATION: "shop"}
    assert kept.labels == {}

    records = ImageRecords(
        setup.store, setup.registry, [Platform("linux", "amd64")], setup.registry.host
    )
    assert await records.find(str(digest)) is None
    assert await records.content(str(digest)) is None
    pinned = Reference.parse("registry.internal:5000/shop/app").with_digest(digest)
    learned = await records.learn(pinned, RequestAccess(), setup.clock())
    stored = await setup.store.get(Image, "", str(digest))
    assert stored.docker_image_metadata == learned.docker_image_metadata != {}
    assert "nobody" not in repr(stored.docker_image_metadata)
    assert set(stored.annotations) == {CONTENT_ANNOTATION, FIRST_SEEN_ANNOTATION}
    await setup.actions.map_image(await setup.stream(), wanted)
    assert await setup.store.get(Image, "", str(digest)) == stored


async def test_a_tag_goes_with_its_declaration_its_history_and_the_push(
    setup: ImageActionsSetup,
) -> None:
    await push(setup.registry, "shop/app:latest", "mark")
    setup.store.contest = setup.touched
    await setup.actions.remove_tag("shop", "app", "latest")

    stream = await setup.stream()
    assert [tag.name for tag in stream.spec.tags] == ["kept"]
    assert stream.status.tags == ()
    assert stream.status.docker_image_repository
    assert await setup.registry.tag_digest("shop/app", "latest") is None


@pytest.mark.parametrize(("stream", "tag"), [("app", "none"), ("other", "latest")])
async def test_what_is_no_tag_is_not_found(setup: ImageActionsSetup, stream: str, tag: str) -> None:
    with pytest.raises(NotFoundError):
        await setup.actions.remove_tag("shop", stream, tag)


async def test_an_image_is_mapped_although_the_stream_is_written_meanwhile(
    setup: ImageActionsSetup,
) -> None:
    setup.store.contest = setup.touched
    await setup.actions.map_image(await setup.stream(), mapping(NEW))

    stream = await setup.stream()
    assert newest_image(stream, "latest") == str(NEW)
    assert [event.image for event in stream.status.tags[0].items] == [str(NEW), str(OLD)]
    assert (await setup.store.get(Image, "", str(NEW))).name == str(NEW)


async def test_the_same_image_again_changes_nothing(setup: ImageActionsSetup) -> None:
    before = await setup.stream()
    await setup.actions.map_image(before, mapping(OLD))
    assert await setup.stream() == before


async def test_a_mapping_is_proven_later_and_stays_so(setup: ImageActionsSetup) -> None:
    async def unproven(*, proven: bool) -> list[bool | None]:
        await setup.actions.map_image(await setup.stream(), mapping(OLD), proven=proven)
        return [event.unproven for event in (await setup.stream()).status.tags[0].items]

    assert [await unproven(proven=one) for one in (False, True, False)] == [[True], [None], [None]]


async def test_another_image_that_came_meanwhile_is_a_conflict(setup: ImageActionsSetup) -> None:
    setup.store.contest = setup.pushed
    with pytest.raises(ConflictError, match="another image was pushed to latest meanwhile"):
        await setup.actions.map_image(await setup.stream(), mapping(NEW))
    assert newest_image(await setup.stream(), "latest") == str(OTHER)
