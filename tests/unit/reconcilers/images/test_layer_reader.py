"""Layers of images that run: each manifest is read once, and a refusal is kept for a while."""

import pytest
from tests.support.clocks import SecondsClock, TickingClock
from tests.support.registry.made_images import made_image
from tests.support.registry.memory import RegistryInMemory

from upwell.oci import Platform
from upwell.reconcilers.images.layers import (
    MOST_READ,
    UNREAD_SECONDS,
    LayerReader,
    PulledImage,
)
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.store.memory import MemoryStore

MADE = made_image(b"base", b"app")
DIGEST = str(MADE.manifest.digest)
RUNS = PulledImage("shop", "registry.test/app:1", DIGEST)


@pytest.fixture
def registry() -> RegistryInMemory:
    return RegistryInMemory(MADE.manifest)


@pytest.fixture
def clock() -> SecondsClock:
    return SecondsClock()


@pytest.fixture
def reader(registry: RegistryInMemory, clock: SecondsClock) -> LayerReader:
    platform = Platform("linux", "amd64")
    return LayerReader(registry, PullSecrets(MemoryStore(TickingClock())), platform, clock)


async def test_a_manifest_is_read_once(registry: RegistryInMemory, reader: LayerReader) -> None:
    first = await reader.layers([RUNS])
    again = await reader.layers([RUNS])

    assert first == again == {DIGEST: tuple(str(one.digest) for one in MADE.manifest.layers)}
    assert len(registry.fetched) == 1


async def test_what_is_not_given_is_asked_for_again_later(
    registry: RegistryInMemory, clock: SecondsClock, reader: LayerReader
) -> None:
    registry.manifests.clear()
    assert await reader.layers([RUNS]) == {}
    registry.manifests[MADE.manifest.digest] = MADE.manifest
    assert await reader.layers([RUNS]) == {}

    clock.now += UNREAD_SECONDS
    assert DIGEST in await reader.layers([RUNS])


async def test_one_call_reads_no_more_than_so_many(reader: LayerReader) -> None:
    many = [PulledImage("shop", "registry.test/x:1", f"sha256:{n:064x}") for n in range(MOST_READ)]

    assert await reader.layers([*many, RUNS]) == {}
    assert DIGEST in await reader.layers([*many, RUNS])


async def test_names_that_are_none_give_nothing(reader: LayerReader) -> None:
    assert await reader.layers([PulledImage("shop", "UPPER CASE", DIGEST)]) == {}
