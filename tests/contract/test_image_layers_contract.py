"""Contract of an image's layers: the lowest first, each as it is stored, as often as asked for."""

from collections.abc import Callable

import pytest
from tests.support.inventory.layer_archives import TAR, ImageInMemory, layer
from tests.support.registry.memory import RegistryInMemory

from upwell.inventory.interface import Layers
from upwell.oci import Descriptor, Digest, Reference
from upwell.registry.interface import DEFAULT_ACCESS
from upwell.registry.layers import RegistryLayers

CONTENTS = [layer(("bin/sh", "lower")), layer(("bin/app", "upper" * 50_000))]


def in_registry() -> RegistryLayers:
    registry = RegistryInMemory()
    registry.blobs = {Digest.of(content): content for content in CONTENTS}
    layers = [Descriptor(TAR, digest, len(content)) for digest, content in registry.blobs.items()]
    return RegistryLayers(registry, Reference.parse("registry.test/app:1"), layers, DEFAULT_ACCESS)


KINDS: dict[str, Callable[[], Layers]] = {
    "registry": in_registry,
    "memory": lambda: ImageInMemory(*CONTENTS),
}


@pytest.fixture(params=KINDS)
def image(request: pytest.FixtureRequest) -> Layers:
    return KINDS[request.param]()


def test_layers_are_described_from_the_lowest(image: Layers) -> None:
    assert [one.digest for one in image.layers] == [Digest.of(content) for content in CONTENTS]
    assert [one.size for one in image.layers] == [len(content) for content in CONTENTS]
    assert {one.media_type for one in image.layers} == {TAR}


async def test_a_layer_is_read_whole_and_again(image: Layers) -> None:
    for _ in range(2):
        for wanted, content in zip(image.layers, CONTENTS, strict=True):
            async with image.open(wanted) as pieces:
                assert b"".join([piece async for piece in pieces]) == content
