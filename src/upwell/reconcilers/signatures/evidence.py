"""Signatures and attestations that lie beside an image in its registry, within bounds.

They are found as cosign leaves them: by a tag made of the image's digest, and as its referrers.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from upwell.formats.sigstore import (
    Bundle,
    InvalidSignatureDocumentError,
    SignedEnvelope,
    attestation_tag,
    layer_signature,
    signature_tag,
)
from upwell.formats.sigstore.artifacts import (
    BUNDLE_PREDICATE,
    BUNDLE_TYPE,
    PREDICATE_TYPE,
    SIGNATURE_TYPE,
)
from upwell.formats.sigstore.dsse import MEDIA_TYPE as ENVELOPE
from upwell.formats.sigstore.simple_signing import MAX_PAYLOAD_BYTES
from upwell.formats.sigstore.simple_signing import MEDIA_TYPE as SIMPLE_SIGNING
from upwell.oci import Descriptor, Digest, InvalidReferenceError, Manifest, Reference
from upwell.policy.signatures.verification import ImageEvidence, ImageSignature
from upwell.registry.errors import (
    BlobUnknownError,
    DigestMismatchError,
    InvalidAnswerError,
    ManifestUnknownError,
    RegistryRejectedError,
)
from upwell.registry.interface import Registry, RequestAccess

MAX_ATTESTATION_BYTES = 4 * 1024 * 1024
"""Bytes of one attestation, and of those of an image altogether."""
_MAX_MANIFESTS = 32
_MAX_SIGNATURES = 64
_ATTESTATION_TYPES = frozenset({BUNDLE_TYPE, ENVELOPE})
_USELESS = (
    BlobUnknownError,
    DigestMismatchError,
    InvalidAnswerError,
    ManifestUnknownError,
    RegistryRejectedError,
)
"""Errors that say something about one artifact, and nothing about whether there are others."""


@dataclass(slots=True)
class _Gathered:
    """Evidence so far."""

    signatures: list[ImageSignature] = field(default_factory=list)
    attestations: list[tuple[str, bytes]] = field(default_factory=list)
    """Media type and content."""
    room: int = MAX_ATTESTATION_BYTES
    """Bytes of attestations that may still be read."""


class EvidenceReader:
    """Reads the evidence about images from `registry`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def read(
        self, image: Reference, digest: Digest, predicates: frozenset[str], access: RequestAccess
    ) -> ImageEvidence:
        """Return what lies beside an image; of attestations, those of the predicate types.

        What is too large, or no such document, is passed over. Raises a RegistryError when the
        registry does not say what there is.
        """
        found = _Gathered()
        manifests = await self._manifests(image, digest, access, attested=bool(predicates))
        for manifest in manifests:
            for layer in manifest.layers:
                await self._take(image, layer, manifest, predicates, access, found)
        envelopes = await asyncio.to_thread(_envelopes, found.attestations)
        return ImageEvidence(tuple(found.signatures), envelopes)

    async def _manifests(
        self, image: Reference, digest: Digest, access: RequestAccess, *, attested: bool
    ) -> Sequence[Manifest]:
        """Return the manifests that carry evidence: those of the tags first, each once."""
        tags = [signature_tag(digest), *([attestation_tag(digest)] if attested else [])]
        found: dict[Digest, Manifest] = {}
        for tag in tags:
            try:
                named = image.with_tag(tag)
                # A HEAD counts against no pull limit, and most images have no signature.
                there = await self._registry.resolve(named, access)
                manifest = await self._registry.manifest(named.with_digest(there.digest), access)
            except (InvalidReferenceError, *_USELESS):
                continue
            if isinstance(manifest, Manifest):
                found[manifest.digest] = manifest
        wanted = {SIGNATURE_TYPE, *(_ATTESTATION_TYPES if attested else ())}
        for referrer in await self._referrers(image, digest, wanted, access):
            if len(found) >= _MAX_MANIFESTS:
                break
            if referrer.digest in found:
                continue
            try:
                manifest = await self._registry.manifest(image.with_digest(referrer.digest), access)
            except _USELESS:
                continue
            if isinstance(manifest, Manifest):
                found[manifest.digest] = manifest
        return tuple(found.values())

    async def _referrers(
        self, image: Reference, digest: Digest, wanted: Iterable[str], access: RequestAccess
    ) -> Sequence[Descriptor]:
        try:
            listed = await self._registry.referrers_of(image.with_digest(digest), access)
        except _USELESS:
            return ()
        types = set(wanted)
        return [one for one in listed if one.artifact_type in types]

    async def _take(
        self,
        image: Reference,
        layer: Descriptor,
        manifest: Manifest,
        predicates: frozenset[str],
        access: RequestAccess,
        found: _Gathered,
    ) -> None:
        """Read a layer if it is evidence that somebody asks for."""
        try:
            if layer.media_type == SIMPLE_SIGNING:
                signature = layer_signature(layer.annotations)
                if signature and len(found.signatures) < _MAX_SIGNATURES:
                    payload = await self._registry.blob(
                        image, layer.digest, MAX_PAYLOAD_BYTES, access
                    )
                    found.signatures.append(ImageSignature(payload, signature))
            elif layer.media_type in _ATTESTATION_TYPES and layer.size <= found.room:
                stated = layer.annotations.get(PREDICATE_TYPE) or manifest.annotations.get(
                    BUNDLE_PREDICATE
                )
                if stated is None or stated in predicates:
                    found.room -= layer.size
                    content = await self._registry.blob(image, layer.digest, layer.size, access)
                    found.attestations.append((layer.media_type, content))
        except _USELESS:
            return


def _envelopes(attestations: Iterable[tuple[str, bytes]]) -> tuple[SignedEnvelope, ...]:
    """Return the envelopes of the contents that are some."""
    found = []
    for media_type, content in attestations:
        try:
            if media_type == BUNDLE_TYPE:
                found.append(Bundle.parse(content).envelope)
            else:
                found.append(SignedEnvelope.parse(content))
        except InvalidSignatureDocumentError:
            continue
    return tuple(found)
