"""Contract of registries, each with images that were really pushed."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import UpstreamRegistry
from tests.support.registry.docker_registry import CONFIG, docker_registry, push_image
from tests.support.registry.embedded_server import serving

from upwell.oci import Digest, Manifest, Reference
from upwell.registry.caching import CachingRegistry
from upwell.registry.client.client import RegistryClient
from upwell.registry.embedded.registry import EmbeddedRegistry
from upwell.registry.errors import (
    BlobUnknownError,
    InvalidAnswerError,
    ManifestUnknownError,
)
from upwell.registry.hosting import RepositoryUnknownError
from upwell.registry.interface import Registry
from upwell.registry.routed import RoutedRegistry


@dataclass(frozen=True)
class RegistryUnderTest:
    """A registry that holds `image` as team/app, tags 1, 2 and latest."""

    registry: Registry
    host: str
    image: Manifest

    def reference(self, rest: str) -> Reference:
        return Reference.parse(f"{self.host}/{rest}")


type Over = Callable[[EmbeddedRegistry, Registry, Path], Registry]

OVER: dict[str, Over] = {
    "embedded": lambda embedded, _, __: embedded,
    "client of embedded": lambda _, client, __: client,
    "caching": lambda _, client, __: CachingRegistry(client),
    "routed to the own": lambda embedded, client, _: RoutedRegistry(embedded, client),
    "routed to others": lambda _, client, folder: RoutedRegistry(
        EmbeddedRegistry(folder / "own", "registry.internal"), client
    ),
    "vendor in memory": lambda embedded, _, __: UpstreamRegistry(embedded),
}
"""Registries over one that is served, a client and a folder."""


@pytest.fixture(params=["client", *OVER])
async def stocked(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[RegistryUnderTest]:
    async with AsyncExitStack() as stack:
        registry: Registry = await stack.enter_async_context(RegistryClient())
        if request.param == "client":
            host = await stack.enter_async_context(docker_registry(tmp_path))
        else:
            served = await stack.enter_async_context(serving(tmp_path))
            host = served.host
            registry = OVER[request.param](served.registry, registry, tmp_path)
        image = await push_image(host, "team/app", "1", "2", "latest")
        yield RegistryUnderTest(registry, host, image)


async def test_a_tag_resolves_to_what_was_pushed(stocked: RegistryUnderTest) -> None:
    found = await stocked.registry.resolve(stocked.reference("team/app:1"))
    assert found.digest == stocked.image.digest
    assert found.media_type == stocked.image.media_type
    assert found.size == len(stocked.image.raw)


async def test_a_digest_resolves_to_itself(stocked: RegistryUnderTest) -> None:
    reference = stocked.reference("team/app").with_digest(stocked.image.digest)
    assert (await stocked.registry.resolve(reference)).digest == stocked.image.digest


async def test_a_manifest_comes_byte_for_byte(stocked: RegistryUnderTest) -> None:
    by_tag = await stocked.registry.manifest(stocked.reference("team/app:1"))
    by_digest = await stocked.registry.manifest(
        stocked.reference("team/app").with_digest(stocked.image.digest)
    )
    assert by_tag == by_digest == stocked.image


@pytest.mark.parametrize(
    "rest", ["team/app:missing", "team/none:1", f"team/app@{Digest.of(b'missing')}"]
)
async def test_an_unknown_manifest_is_named(stocked: RegistryUnderTest, rest: str) -> None:
    reference = stocked.reference(rest)
    with pytest.raises(ManifestUnknownError) as resolving:
        await stocked.registry.resolve(reference)
    with pytest.raises(ManifestUnknownError) as fetching:
        await stocked.registry.manifest(reference)
    assert resolving.value.reference == fetching.value.reference == reference


async def test_a_blob_comes_whole_and_within_its_limit(stocked: RegistryUnderTest) -> None:
    app, digest = stocked.reference("team/app"), Digest.of(CONFIG)
    assert await stocked.registry.blob(app, digest, len(CONFIG)) == CONFIG
    with pytest.raises(InvalidAnswerError):
        await stocked.registry.blob(app, digest, len(CONFIG) - 1)


async def test_a_blob_streams(stocked: RegistryUnderTest) -> None:
    async with stocked.registry.open_blob(
        stocked.reference("team/app"), Digest.of(CONFIG)
    ) as chunks:
        assert b"".join([chunk async for chunk in chunks]) == CONFIG


async def test_an_unknown_blob_is_named(stocked: RegistryUnderTest) -> None:
    digest = Digest.of(b"missing")
    with pytest.raises(BlobUnknownError) as caught:
        await stocked.registry.blob(stocked.reference("team/app"), digest, 100)
    assert caught.value.digest == digest
    with pytest.raises(BlobUnknownError):
        async with stocked.registry.open_blob(stocked.reference("team/app"), digest):
            pass


async def test_every_tag_is_listed(stocked: RegistryUnderTest) -> None:
    tags = await stocked.registry.tags(stocked.reference("team/app"))
    assert sorted(tags) == ["1", "2", "latest"]


async def test_the_tags_of_an_unknown_repository_are_an_error(stocked: RegistryUnderTest) -> None:
    with pytest.raises(RepositoryUnknownError, match="team/none"):
        await stocked.registry.tags(stocked.reference("team/none"))
