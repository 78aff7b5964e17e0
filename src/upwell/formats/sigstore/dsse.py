"""Dead Simple Signing Envelopes (DSSE 1.0, envelope.md and protocol.md)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from upwell.formats.sigstore.documents import (
    MAX_DOCUMENT_BYTES,
    InvalidSignatureDocumentError,
    canonical,
    decoded,
    encoded,
    items,
    json_object,
    mapping,
    text,
)
from upwell.formats.sigstore.keys import SignatureKey

MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
"""The payload type of in-toto statements."""
MAX_ENVELOPE_BYTES = MAX_DOCUMENT_BYTES * 4 // 3 + 64 * 1024
_MAX_SIGNATURES = 8


@dataclass(frozen=True, slots=True)
class EnvelopeSignature:
    """One signature; `key_id` is a hint for people and nothing to trust."""

    signature: bytes = field(repr=False)
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class SignedEnvelope:
    """A payload with its type and its signatures."""

    payload: bytes = field(repr=False)
    signatures: tuple[EnvelopeSignature, ...]
    payload_type: str = IN_TOTO

    @property
    def signed(self) -> bytes:
        """The bytes that each signature is of."""
        return pre_authentication(self.payload_type, self.payload)

    def is_signed_by(self, keys: Iterable[SignatureKey]) -> bool:
        """Return True if one of `keys` made one of the signatures."""
        signed = self.signed
        return any(key.verifies(one.signature, signed) for key in keys for one in self.signatures)

    def document(self) -> dict[str, Any]:
        """Return the envelope as JSON data."""
        return {
            "payload": encoded(self.payload),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": one.key_id, "sig": encoded(one.signature)} for one in self.signatures
            ],
        }

    def encode(self) -> bytes:
        """Return the JSON form; equal envelopes, equal bytes."""
        return canonical(self.document())

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse the JSON form; raises InvalidSignatureDocumentError. Nothing is checked by it."""
        return cls.of(json_object(raw, "DSSE envelope", MAX_ENVELOPE_BYTES))

    @classmethod
    def of(cls, document: object) -> Self:
        """Read an envelope from JSON data; raises InvalidSignatureDocumentError."""
        envelope = mapping(document, "DSSE envelope")
        signatures = items(envelope.get("signatures"), "signatures", _MAX_SIGNATURES)
        if not signatures:
            raise InvalidSignatureDocumentError("DSSE envelope: it has no signature")
        return cls(
            decoded(envelope.get("payload"), "payload"),
            tuple(map(_signature, signatures)),
            text(envelope.get("payloadType"), "payloadType"),
        )


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """Return what a signature is made of (DSSE protocol.md, PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _signature(value: object) -> EnvelopeSignature:
    signature = mapping(value, "signatures")
    key_id = text(signature.get("keyid") or "", "signatures.keyid")
    return EnvelopeSignature(decoded(signature.get("sig"), "signatures.sig"), key_id)
