"""Tags of signatures that name something else: they hinder neither signing nor verifying."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.registry.hosted_images import CONFIG, image, index, push, push_blob
from tests.support.registry.signed_images import CosignKey, cluster_policy, image_judge

from upwell.api.image_policies.policy import PolicyPoint
from upwell.formats.attachment_tags import attestation_tag, signature_tag
from upwell.formats.sigstore import Blob, InTotoStatement, PredicateType, Subject, layered_manifest
from upwell.formats.sigstore.dsse import MEDIA_TYPE as ENVELOPE
from upwell.formats.sigstore.simple_signing import MAX_PAYLOAD_BYTES, SIGNATURE_ANNOTATION
from upwell.formats.sigstore.simple_signing import MEDIA_TYPE as SIMPLE_SIGNING
from upwell.oci import Descriptor, Digest, MediaType, Reference
from upwell.reconcilers.signatures.questions import ImageQuestion
from upwell.reconcilers.signing.images import ImageSigning
from upwell.registry.attachments.targets import HostedArtifacts
from upwell.registry.attachments.writer import MAX_LAYERS, ImageAttachments
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosting import ManifestPush
from upwell.registry.interface import DEFAULT_ACCESS
from upwell.signing.key_signer import KeySigner
from upwell.signing.keys import SigningKeys
from upwell.store.memory import MemoryStore

HOST, REPOSITORY = "registry.test", "shop/web"
KIND = PredicateType.PROVENANCE
type Strange = Callable[[EmbeddedRegistry, Digest, str], Awaitable[None]]
"""Pushes something strange under a tag that is about an image."""


async def put(registry: EmbeddedRegistry, tag: str, raw: bytes) -> None:
    media_type = MediaType.OCI_INDEX if b'"manifests"' in raw else MediaType.OCI_MANIFEST
    await registry.put_manifest(ManifestPush(REPOSITORY, raw, media_type, tag=tag))


async def put_layers(registry: EmbeddedRegistry, tag: str, layers: Sequence[Blob]) -> None:
    artifact = layered_manifest([one.descriptor for one in layers], layers)
    for blob in {one.content: one for one in artifact.blobs}.values():
        await push_blob(registry, REPOSITORY, blob.content)
    await put(registry, tag, artifact.manifest.raw)


def layer(number: int, content: bytes = b"junk") -> Blob:
    # Each is a signature by its form alone, of nobody's.
    kind = ENVELOPE if number < 0 else SIMPLE_SIGNING
    return Blob(kind, content, {SIGNATURE_ANNOTATION: "YQ==", "number": str(number)})


async def an_index(registry: EmbeddedRegistry, image_digest: Digest, tag: str) -> None:
    del image_digest
    await put(registry, tag, index(image("child")))


async def the_image_itself(registry: EmbeddedRegistry, image_digest: Digest, tag: str) -> None:
    await registry.tag(REPOSITORY, tag, image_digest)


async def too_many(registry: EmbeddedRegistry, image_digest: Digest, tag: str) -> None:
    del image_digest
    numbers = range(MAX_LAYERS + 50)
    await put_layers(
        registry, tag, [layer(one if tag.endswith("sig") else ~one) for one in numbers]
    )


async def a_huge_payload(registry: EmbeddedRegistry, image_digest: Digest, tag: str) -> None:
    del image_digest
    content = b"x" * (MAX_PAYLOAD_BYTES + 1)
    await put_layers(registry, tag, [layer(1, content), layer(-1, content)])


async def a_payload_that_is_gone(
    registry: EmbeddedRegistry, image_digest: Digest, tag: str
) -> None:
    del image_digest
    await put_layers(registry, tag, [layer(1), layer(-1)])
    await registry.delete_blob(REPOSITORY, Digest.of(b"junk"))


async def another_kind(registry: EmbeddedRegistry, image_digest: Digest, tag: str) -> None:
    del image_digest
    await put_layers(registry, tag, [Blob("application/x-huge", b"what"), layer(1)])


STRANGE: Sequence[Strange] = (
    an_index,
    the_image_itself,
    too_many,
    a_huge_payload,
    a_payload_that_is_gone,
    another_kind,
)


class StrangeRepository:
    """A registry with one image, and a signer."""

    def __init__(self, folder: Path) -> None:
        self.registry = EmbeddedRegistry(folder / "registry", HOST)
        target = HostedArtifacts(self.registry)
        self.attachments = ImageAttachments(self.registry, HOST, target, target)
        keys = SigningKeys(folder)
        self.key = CosignKey()
        self.key.pem = keys.signer.key.pem()
        self.signing = ImageSigning(self.attachments, KeySigner(lambda: keys.signer))
        self.image = Reference(HOST, REPOSITORY)

    async def push(self, strange: Strange) -> Digest:
        """Push an image, and something strange under both of its tags."""
        await push_blob(self.registry, REPOSITORY, CONFIG)
        await push(self.registry, REPOSITORY, None, mark="child")
        digest = await push(self.registry, REPOSITORY)
        self.image = Reference(HOST, REPOSITORY, digest=digest)
        for tag in (signature_tag(digest), attestation_tag(digest)):
            await strange(self.registry, digest, tag)
        return digest


@pytest.mark.parametrize("strange", STRANGE)
async def test_an_image_is_signed_and_attested_whatever_its_tags_name(
    tmp_path: Path, strange: Strange
) -> None:
    made = StrangeRepository(tmp_path)
    digest = await made.push(strange)
    assert not await made.signing.is_signed(made.image, DEFAULT_ACCESS)
    statement = InTotoStatement((Subject(made.image.name, digest),), KIND, {})
    for _ in range(2):
        await made.signing.sign(made.image, DEFAULT_ACCESS)
        await made.signing.attest(made.image, statement, DEFAULT_ACCESS)

    assert await made.signing.is_signed(made.image, DEFAULT_ACCESS)
    assert len(await made.signing.statements(made.image, KIND, DEFAULT_ACCESS)) == 1
    store = MemoryStore(clock=lambda: datetime(2026, 1, 2, tzinfo=UTC))
    await store.create(cluster_policy("signed", made.key.spec(HOST)))
    judge = image_judge(store, made.registry, lambda: datetime(2026, 1, 2, tzinfo=UTC))
    await judge.require(ImageQuestion(made.image, "shop", PolicyPoint.ROLLOUT))


async def test_signatures_of_others_stay_until_there_are_too_many(tmp_path: Path) -> None:
    made = StrangeRepository(tmp_path)
    digest = await made.push(another_kind)
    await made.signing.sign(made.image, DEFAULT_ACCESS)
    found = await made.attachments.signatures(made.image)
    assert [one.content for one in found][:1] == [b"junk"]
    assert len(found) == 2
    tag = signature_tag(digest)
    await too_many(made.registry, digest, tag)
    await made.signing.sign(made.image, DEFAULT_ACCESS)
    manifest = await made.registry.manifest(made.image.with_tag(tag))
    layers: Sequence[Descriptor] = getattr(manifest, "layers", ())
    assert len(layers) == MAX_LAYERS
    assert json.loads(manifest.raw)["layers"][1]["annotations"]["number"] == "0"
