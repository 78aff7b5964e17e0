"""Evidence about an image for policies: what lies beside it, wherever it has copies.

Evidence speaks for itself: it counts by whose signature it has, not by where it was found.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from upwell.formats.sigstore import (
    Blob,
    Bundle,
    InvalidSignatureDocumentError,
    SignedEnvelope,
    SigningProof,
    layer_signature,
)
from upwell.formats.sigstore.artifacts import BUNDLE_TYPE
from upwell.oci import Reference
from upwell.policy.signatures.verification import (
    ImageAttestation,
    ImageEvidence,
    ImageSignature,
)
from upwell.registry.attachments.reader import AttachmentReader, FoundAttachments
from upwell.registry.errors import RegistryError
from upwell.registry.interface import RequestAccess


@dataclass(frozen=True, slots=True)
class EvidencePlace:
    """Copy of an image, by digest, and the access to it."""

    image: Reference
    access: RequestAccess


class EvidenceUnknownError(Exception):
    """A registry did not say what there is; what was found before was not enough."""

    def __init__(self, cause: RegistryError) -> None:
        super().__init__(str(cause))


async def evidence_at(
    reader: AttachmentReader,
    places: Sequence[EvidencePlace],
    predicates: frozenset[str],
    names: Sequence[str] = (),
) -> AsyncGenerator[ImageEvidence]:
    """Yield the evidence that was found so far, the more with each one.

    `names` are those that the image goes by.

    Whoever has found enough asks no further. Raises EvidenceUnknownError at the end when one of
    the places could not be asked.
    """
    before, failure = ImageEvidence(), None
    for place in places:
        found = before
        try:
            readings = reader.readings(place.image, predicates, place.access, names)
            async with aclosing(readings):
                async for reading in readings:
                    found = before + await _evidence_of(reading)
                    yield found
        except RegistryError as error:
            failure = failure or error
        before = found
    if failure is not None:
        raise EvidenceUnknownError(failure) from failure


async def _evidence_of(found: FoundAttachments) -> ImageEvidence:
    if found.attestations:  # which may be large
        return await asyncio.to_thread(_evidence, found)
    return _evidence(found)


def _evidence(found: FoundAttachments) -> ImageEvidence:
    signatures = [
        ImageSignature(one.content, layer_signature(one.annotations), one.annotations)
        for one in found.signatures
    ]
    return ImageEvidence(tuple(signatures), _attestations(found.attestations))


def _attestations(found: Iterable[Blob]) -> tuple[ImageAttestation, ...]:
    """Return those of the contents that are attestations."""
    attestations = []
    for blob in found:
        try:
            if blob.media_type == BUNDLE_TYPE:
                bundle = Bundle.parse(blob.content)
                one = ImageAttestation(bundle.envelope, bundle.proof)
            else:
                proof = SigningProof.of_annotations(blob.annotations)
                one = ImageAttestation(SignedEnvelope.parse(blob.content), proof, blob.content)
        except InvalidSignatureDocumentError:
            continue
        attestations.append(one)
    return tuple(attestations)
