"""Reader of the signatures and attestations that lie beside an image, within bounds.

They are found as cosign leaves them: by a tag made of the image's digest, and as its referrers.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field, replace

from upwell.formats.attachment_tags import attestation_tag, signature_tag
from upwell.formats.sigstore import Blob, SimpleSigning, layer_signature
from upwell.formats.sigstore.artifacts import (
    BUNDLE_PREDICATE,
    BUNDLE_TYPE,
    EMPTY_TYPE,
    PREDICATE_TYPE,
    SIGNATURE_TYPE,
)
from upwell.formats.sigstore.dsse import MAX_ENVELOPE_BYTES
from upwell.formats.sigstore.dsse import MEDIA_TYPE as ENVELOPE
from upwell.formats.sigstore.simple_signing import MAX_PAYLOAD_BYTES
from upwell.formats.sigstore.simple_signing import MEDIA_TYPE as SIMPLE_SIGNING
from upwell.oci import Descriptor, Digest, InvalidReferenceError, Manifest, Reference
from upwell.registry.errors import (
    BlobUnknownError,
    DigestMismatchError,
    InvalidAnswerError,
    ManifestUnknownError,
    RegistryRejectedError,
)
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess

MAX_ATTESTATION_BYTES = 4 * 1024 * 1024
"""Bytes of one attestation, and of those of an image altogether, that are read for policies."""
MAX_SIGNATURES = 64
"""Signatures of an image that are read, and as many attestations."""
_MAX_MANIFESTS = 32
_MAX_LAYERS = 1000
"""Layers of one manifest that are looked at."""
_ATTESTATION_TYPES = frozenset({BUNDLE_TYPE, ENVELOPE})
_USELESS = (
    BlobUnknownError,
    DigestMismatchError,
    InvalidAnswerError,
    ManifestUnknownError,
    RegistryRejectedError,
)
"""Errors that say something about one artifact, and nothing about whether there are others."""


@dataclass(frozen=True, slots=True)
class FoundAttachments:
    """Signatures and attestations as they were found: nothing of it is verified."""

    signatures: Sequence[Blob] = ()
    """Payloads of simple signing, with the annotations that hold the signatures."""
    attestations: Sequence[Blob] = ()
    """Envelopes (DSSE) and sigstore bundles, as their media types say."""


class AttachmentReader:
    """Reads what lies beside images in `registry`. `image` names a digest."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def readings(
        self,
        image: Reference,
        predicates: frozenset[str] = frozenset(),
        access: RequestAccess = DEFAULT_ACCESS,
        names: Iterable[str] = (),
    ) -> AsyncGenerator[FoundAttachments]:
        """Yield what was found so far: first by the tags, then, if there is more, as referrers.

        Last by the tags of the source, if it has mirrors: a signature is added to a tag, and a
        mirror may have the older one.

        Whoever has found enough asks no further. Of attestations, those of the predicate types
        count. What is too large, or no such document, is passed over. Raises a RegistryError when
        the registry does not say what there is.

        `names` are those under which it may be signed: what a signature is of is known by its
        digest then, and not asked for.
        """
        reading = _Reading(self._registry, image, predicates, access)
        reading.expect({image.name, *names})
        await reading.take_tags()
        yield reading.found()
        if await reading.take_referrers():
            yield reading.found()
        if await reading.take_tags_behind_mirrors():
            yield reading.found()

    async def signatures(
        self, image: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[Blob]:
        """Return the signatures that the tag has; referrers are not asked for."""
        reading = _Reading(self._registry, image, frozenset(), access)
        await reading.take_tag(signature_tag(reading.digest))
        return reading.found().signatures

    async def attestations(
        self, image: Reference, predicate_type: str, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[Blob]:
        """Return the attestations of a type that the tag has; referrers are not asked for.

        Of MAX_ENVELOPE_BYTES altogether: a list of many packages is large.
        """
        predicates = frozenset({predicate_type})
        reading = _Reading(self._registry, image, predicates, access, room=MAX_ENVELOPE_BYTES)
        await reading.take_tag(attestation_tag(reading.digest))
        return reading.found().attestations


@dataclass(slots=True)
class _Reading:
    """One reading under way."""

    registry: Registry
    image: Reference
    predicates: frozenset[str]
    access: RequestAccess
    signatures: list[Blob] = field(default_factory=list)
    attestations: list[Blob] = field(default_factory=list)
    seen: set[Digest] = field(default_factory=set)
    """Manifests that were looked at."""
    payloads: dict[Digest, bytes] = field(default_factory=dict)
    """Payloads of signatures, by digest: several keys sign the same one."""
    room: int = MAX_ATTESTATION_BYTES
    """Bytes of attestations that may still be read."""

    def found(self) -> FoundAttachments:
        return FoundAttachments(tuple(self.signatures), tuple(self.attestations))

    @property
    def digest(self) -> Digest:
        if self.image.digest is None:
            raise ValueError(f"{self.image} names no digest")
        return self.image.digest

    def expect(self, names: Iterable[str]) -> None:
        """Take the payloads of the usual claims for known, each by its digest."""
        claims = (SimpleSigning(name, self.digest).encode() for name in names)
        self.payloads.update({Digest.of(payload): payload for payload in claims})

    async def take_tags(self) -> None:
        """Read what the tags of cosign name."""
        for tag in self._tags():
            await self.take_tag(tag)

    async def take_tags_behind_mirrors(self) -> bool:
        """Read what the same tags name at the source; return True if it was any use."""
        before = len(self.signatures) + len(self.attestations)
        for tag in self._tags():
            await self.take_tag(tag, replace(self.access, behind_mirrors=True))
        return len(self.signatures) + len(self.attestations) > before

    def _tags(self) -> Sequence[str]:
        attestations = (attestation_tag(self.digest),) if self.predicates else ()
        return signature_tag(self.digest), *attestations

    async def take_tag(self, tag: str, access: RequestAccess | None = None) -> None:
        """Read what one tag names."""
        try:
            named = self.image.with_tag(tag)
            # A HEAD counts against no pull limit, and most images have no signature.
            there = await self.registry.resolve(named, access or self.access)
        except (InvalidReferenceError, *_USELESS):
            return
        await self._take_manifest(there.digest)

    async def take_referrers(self) -> bool:
        """Read what refers to the image; return True if it was any use."""
        before = len(self.signatures) + len(self.attestations)
        wanted = {SIGNATURE_TYPE, *((*_ATTESTATION_TYPES, EMPTY_TYPE) if self.predicates else ())}
        try:
            listed = await self.registry.referrers_of(self.image, self.access)
        except _USELESS:
            return False
        for entry in listed:
            if len(self.seen) >= _MAX_MANIFESTS:
                break
            if entry.artifact_type in wanted and entry.digest not in self.seen:
                await self._take_manifest(entry.digest)
        return len(self.signatures) + len(self.attestations) > before

    async def _take_manifest(self, digest: Digest) -> None:
        if digest in self.seen:
            return
        self.seen.add(digest)
        try:
            manifest = await self.registry.manifest(self.image.with_digest(digest), self.access)
        except _USELESS:
            return
        if isinstance(manifest, Manifest):
            for layer in manifest.layers[:_MAX_LAYERS]:
                await self._take_layer(layer, manifest)

    async def _take_layer(self, layer: Descriptor, manifest: Manifest) -> None:
        """Read a layer if it is what somebody asks for."""
        try:
            if layer.media_type == SIMPLE_SIGNING:
                await self._take_signature(layer)
            elif layer.media_type in _ATTESTATION_TYPES and layer.size <= self.room:
                stated = layer.annotations.get(PREDICATE_TYPE) or manifest.annotations.get(
                    BUNDLE_PREDICATE
                )
                if self.predicates and (stated is None or stated in self.predicates):
                    await self._take_attestation(layer)
        except _USELESS:
            return

    async def _take_signature(self, layer: Descriptor) -> None:
        if len(self.signatures) >= MAX_SIGNATURES or not layer_signature(layer.annotations):
            return
        payload = self.payloads.get(layer.digest)
        if payload is None:
            payload = self.payloads[layer.digest] = await self.registry.blob(
                self.image, layer.digest, MAX_PAYLOAD_BYTES, self.access
            )
        self.signatures.append(Blob(layer.media_type, payload, layer.annotations))

    async def _take_attestation(self, layer: Descriptor) -> None:
        if len(self.attestations) >= MAX_SIGNATURES:
            return
        self.room -= layer.size
        content = await self.registry.blob(self.image, layer.digest, layer.size, self.access)
        self.attestations.append(Blob(layer.media_type, content, layer.annotations))


async def layers_at(
    registry: Registry, place: Reference, media_types: Iterable[str], access: RequestAccess
) -> Sequence[Descriptor]:
    """Return the layers of these media types that a tag's manifest has; none of what is no such.

    For those who add to it, so that it raises a RegistryError where it is not known what is there.
    """
    try:
        manifest = await registry.manifest(place, access)
    except (ManifestUnknownError, InvalidAnswerError):
        return ()
    if not isinstance(manifest, Manifest):
        return ()
    wanted = set(media_types)
    return [layer for layer in manifest.layers if layer.media_type in wanted]
