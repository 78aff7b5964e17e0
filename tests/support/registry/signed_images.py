"""Images that are signed as cosign signs them, by keys that tests make."""

import base64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from tests.support.registry.docker_registry import push_blob
from tests.support.registry.memory import RegistryInMemory
from tests.support.registry.referrers import put_manifest

from upwell.api.image_policies.policy import (
    AttestationRequirement,
    ClusterImagePolicy,
    Enforcement,
    ImagePolicy,
    ImagePolicyResource,
    ImagePolicySpec,
    PublicKeyRoot,
    RootOfTrust,
    SignaturePolicy,
    SignedIdentity,
)
from upwell.formats.attachment_tags import attestation_tag, signature_tag
from upwell.formats.sigstore import (
    Blob,
    EnvelopeSignature,
    InTotoStatement,
    SignatureKey,
    SignedEnvelope,
    SimpleSigning,
    Subject,
    layered_manifest,
    pre_authentication,
)
from upwell.formats.sigstore.artifacts import attestation_layer, signature_layer
from upwell.formats.sigstore.dsse import IN_TOTO
from upwell.oci import Digest, Manifest, Reference
from upwell.policy.signatures.verification import ImageSignature
from upwell.reconcilers.signatures.examination import NO_COPIES, EvidenceCopies
from upwell.reconcilers.signatures.findings import FindingRecorder
from upwell.reconcilers.signatures.policies import ImagePolicies, InternalImages
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosting import ManifestPush
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess
from upwell.registry.origins import ImageOrigins
from upwell.store.interface import Store

PROVENANCE = "https://slsa.dev/provenance/v1"


class CosignKey:
    """Holder of a key."""

    def __init__(self, key: EllipticCurvePrivateKey | None = None) -> None:
        self.key = key or generate_private_key(SECP256R1())
        self.pem = SignatureKey(self.key.public_key()).pem()

    @property
    def key_data(self) -> str:
        return base64.b64encode(self.pem).decode()

    def sign(self, content: bytes) -> bytes:
        return self.key.sign(content, ECDSA(SHA256()))

    def signature(self, repository: str, digest: Digest) -> ImageSignature:
        payload = SimpleSigning(repository, digest).encode()
        return ImageSignature(payload, self.sign(payload))

    def signature_blob(self, repository: str, digest: Digest) -> Blob:
        signed = self.signature(repository, digest)
        return signature_layer(signed.payload, signed.signature)

    def envelope(
        self, digest: Digest, predicate_type: str, predicate: Mapping[str, Any]
    ) -> SignedEnvelope:
        subject = Subject("registry.test/team/app", digest)
        payload = InTotoStatement((subject,), predicate_type, predicate).encode()
        signature = self.sign(pre_authentication(IN_TOTO, payload))
        return SignedEnvelope(payload, (EnvelopeSignature(signature),))

    def attestation_blob(
        self, digest: Digest, predicate_type: str, predicate: Mapping[str, Any]
    ) -> Blob:
        envelope = self.envelope(digest, predicate_type, predicate)
        return attestation_layer(envelope.encode(), predicate_type)

    def spec(
        self,
        *scopes: str,
        mode: str = "enforce",
        at: tuple[str, ...] = (),
        stages: tuple[str, ...] = (),
        attestations: tuple[AttestationRequirement, ...] = (),
        identity: SignedIdentity | None = None,
    ) -> ImagePolicySpec:
        """Return a policy that asks for signatures of this key."""
        root = RootOfTrust(
            policy_type="PublicKey", public_key=PublicKeyRoot(key_data=self.key_data)
        )
        return ImagePolicySpec(
            scopes=scopes,
            policy=SignaturePolicy(root_of_trust=root, signed_identity=identity),
            attestations=attestations,
            enforcement=Enforcement(mode=mode, at=at, stages=stages),
        )


def cluster_policy(name: str, spec: ImagePolicySpec) -> ClusterImagePolicy:
    return ClusterImagePolicy(spec=spec).with_metadata(name=name)


def namespace_policy(namespace: str, name: str, spec: ImagePolicySpec) -> ImagePolicy:
    return ImagePolicy(spec=spec).with_metadata(name=name, namespace=namespace)


def names(policies: Sequence[ImagePolicyResource]) -> list[str]:
    return [one.name for one in policies]


def add_evidence(
    registry: RegistryInMemory,
    image: Reference,
    signatures: Sequence[Blob] = (),
    attestations: Sequence[Blob] = (),
) -> None:
    """Put evidence beside an image, by the tags that cosign uses."""
    assert image.digest is not None
    for tag, blobs in (
        (signature_tag(image.digest), signatures),
        (attestation_tag(image.digest), attestations),
    ):
        if not blobs:
            continue
        artifact = layered_manifest([one.descriptor for one in blobs], blobs)
        add_manifest(registry, artifact.manifest, artifact.blobs)
        registry.tagged[str(image.with_tag(tag))] = artifact.manifest.digest


def add_manifest(registry: RegistryInMemory, manifest: Manifest, blobs: Sequence[Blob]) -> None:
    registry.manifests[manifest.digest] = manifest
    registry.blobs.update({Digest.of(one.content): one.content for one in blobs})


def image_judge(
    store: Store,
    registry: Registry,
    clock: Callable[[], datetime],
    internal: str = "",
    origins: ImageOrigins | None = None,
    copies: EvidenceCopies = NO_COPIES,
) -> ImagePolicies:
    """Return the judge of the policies in a store."""

    async def access(image: Reference, namespace: str) -> RequestAccess:
        del image, namespace
        return DEFAULT_ACCESS

    findings = FindingRecorder(store, clock)
    images = InternalImages(internal, origins, copies)
    return ImagePolicies(store, registry, access, findings, internal=images)


async def push_signature(
    registry: EmbeddedRegistry, repository: str, digest: Digest, signature: Blob
) -> None:
    """Push a signature of an image under the tag that cosign uses."""
    artifact = layered_manifest([signature.descriptor], [signature])
    for blob in artifact.blobs:
        upload = await registry.start_upload(repository)
        await registry.append(repository, upload, _once(blob.content))
        await registry.finish_upload(repository, upload, Digest.of(blob.content))
    tag, manifest = signature_tag(digest), artifact.manifest
    await registry.put_manifest(
        ManifestPush(repository, manifest.raw, str(manifest.media_type), tag=tag)
    )


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def sign_at(host: str, repository: str, digest: Digest, signer: CosignKey) -> None:
    """Sign an image over HTTP, at a registry that asks nobody for a login."""
    blob = signer.signature_blob(f"{host}/{repository}", digest)
    artifact = layered_manifest([blob.descriptor], [blob])
    base = f"http://{host}/v2/{repository}"
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        for part in artifact.blobs:
            await push_blob(session, base, part.content)
        await put_manifest(session, base, signature_tag(digest), artifact.manifest.raw)
