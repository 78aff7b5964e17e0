"""LimitRanges of images and of ImageStreams, where an image is pushed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.registry.hosted_images import CONFIG, image, push_blob

from upwell.api.core import LimitRange, LimitRangeItem, LimitRangeSpec
from upwell.api.image import ImageStream, NamedTagEventList, TagEvent
from upwell.api.meta import ObjectMeta
from upwell.oci import Digest, MediaType
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosting import ManifestPush
from upwell.server.distribution.image_limits import ImageLimits
from upwell.server.distribution.requests import DistributionError
from upwell.store.memory import MemoryStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def registry(tmp_path: Path) -> EmbeddedRegistry:
    made = EmbeddedRegistry(tmp_path, "registry.internal:5000")
    await push_blob(made, "shop/app", CONFIG)
    return made


async def limited(kind: str, name: str, most: str | int) -> tuple[MemoryStore, ImageLimits]:
    store = MemoryStore(clock=lambda: NOW)
    item = LimitRangeItem(type=kind, max={name: most})
    metadata = ObjectMeta(name="sizes", namespace="shop")
    await store.create(LimitRange(metadata=metadata, spec=LimitRangeSpec(limits=(item,))))
    return store, ImageLimits(store)


def pushed(mark: str, tag: str | None = "1", namespace: str = "shop") -> ManifestPush:
    return ManifestPush(f"{namespace}/app", image(mark), str(MediaType.OCI_MANIFEST), tag=tag)


async def test_an_image_has_the_size_of_what_lies_here(registry: EmbeddedRegistry) -> None:
    _, limits = await limited("openshift.io/Image", "storage", len(CONFIG) - 1)
    with pytest.raises(DistributionError, match=r"shop/app: the image has \d+ bytes .* sizes"):
        await limits.require(registry, pushed("a"))
    await limits.require(registry, pushed("a", namespace="other"))
    _, limits = await limited("openshift.io/Image", "storage", len(CONFIG))
    await limits.require(registry, pushed("a"))


@pytest.mark.parametrize("name", ["openshift.io/image-tags", "openshift.io/images"])
async def test_a_stream_has_so_many_tags_and_images(registry: EmbeddedRegistry, name: str) -> None:
    store, limits = await limited("openshift.io/ImageStream", name, 1)
    first = pushed("a")
    await limits.require(registry, first)
    event = TagEvent(
        created=NOW, docker_image_reference="x", image=str(Digest.of(first.raw)), generation=1
    )
    stream = ImageStream(metadata=ObjectMeta(name="app", namespace="shop"))
    status = stream.status.model_copy(
        update={"tags": (NamedTagEventList(tag="1", items=(event,)),)}
    )
    await store.update_status((await store.create(stream)).model_copy(update={"status": status}))

    await limits.require(registry, first)
    with pytest.raises(DistributionError, match=f"has {name}=1, and LimitRange sizes allows 1"):
        await limits.require(registry, pushed("b", "2"))
    await limits.require(registry, pushed("b", "inputs-0123456789abcdef"))
    await limits.require(registry, pushed("b", None))
