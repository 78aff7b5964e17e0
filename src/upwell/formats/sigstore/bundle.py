"""Sigstore bundles of an envelope (sigstore, protobuf-specs, bundle v0.3)."""

from dataclasses import dataclass
from typing import Self

from upwell.formats.sigstore.documents import canonical, json_object, mapping, text
from upwell.formats.sigstore.dsse import MAX_ENVELOPE_BYTES, SignedEnvelope
from upwell.formats.sigstore.proof import NO_PROOF, SigningProof

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_OVERHEAD = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bundle:
    """An envelope, and what checks it: the id of a key, which is a hint, or a certificate."""

    envelope: SignedEnvelope
    key_id: str = ""
    proof: SigningProof = NO_PROOF

    def encode(self) -> bytes:
        """Return the JSON form; equal bundles, equal bytes."""
        is_key = not self.proof.certificates
        return canonical({
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": (
                {"publicKey": {"hint": self.key_id}} if is_key else self.proof.material()
            ),
            "dsseEnvelope": self.envelope.document(),
        })  # fmt: skip

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse the JSON form; raises InvalidSignatureDocumentError. Nothing is checked by it."""
        document = json_object(raw, "sigstore bundle", MAX_ENVELOPE_BYTES + _OVERHEAD)
        material = mapping(document.get("verificationMaterial"), "verificationMaterial")
        key = mapping(material.get("publicKey") or {}, "verificationMaterial.publicKey")
        hint = text(key.get("hint") or "", "verificationMaterial.publicKey.hint")
        envelope = SignedEnvelope.of(document.get("dsseEnvelope"))
        return cls(envelope, hint, SigningProof.of_material(material))
