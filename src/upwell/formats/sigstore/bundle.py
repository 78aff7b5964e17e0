"""Sigstore bundles of an envelope that a key has signed (sigstore, protobuf-specs, bundle v0.3)."""

from dataclasses import dataclass
from typing import Self

from upwell.formats.sigstore.documents import canonical, json_object, mapping, text
from upwell.formats.sigstore.dsse import MAX_ENVELOPE_BYTES, SignedEnvelope

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_OVERHEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Bundle:
    """An envelope, and the id of the key that checks it: a hint for people, and nothing to trust.

    Bundles whose key stands in a certificate have no id.
    """

    envelope: SignedEnvelope
    key_id: str = ""

    def encode(self) -> bytes:
        """Return the JSON form; equal bundles, equal bytes."""
        return canonical({
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": self.key_id}},
            "dsseEnvelope": self.envelope.document(),
        })  # fmt: skip

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse the JSON form; raises InvalidSignatureDocumentError. Nothing is checked by it."""
        document = json_object(raw, "sigstore bundle", MAX_ENVELOPE_BYTES + _OVERHEAD)
        material = mapping(document.get("verificationMaterial"), "verificationMaterial")
        key = mapping(material.get("publicKey") or {}, "verificationMaterial.publicKey")
        hint = text(key.get("hint") or "", "verificationMaterial.publicKey.hint")
        return cls(SignedEnvelope.of(document.get("dsseEnvelope")), hint)
