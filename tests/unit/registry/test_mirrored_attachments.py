"""Signatures beside mirrored images: they come along, within bounds, and by few questions."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import override

import pytest
from tests.support.builds.memory_builds import (
    AMD64,
    INTERNAL,
    VENDOR,
    UpstreamRegistry,
    push,
    push_index,
)
from tests.support.registry.hosted_images import push_blob
from tests.support.registry.referrers import EMPTY, referrer_manifest
from tests.support.registry.signed_images import CosignKey, cluster_policy, image_judge
from tests.support.workload.waiting import eventually

from upwell.api.image_policies.policy import PolicyPoint
from upwell.formats.attachment_tags import signature_tag
from upwell.formats.sigstore import Blob, InTotoStatement, Subject, layered_manifest
from upwell.formats.sigstore.artifacts import SIGNATURE_TYPE
from upwell.oci import Descriptor, Digest, Manifest, MediaType, Reference
from upwell.reconcilers.signatures.examination import EvidenceCopies
from upwell.reconcilers.signatures.questions import ImagePolicyUnknownError, ImageQuestion
from upwell.reconcilers.signing.images import ImageSigning
from upwell.registry.attachments.mirrored import MAX_REFERRERS, AttachmentMirror, MirroredImage
from upwell.registry.attachments.targets import HostedArtifacts
from upwell.registry.attachments.writer import ImageAttachments
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import RegistryUnavailableError
from upwell.registry.hosting import ManifestPush
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess
from upwell.registry.mirror import Mirror, mirror_repository, mirrored_copy
from upwell.registry.routed import RoutedRegistry
from upwell.signing.key_signer import KeySigner
from upwell.signing.keys import SigningKeys
from upwell.store.memory import MemoryStore

KIND = "https://example.com/kind"
PLACE = f"upstream/{VENDOR}/base"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class LyingRegistry(UpstreamRegistry):
    """Sends more of each blob than it said."""

    lies = True

    @override
    @asynccontextmanager
    async def open_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self.registry.open_blob(reference, digest, access) as chunks:
            yield self._more(chunks)

    async def _more(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield chunk
        while self.lies:
            await asyncio.sleep(0)
            yield b"x" * 65536


class HangingRegistry(UpstreamRegistry):
    """Never says what a tag of one host is."""

    hanging = ""
    hung = 0

    @override
    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        if reference.registry == self.hanging:
            self.hung += 1
            await asyncio.Event().wait()
        return await super().resolve(reference, access)


class MirroredVendor:
    """A vendor's index with one image, and the registry that mirrors it."""

    def __init__(self, folder: Path, vendor: type[UpstreamRegistry] = UpstreamRegistry) -> None:
        self.vendor = vendor(EmbeddedRegistry(folder / "vendor", VENDOR))
        self.internal = EmbeddedRegistry(folder / "internal", INTERNAL)
        self.keys = SigningKeys(folder)
        self.key = CosignKey()
        self.key.pem = self.keys.signer.key.pem()
        target = HostedArtifacts(self.vendor.registry)
        self.attachments = ImageAttachments(self.vendor.registry, VENDOR, target, target)
        self.signing = ImageSigning(self.attachments, KeySigner(lambda: self.keys.signer))
        self.store = MemoryStore(clock=lambda: NOW)
        self.registries = RoutedRegistry(self.internal, self.vendor)
        self.beside = AttachmentMirror(self.vendor, self.internal, pause=0)
        self.manifest = self.index = Digest.of(b"")

    async def publish(self) -> None:
        self.manifest = await push(self.vendor.registry, "base:amd64", "amd64")
        self.index = await push_index(self.vendor.registry, "base:1", {AMD64: self.manifest})

    @property
    def image(self) -> MirroredImage:
        source = Reference(VENDOR, "base", digest=self.index)
        digests = (self.index, self.manifest)
        return MirroredImage(source, mirror_repository(source), digests, DEFAULT_ACCESS)

    def of(self, digest: Digest, host: str = VENDOR, repository: str = "base") -> Reference:
        return Reference(host, repository, digest=digest)

    async def sign(self, digest: Digest) -> None:
        await self.signing.sign(self.of(digest), DEFAULT_ACCESS)

    async def attest(self, digest: Digest) -> None:
        statement = InTotoStatement((Subject(f"{VENDOR}/base", digest),), KIND, {})
        await self.signing.attest(self.of(digest), statement, DEFAULT_ACCESS)

    async def mirrored(self) -> None:
        """Fetch the base as a build does, and wait for what comes along."""
        mirror = Mirror(self.vendor, self.internal, AMD64, self.beside.note)
        await mirror.fetch(self.of(self.index), DEFAULT_ACCESS, "shop")
        await self.worked()

    async def worked(self) -> None:
        """Let the mirror work until nothing waits."""
        running = asyncio.create_task(self.beside.run())
        await eventually(self._is_idle, bool)
        running.cancel()

    async def _is_idle(self) -> bool:
        return self.beside.is_idle

    async def require(self, digest: Digest) -> None:
        """Ask a judge that knows nothing yet."""
        judge = image_judge(
            self.store,
            self.registries,
            lambda: NOW,
            INTERNAL,
            copies=EvidenceCopies(partial(mirrored_copy, host=INTERNAL), self.keep),
        )
        await judge.require(ImageQuestion(self.of(digest), "shop", PolicyPoint.ROLLOUT))

    def keep(self, image: Reference, access: RequestAccess) -> None:
        assert image.digest is not None
        repository = mirror_repository(image)
        self.beside.note(MirroredImage(image, repository, (image.digest,), access))


@pytest.fixture
async def made(tmp_path: Path) -> MirroredVendor:
    found = MirroredVendor(tmp_path)
    await found.publish()
    return found


