"""Content of other registries through the embedded one, over HTTP and as Podman pulls it."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from tests.support.registry.docker_registry import docker_registry
from tests.support.registry.embedded_server import serving_registry
from tests.support.registry.layered_images import push_index, push_layered
from tests.support.registry.origins import STREAM, StreamInMemory

from upwell.formats.sigstore import InTotoStatement, Subject
from upwell.oci import Digest, Reference
from upwell.outbound.dialing import unrestricted
from upwell.reconcilers.signing.images import ImageSigning
from upwell.registry.attachments.targets import RemoteArtifacts
from upwell.registry.attachments.writer import ImageAttachments
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import BlobUnknownError, ManifestUnknownError, RegistryUnavailableError
from upwell.registry.interface import DEFAULT_ACCESS
from upwell.registry.pull_through import PullThroughRegistry
from upwell.signing.key_signer import KeySigner
from upwell.signing.keys import SigningKeys


@dataclass
class PullThroughServers:
    root: Path
    client: RegistryClient
    vendor: str
    streams: StreamInMemory
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
async def servers(tmp_path: Path) -> AsyncIterator[PullThroughServers]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RegistryClient(unrestricted()))
        (tmp_path / "vendor").mkdir()
        vendor = await stack.enter_async_context(docker_registry(tmp_path / "vendor"))
        streams = StreamInMemory()
        root = tmp_path / "own"

        def create(host: str) -> PullThroughRegistry:
            return PullThroughRegistry(EmbeddedRegistry(root, host), client, streams)

        registry = await stack.enter_async_context(serving_registry(create))
        assert isinstance(registry, PullThroughRegistry)
        yield PullThroughServers(root, client, vendor, streams, registry, registry.host)


async def test_a_tag_is_pulled_through_piece_by_piece(servers: PullThroughServers) -> None:
    layer = os.urandom(200_000)
    image = await push_layered(servers.pusher, f"{servers.vendor}/library/debian:11", layer)
    servers.follow("11", image.digest)
    found = await servers.client.manifest(servers.reference(f"{STREAM}:11"))
    assert found.raw == image.raw
    own = servers.reference(STREAM)
    async with servers.client.open_blob(own, Digest.of(layer)) as chunks:
        assert b"".join([chunk async for chunk in chunks]) == layer
    assert (await servers.client.resolve(own.with_digest(image.digest))).digest == image.digest


async def test_what_was_pulled_through_needs_no_upstream(servers: PullThroughServers) -> None:
    image = await push_layered(servers.pusher, f"{servers.vendor}/library/debian:11", b"layer")
    servers.follow("11", image.digest)
    own = servers.reference(f"{STREAM}:11")
    await servers.client.manifest(own)
    await servers.client.blob(own, Digest.of(b"layer"), 100)
    restarted = PullThroughRegistry(
        EmbeddedRegistry(servers.root, servers.host), servers.client, servers.streams
    )
    servers.streams.origins[image.digest] = Reference.parse("127.0.0.1:1/library/debian")
    assert await restarted.blob(own, Digest.of(b"layer"), 100) == b"layer"
    with pytest.raises(RegistryUnavailableError):  # named by the image, but not asked for before
        await restarted.blob(own, image.config.digest, 100)


async def test_after_a_restart_the_rest_of_an_image_is_found(servers: PullThroughServers) -> None:
    image = await push_layered(servers.pusher, f"{servers.vendor}/library/debian:11", b"layer")
    index = await push_index(servers.pusher, f"{servers.vendor}/library/debian:11", amd64=image)
    servers.follow("11", index.digest)
    own = servers.reference(f"{STREAM}:11")
    await servers.client.manifest(own)
    await servers.client.manifest(own.with_digest(image.digest))
    restarted = PullThroughRegistry(
        EmbeddedRegistry(servers.root, servers.host), servers.client, servers.streams
    )
    assert await restarted.blob(own, Digest.of(b"layer"), 100) == b"layer"


async def test_what_the_disk_changes_is_fetched_again(servers: PullThroughServers) -> None:
    layer = b"layer" * 1000
    image = await push_layered(servers.pusher, f"{servers.vendor}/library/debian:11", layer)
    servers.follow("11", image.digest)
    own = servers.reference(f"{STREAM}:11")
    await servers.client.manifest(own)
    await servers.client.blob(own, Digest.of(layer), len(layer))
    for digest in (image.digest, Digest.of(layer)):
        damaged = servers.root / "blobs" / "sha256" / digest.hex[:2] / digest.hex
        damaged.write_bytes(b"damaged")
    assert (await servers.client.manifest(own)).raw == image.raw
    assert await servers.client.blob(own, Digest.of(layer), len(layer)) == layer
    assert servers.registry.damage() == {}


async def test_one_fetch_serves_all_who_ask(servers: PullThroughServers) -> None:
    layer = os.urandom(400_000)
    image = await push_layered(servers.pusher, f"{servers.vendor}/library/debian:11", layer)
    servers.follow("11", image.digest)
    own = servers.reference(f"{STREAM}:11")

    async def pull() -> Digest:
        found = await servers.registry.manifest(own)
        return Digest.of(await servers.registry.blob(own, Digest.of(layer), len(layer)) + found.raw)

    assert len({await pull for pull in [asyncio.create_task(pull()) for _ in range(8)]}) == 1
    blobs = list((servers.root / "blobs").rglob(Digest.of(layer).hex))
    assert len(blobs) == 1


async def test_nothing_that_no_stream_names_is_fetched(servers: PullThroughServers) -> None:
    known = await push_layered(servers.pusher, f"{servers.vendor}/library/debian:11", b"known")
    other = await push_layered(servers.pusher, f"{servers.vendor}/library/debian:12", b"other")
    servers.follow("11", known.digest)
    own = servers.reference(STREAM)
    await servers.client.manifest(own.with_digest(known.digest))
    with pytest.raises(ManifestUnknownError):
        await servers.client.manifest(own.with_digest(other.digest))
    with pytest.raises(BlobUnknownError):
        await servers.client.blob(own, Digest.of(b"other"), 100)
    with pytest.raises(ManifestUnknownError):
        await servers.client.manifest(
            servers.reference("elsewhere/debian").with_digest(known.digest)
        )


async def test_a_tag_is_what_its_stream_says_even_after_a_push(servers: PullThroughServers) -> None:
    pushed = await push_layered(servers.pusher, f"{servers.host}/{STREAM}:11", b"pushed")
    image = await push_layered(servers.pusher, f"{servers.vendor}/library/debian:11", b"imported")
    own = servers.reference(f"{STREAM}:11")
    assert (await servers.client.resolve(own)).digest == pushed.digest
    servers.follow("11", image.digest)
    assert (await servers.client.resolve(own)).digest == image.digest


async def test_an_image_of_another_stream_is_linked(servers: PullThroughServers) -> None:
    image = await push_layered(servers.pusher, f"{servers.host}/dev/app:1", b"built")
    servers.streams.tags["prod"] = image.digest
    servers.streams.origins[image.digest] = Reference.parse(
        f"{servers.host}/dev/app@{image.digest}"
    )
    own = servers.reference(f"{STREAM}:prod")
    assert (await servers.client.manifest(own)).raw == image.raw
    assert await servers.client.blob(own, Digest.of(b"built"), 100) == b"built"


async def test_an_upstream_that_is_away_is_said_in_the_answer(servers: PullThroughServers) -> None:
    digest = Digest.of(b"x")
    servers.streams.tags["11"] = digest
    servers.streams.origins[digest] = Reference.parse(f"127.0.0.1:1/library/debian@{digest}")
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{servers.host}/v2/{STREAM}/manifests/11") as answer,
    ):
        assert answer.status == 503
        assert (await answer.json())["errors"][0]["code"] == "UNAVAILABLE"


async def test_other_clients_pull_an_image_that_was_only_imported(
    servers: PullThroughServers, tmp_path: Path
) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("needs skopeo: apt install skopeo")
    image = await push_layered(
        servers.pusher, f"{servers.vendor}/library/debian:11", os.urandom(9000)
    )
    index = await push_index(servers.pusher, f"{servers.vendor}/library/debian:11", amd64=image)
    servers.follow("11", index.digest)
    process = await asyncio.create_subprocess_exec(
        skopeo,
        "--insecure-policy",
        "copy",
        "--override-arch=amd64",
        "--src-tls-verify=false",
        f"docker://{servers.host}/{STREAM}:11",
        f"dir:{tmp_path / 'copy'}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert (tmp_path / "copy" / image.layers[0].digest.hex).stat().st_size == 9000


async def test_what_lies_beside_an_image_comes_through_and_stays(
    servers: PullThroughServers, tmp_path: Path
) -> None:
    image = await push_layered(servers.pusher, f"{servers.vendor}/library/debian:11", b"layer")
    servers.follow("11", image.digest)
    source = Reference.parse(f"{servers.vendor}/library/debian@{image.digest}")
    remote = RemoteArtifacts(servers.client, servers.pusher)
    attachments = ImageAttachments(servers.client, "", remote, remote)
    keys = SigningKeys(tmp_path)
    signing = ImageSigning(attachments, KeySigner(lambda: keys.signer))
    kind = "https://example.com/kind"
    await signing.sign(source, DEFAULT_ACCESS)
    statement = InTotoStatement((Subject(source.name, image.digest),), kind, {})
    await signing.attest(source, statement, DEFAULT_ACCESS)
    own = servers.reference(f"{STREAM}@{image.digest}")

    assert len(await servers.client.referrers_of(own)) == 2
    servers.streams.origins[image.digest] = Reference.parse("127.0.0.1:1/library/debian")
    assert len(await attachments.signatures(own)) == 1
    assert len(await attachments.attestations(own, kind)) == 1


async def test_a_source_that_is_away_has_no_signatures_and_stops_nothing(
    servers: PullThroughServers,
) -> None:
    image = Digest.of(b"image")
    servers.streams.origins[image] = Reference.parse("127.0.0.1:1/library/debian")
    own = servers.reference(STREAM)
    with pytest.raises(ManifestUnknownError):
        await servers.client.resolve(own.with_tag(f"sha256-{image.hex}.sig"))
    assert await servers.client.referrers_of(own.with_digest(image)) == ()
