"""Contract of registries, each with images that were really pushed."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import UpstreamRegistry
from tests.support.registry.docker_registry import CONFIG, docker_registry, push_image
from tests.support.registry.embedded_server import serving
from tests.support.registry.memory import RegistryInMemory
from tests.support.registry.origins import StreamInMemory
from tests.support.registry.referrers import push_referrer, referrer_manifest

from upwell.oci import Digest, Manifest, Reference
from upwell.outbound.dialing import unrestricted
from upwell.registry.caching import CachingRegistry
from upwell.registry.client.client import RegistryClient
from upwell.registry.embedded.registry import EmbeddedRegistry
from upwell.registry.errors import (
    BlobUnknownError,
    InvalidAnswerError,
    ManifestUnknownError,
    RepositoryUnknownError,
)
from upwell.registry.forwarding import ForwardingRegistry
from upwell.registry.interface import Registry
from upwell.registry.pull_through import PullThroughRegistry
from upwell.registry.routed import RoutedRegistry
from upwell.server.metrics.counted_registry import CountedRegistry
from upwell.server.metrics.metrics import Metrics


@dataclass(frozen=True)
class RegistryUnderTest:
    """A registry that holds `image` as team/app, tags 1, 2 and latest."""

    registry: Registry
    host: str
    image: Manifest

    def reference(self, rest: str) -> Reference:
        return Reference.parse(f"{self.host}/{rest}")


@dataclass(frozen=True)
class FilledRegistry:
    """A served registry that holds the image, its storage in `folder`, and a client of it."""

    served: EmbeddedRegistry
    client: Registry
    folder: Path
    image: Manifest


TAGS = ("1", "2", "latest")
SIGNATURE = "application/vnd.example.signature"


def in_memory(upstream: FilledRegistry) -> RegistryInMemory:
    named = [f"{upstream.served.host}/team/app:{tag}" for tag in TAGS]
    referrer = referrer_manifest(upstream.image, SIGNATURE)
    tags = dict.fromkeys(named, upstream.image.digest)
    registry = RegistryInMemory(upstream.image, referrer, tags=tags)
    registry.blobs[Digest.of(CONFIG)] = CONFIG
    return registry


OVER: dict[str, Callable[[FilledRegistry], Registry]] = {
    "embedded": lambda upstream: upstream.served,
    "pull-through": lambda upstream: PullThroughRegistry(
        EmbeddedRegistry(upstream.folder, upstream.served.host), upstream.client, StreamInMemory()
    ),
    "client of embedded": lambda upstream: upstream.client,
    "forwarding": lambda upstream: ForwardingRegistry(upstream.client),
    "caching": lambda upstream: CachingRegistry(upstream.client),
    "counted": lambda upstream: CountedRegistry(upstream.client, Metrics()),
    "routed to the own": lambda upstream: RoutedRegistry(upstream.served, upstream.client),
    "routed to others": lambda upstream: RoutedRegistry(
        EmbeddedRegistry(upstream.folder / "own", "registry.internal"), upstream.client
    ),
    "vendor in memory": lambda upstream: UpstreamRegistry(upstream.served),
    "memory": in_memory,
}


@pytest.fixture(params=["client", *OVER])
async def stocked(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[RegistryUnderTest]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RegistryClient(unrestricted()))
        if request.param == "client":
            host = await stack.enter_async_context(docker_registry(tmp_path))
            image = await push_image(host, "team/app", *TAGS)
            await push_referrer(host, "team/app", image, SIGNATURE)
            yield RegistryUnderTest(client, host, image)
            return
        served = (await stack.enter_async_context(serving(tmp_path))).registry
        image = await push_image(served.host, "team/app", *TAGS)
        await push_referrer(served.host, "team/app", image, SIGNATURE)
        registry = OVER[request.param](FilledRegistry(served, client, tmp_path, image))
        yield RegistryUnderTest(registry, served.host, image)


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
    own = [tag for tag in tags if not tag.startswith("sha256-")]
    assert sorted(own) == ["1", "2", "latest"]


async def test_the_tags_of_an_unknown_repository_are_an_error(stocked: RegistryUnderTest) -> None:
    with pytest.raises(RepositoryUnknownError, match="team/none"):
        await stocked.registry.tags(stocked.reference("team/none"))


async def test_the_referrers_of_an_image_are_listed(stocked: RegistryUnderTest) -> None:
    reference = stocked.reference("team/app").with_digest(stocked.image.digest)
    (found,) = await stocked.registry.referrers_of(reference)
    referrer = referrer_manifest(stocked.image, SIGNATURE)
    assert (found.digest, found.size) == (referrer.digest, len(referrer.raw))
    assert found.artifact_type == SIGNATURE


async def test_what_nobody_refers_to_has_no_referrers(stocked: RegistryUnderTest) -> None:
    missing = Digest.of(b"missing")
    for rest in (f"team/app@{missing}", f"team/none@{missing}"):
        assert list(await stocked.registry.referrers_of(stocked.reference(rest))) == []