async def test_signatures_and_attestations_of_index_and_manifest_stand_in_for_a_source_that_is_away(
    made: MirroredVendor,
) -> None:
    await made.store.create(cluster_policy("signed", made.key.spec(VENDOR)))
    for digest in (made.index, made.manifest):
        await made.sign(digest)
        await made.attest(digest)
    await made.mirrored()
    made.vendor.failure = RegistryUnavailableError(VENDOR, "it is away")

    for digest in (made.index, made.manifest):
        await made.require(digest)
        copy = made.of(digest, INTERNAL, PLACE)
        assert len(await made.internal.referrers_of(copy)) == 2
        target = HostedArtifacts(made.internal)
        copies = ImageAttachments(made.internal, INTERNAL, target, target)
        assert len(await copies.attestations(copy, KIND)) == 1


async def test_an_image_that_nobody_signed_costs_two_questions_and_none_for_an_hour(
    made: MirroredVendor,
) -> None:
    await made.mirrored()
    fetched = [one for one in made.vendor.requests if one.startswith("GET")]
    asked = [one.partition(" ")[0] for one in made.vendor.requests if one not in fetched]
    assert len(fetched) == 2
    assert sorted(asked) == ["HEAD", "HEAD", "REFERRERS", "REFERRERS"]
    made.vendor.requests.clear()
    await made.mirrored()
    assert made.vendor.requests == []


async def test_what_is_signed_later_counts_at_once_and_is_kept(made: MirroredVendor) -> None:
    await made.store.create(cluster_policy("signed", made.key.spec(VENDOR)))
    await made.mirrored()
    await made.sign(made.manifest)
    await made.require(made.manifest)
    await made.worked()
    made.vendor.failure = RegistryUnavailableError(VENDOR, "it is away")
    await made.require(made.manifest)
    with pytest.raises(ImagePolicyUnknownError, match="it is away"):
        await made.require(made.index)


async def test_a_later_look_brings_what_was_added(made: MirroredVendor) -> None:
    await made.sign(made.index)
    await made.mirrored()
    await made.attest(made.index)
    made.beside = AttachmentMirror(made.vendor, made.internal, pause=0)
    await made.mirrored()
    copy = made.of(made.index, INTERNAL, PLACE)
    assert len(await made.internal.referrers_of(copy)) == 2


async def test_a_source_that_is_away_is_not_asked_for_all_that_waits(made: MirroredVendor) -> None:
    made.vendor.failure = RegistryUnavailableError(VENDOR, "it is away")
    source = made.of(made.index)
    for number in range(50):
        digests = (Digest.of(str(number).encode()),)
        made.beside.note(MirroredImage(source, PLACE, digests, DEFAULT_ACCESS))
    await made.worked()
    assert len(made.vendor.requests) == 1
    made.beside.note(MirroredImage(source, PLACE, (Digest.of(b"7"),), DEFAULT_ACCESS))
    assert made.beside.is_idle


async def test_a_registry_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    made = MirroredVendor(tmp_path, HangingRegistry)
    await made.publish()
    await made.sign(made.index)
    assert isinstance(made.vendor, HangingRegistry)
    made.vendor.hanging = "hangs.example"
    for number in range(20):
        digests = (Digest.of(str(number).encode()),)
        source = made.of(made.index, "hangs.example")
        made.beside.note(MirroredImage(source, "upstream/hangs", digests, DEFAULT_ACCESS))
    made.beside.note(made.image)
    running = asyncio.create_task(made.beside.run())
    copy = made.of(made.index, INTERNAL, PLACE)

    async def mirrored() -> int:
        return len(await made.internal.referrers_of(copy))

    await eventually(mirrored, bool)
    assert made.vendor.hung == 1
    running.cancel()


async def test_a_source_that_sends_more_than_it_says_is_cut_off(tmp_path: Path) -> None:
    made = MirroredVendor(tmp_path, LyingRegistry)
    await made.publish()
    await made.sign(made.index)
    await made.beside.bring(made.image)
    tag = signature_tag(made.index)
    assert await made.internal.tag_digest(PLACE, tag) is None
    assert await made.internal.storage_used("upstream") == 0


async def test_a_crowd_of_referrers_and_strange_tags_keep_no_signature_back(
    made: MirroredVendor,
) -> None:
    registry = made.vendor.registry
    await push_blob(registry, "base", EMPTY)
    subject = await registry.manifest(made.of(made.index))
    layers = ({"mediaType": "x", "digest": str(Digest.of(EMPTY)), "size": 2**40},)
    for number in range(MAX_REFERRERS + 40):
        assert not isinstance(subject, Manifest)
        noise = referrer_manifest(_as_manifest(subject.raw), f"x/{number}", layers)
        put = ManifestPush("base", noise.raw, MediaType.OCI_MANIFEST, digest=noise.digest)
        await registry.put_manifest(put)
    await registry.tag("base", signature_tag(made.manifest), made.index)
    await made.sign(made.index)
    await made.beside.bring(made.image)
    found = await made.internal.referrers_of(made.of(made.index, INTERNAL, PLACE))
    assert SIGNATURE_TYPE in [one.artifact_type for one in found]
    assert await made.internal.tag_digest(PLACE, signature_tag(made.index)) is not None
    assert await made.internal.tag_digest(PLACE, signature_tag(made.manifest)) is None


def _as_manifest(raw: bytes) -> Manifest:
    """Return what names a subject by an index's bytes."""
    blob = Blob("x", b"")
    manifest = layered_manifest([blob.descriptor], [blob]).manifest
    return Manifest(
        raw,
        Digest.of(raw),
        MediaType(json.loads(raw)["mediaType"]),
        manifest.config,
        (),
        {},
    )
