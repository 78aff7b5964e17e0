"""Content of other registries through the embedded one, over HTTP and as Podman pulls it."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from tests.support.registry.docker_registry import docker_registry
from tests.support.registry.embedded_server import serving_registry
from tests.support.registry.layered_images import push_index, push_layered

from upwell.oci import Digest, Reference
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.errors import BlobUnknownError, ManifestUnknownError, RegistryUnavailableError
from upwell.registry.origins import Origin
from upwell.registry.pull_through import PullThroughRegistry

STREAM = "shop/debian"


@dataclass
class Streams:
    """Implements ImageOrigins from what a test says."""

    tags: dict[str, Digest] = field(default_factory=dict)
    origins: dict[Digest, Reference] = field(default_factory=dict)

    async def digest(self, repository: str, tag: str) -> Digest | None:
        return self.tags.get(tag) if repository == STREAM else None

    async def find(self, repository: str, digest: Digest) -> Origin | None:
        found = self.origins.get(digest) if repository == STREAM else None
        return Origin(found) if found else None


@dataclass
class Site:
    root: Path
    client: RegistryClient
    vendor: str
    streams: Streams
    registry: PullThroughRegistry
    host: str

    @property
    def pusher(self) -> RegistryPusher:
        return RegistryPusher(self.client.connection)

    def follow(self, tag: str, digest: Digest) -> None:
        self.streams.tags[tag] = digest
        self.streams.origins[digest] = Reference.parse(f"{self.vendor}/library/debian@{digest}")

    def reference(self, rest: str) -> Reference:
        return Reference.parse(f"{self.host}/{rest}")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RegistryClient())
        (tmp_path / "vendor").mkdir()
        vendor = await stack.enter_async_context(docker_registry(tmp_path / "vendor"))
        streams = Streams()
        root = tmp_path / "own"

        def create(host: str) -> PullThroughRegistry:
            return PullThroughRegistry(root, host, client, streams)

        registry = await stack.enter_async_context(serving_registry(create))
        assert isinstance(registry, PullThroughRegistry)
        yield Site(root, client, vendor, streams, registry, registry.host)


async def test_a_tag_is_pulled_through_piece_by_piece(site: Site) -> None:
    layer = os.urandom(200_000)
    image = await push_layered(site.pusher, f"{site.vendor}/library/debian:11", layer)
    site.follow("11", image.digest)
    found = await site.client.manifest(site.reference(f"{STREAM}:11"))
    assert found.raw == image.raw
    own = site.reference(STREAM)
    async with site.client.open_blob(own, Digest.of(layer)) as chunks:
        assert b"".join([chunk async for chunk in chunks]) == layer
    assert (await site.client.resolve(own.with_digest(image.digest))).digest == image.digest


async def test_what_was_pulled_through_needs_no_upstream(site: Site) -> None:
    image = await push_layered(site.pusher, f"{site.vendor}/library/debian:11", b"layer")
    site.follow("11", image.digest)
    own = site.reference(f"{STREAM}:11")
    await site.client.manifest(own)
    await site.client.blob(own, Digest.of(b"layer"), 100)
    restarted = PullThroughRegistry(site.root, site.host, site.client, site.streams)
    site.streams.origins[image.digest] = Reference.parse("127.0.0.1:1/library/debian")
    assert await restarted.blob(own, Digest.of(b"layer"), 100) == b"layer"
    with pytest.raises(RegistryUnavailableError):  # named by the image, but not asked for before
        await restarted.blob(own, image.config.digest, 100)


async def test_after_a_restart_the_rest_of_an_image_is_found(site: Site) -> None:
    image = await push_layered(site.pusher, f"{site.vendor}/library/debian:11", b"layer")
    index = await push_index(site.pusher, f"{site.vendor}/library/debian:11", amd64=image)
    site.follow("11", index.digest)
    own = site.reference(f"{STREAM}:11")
    await site.client.manifest(own)
    await site.client.manifest(own.with_digest(image.digest))
    restarted = PullThroughRegistry(site.root, site.host, site.client, site.streams)
    assert await restarted.blob(own, Digest.of(b"layer"), 100) == b"layer"


async def test_one_fetch_serves_all_who_ask(site: Site) -> None:
    layer = os.urandom(400_000)
    image = await push_layered(site.pusher, f"{site.vendor}/library/debian:11", layer)
    site.follow("11", image.digest)
    own = site.reference(f"{STREAM}:11")

    async def pull() -> Digest:
        found = await site.registry.manifest(own)
        return Digest.of(await site.registry.blob(own, Digest.of(layer), len(layer)) + found.raw)

    assert len({await pull for pull in [asyncio.create_task(pull()) for _ in range(8)]}) == 1
    blobs = list((site.root / "blobs").rglob(Digest.of(layer).hex))
    assert len(blobs) == 1


async def test_nothing_that_no_stream_names_is_fetched(site: Site) -> None:
    known = await push_layered(site.pusher, f"{site.vendor}/library/debian:11", b"known")
    other = await push_layered(site.pusher, f"{site.vendor}/library/debian:12", b"other")
    site.follow("11", known.digest)
    own = site.reference(STREAM)
    await site.client.manifest(own.with_digest(known.digest))
    with pytest.raises(ManifestUnknownError):
        await site.client.manifest(own.with_digest(other.digest))
    with pytest.raises(BlobUnknownError):
        await site.client.blob(own, Digest.of(b"other"), 100)
    with pytest.raises(ManifestUnknownError):
        await site.client.manifest(site.reference("elsewhere/debian").with_digest(known.digest))


async def test_a_tag_is_what_its_stream_says_even_after_a_push(site: Site) -> None:
    pushed = await push_layered(site.pusher, f"{site.host}/{STREAM}:11", b"pushed")
    image = await push_layered(site.pusher, f"{site.vendor}/library/debian:11", b"imported")
    own = site.reference(f"{STREAM}:11")
    assert (await site.client.resolve(own)).digest == pushed.digest
    site.follow("11", image.digest)
    assert (await site.client.resolve(own)).digest == image.digest


async def test_an_image_of_another_stream_is_linked(site: Site) -> None:
    image = await push_layered(site.pusher, f"{site.host}/dev/app:1", b"built")
    site.streams.tags["prod"] = image.digest
    site.streams.origins[image.digest] = Reference.parse(f"{site.host}/dev/app@{image.digest}")
    own = site.reference(f"{STREAM}:prod")
    assert (await site.client.manifest(own)).raw == image.raw
    assert await site.client.blob(own, Digest.of(b"built"), 100) == b"built"


async def test_an_upstream_that_is_away_is_said_in_the_answer(site: Site) -> None:
    digest = Digest.of(b"x")
    site.streams.tags["11"] = digest
    site.streams.origins[digest] = Reference.parse(f"127.0.0.1:1/library/debian@{digest}")
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{site.host}/v2/{STREAM}/manifests/11") as answer,
    ):
        assert answer.status == 503
        assert (await answer.json())["errors"][0]["code"] == "UNAVAILABLE"


async def test_other_clients_pull_an_image_that_was_only_imported(
    site: Site, tmp_path: Path
) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("needs skopeo: apt install skopeo")
    image = await push_layered(site.pusher, f"{site.vendor}/library/debian:11", os.urandom(9000))
    index = await push_index(site.pusher, f"{site.vendor}/library/debian:11", amd64=image)
    site.follow("11", index.digest)
    process = await asyncio.create_subprocess_exec(
        skopeo,
        "--insecure-policy",
        "copy",
        "--override-arch=amd64",
        "--src-tls-verify=false",
        f"docker://{site.host}/{STREAM}:11",
        f"dir:{tmp_path / 'copy'}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert (tmp_path / "copy" / image.layers[0].digest.hex).stat().st_size == 9000
