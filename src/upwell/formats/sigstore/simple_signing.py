"""Payload of a cosign signature (cosign, specs/SIGNATURE_SPEC.md; containers, atomic-signature)."""

from dataclasses import dataclass
from typing import Self

from upwell.formats.sigstore.documents import (
    InvalidSignatureDocumentError,
    canonical,
    json_object,
    mapping,
    text,
)
from upwell.oci import Digest, InvalidDigestError

MEDIA_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
"""Annotation of a layer: the signature of its bytes, in base64."""
MAX_PAYLOAD_BYTES = 64 * 1024
_TYPE = "cosign container image signature"


@dataclass(frozen=True, slots=True)
class SimpleSigning:
    """Claim that a signature is of: the repository, as `registry/name`, and the image's digest."""

    repository: str
    image: Digest

    def encode(self) -> bytes:
        """Return the bytes to sign; equal claims, equal bytes."""
        return canonical({
            "critical": {
                "identity": {"docker-reference": self.repository},
                "image": {"docker-manifest-digest": str(self.image)},
                "type": _TYPE,
            },
            "optional": None,
        })  # fmt: skip

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse a payload, whose signature was checked; raises InvalidSignatureDocumentError."""
        document = json_object(raw, "simple signing", MAX_PAYLOAD_BYTES)
        critical = mapping(document.get("critical"), "critical")
        kind = critical.get("type")
        if kind != _TYPE:
            raise InvalidSignatureDocumentError(f"critical.type: {kind!r} is not {_TYPE!r}")
        identity = mapping(critical.get("identity"), "critical.identity")
        image = mapping(critical.get("image"), "critical.image")
        try:
            digest = Digest.parse(text(image.get("docker-manifest-digest"), "critical.image"))
        except InvalidDigestError as error:
            raise InvalidSignatureDocumentError(f"critical.image: {error}") from error
        repository = text(identity.get("docker-reference"), "critical.identity.docker-reference")
        return cls(repository, digest)
