"""Manifests that carry signatures and attestations of an image beside it.

Two ways to find them are in use, and clients read one or the other: a tag made of the image's
digest (cosign, specs/SIGNATURE_SPEC.md), and the list of referrers (OCI distribution-spec 1.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from upwell.formats.sigstore import bundle, dsse, simple_signing
from upwell.formats.sigstore.bundle import Bundle
from upwell.formats.sigstore.documents import (
    InvalidSignatureDocumentError,
    canonical,
    decoded,
    encoded,
)
from upwell.formats.sigstore.proof import NO_PROOF, SigningProof
from upwell.oci import Descriptor, Digest, Manifest
from upwell.oci.artifacts import EMPTY, EMPTY_CONTENT, artifact_manifest

SIGNATURE_TYPE = "application/vnd.dev.cosign.artifact.sig.v1+json"
BUNDLE_TYPE = bundle.MEDIA_TYPE
BUNDLE_PREDICATE = "dev.sigstore.bundle.predicateType"
BUNDLE_CONTENT = "dev.sigstore.bundle.content"
PREDICATE_TYPE = "predicateType"
"""Annotation of a layer with an attestation."""
_IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY_TYPE = EMPTY.media_type
"""Type that cosign's index of referrers has for bundles, by their configuration."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Content of a layer or a configuration."""

    media_type: str
    content: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def descriptor(self) -> Descriptor:
        """Its name in a manifest."""
        return Descriptor(
            self.media_type,
            Digest.of(self.content),
            len(self.content),
            annotations=self.annotations,
        )


@dataclass(frozen=True, slots=True)
class Artifact:
    """A manifest, and the blobs that must be pushed before it."""

    manifest: Manifest
    blobs: tuple[Blob, ...]


def signature_layer(payload: bytes, signature: bytes, proof: SigningProof = NO_PROOF) -> Blob:
    """Return the layer of a signature (simple signing)."""
    annotations = {simple_signing.SIGNATURE_ANNOTATION: encoded(signature), **proof.annotations()}
    return Blob(simple_signing.MEDIA_TYPE, payload, annotations)


def layer_signature(annotations: Mapping[str, str]) -> bytes:
    """Return the signature in the annotations of a layer (simple signing); empty: there is none."""
    try:
        return decoded(annotations.get(simple_signing.SIGNATURE_ANNOTATION), "signature")
    except InvalidSignatureDocumentError:
        return b""


def attestation_layer(envelope: bytes, predicate_type: str, proof: SigningProof = NO_PROOF) -> Blob:
    """Return the layer of an attestation."""
    annotations = {simple_signing.SIGNATURE_ANNOTATION: "", PREDICATE_TYPE: predicate_type}
    return Blob(dsse.MEDIA_TYPE, envelope, annotations | proof.annotations())


def signature_manifest(image: Descriptor, layers: Sequence[Blob]) -> Artifact:
    """Return the manifest of an image's signatures, which is its referrer too."""
    return layered_manifest([layer.descriptor for layer in layers], layers, image)


def layered_manifest(
    layers: Sequence[Descriptor], new: Sequence[Blob], image: Descriptor | None = None
) -> Artifact:
    """Return the manifest that cosign finds by a tag: one layer for each signature or attestation.

    `new` are those of them that may have to be pushed; with `image` it is a referrer too.
    """
    config = Blob(
        SIGNATURE_TYPE if image else _IMAGE_CONFIG,
        canonical({
            "architecture": "",
            "config": {},
            "created": "0001-01-01T00:00:00Z",
            "history": [{"created": "0001-01-01T00:00:00Z"} for _ in layers],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]},
        }),
    )  # fmt: skip
    return Artifact(artifact_manifest(config.descriptor, layers, subject=image), (config, *new))


def bundle_manifest(image: Descriptor, content: Bundle, predicate_type: str) -> Artifact:
    """Return the referrer of an image that carries one attestation (sigstore, bundle v0.3)."""
    layer = Blob(bundle.MEDIA_TYPE, content.encode())
    manifest = artifact_manifest(
        EMPTY,
        [layer.descriptor],
        artifact_type=BUNDLE_TYPE,
        annotations={BUNDLE_CONTENT: "dsse-envelope", BUNDLE_PREDICATE: predicate_type},
        subject=image,
    )
    return Artifact(manifest, (Blob(EMPTY_TYPE, EMPTY_CONTENT), layer))
