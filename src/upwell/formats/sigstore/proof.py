"""Proof that a signer adds to a signature: a certificate, and the log's entry about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from upwell.formats.sigstore.certificates import (
    MAX_CERTIFICATES_BYTES,
    InvalidCertificateError,
    certificates_of,
    pem_of,
)
from upwell.formats.sigstore.documents import (
    InvalidSignatureDocumentError,
    decoded,
    encoded,
    items,
    mapping,
)
from upwell.formats.sigstore.log_body import kind_of
from upwell.formats.sigstore.log_entry import LogEntry

CERTIFICATE = "dev.sigstore.cosign/certificate"
CHAIN = "dev.sigstore.cosign/chain"
ENTRY = "dev.sigstore.cosign/bundle"
_MAX_SHOWN = 6
_MAX_ENTRIES = 4


@dataclass(frozen=True, slots=True)
class SigningProof:
    """Certificates in DER, the signer's first, and entries of logs; nothing is checked."""

    certificates: tuple[bytes, ...] = ()
    entries: tuple[LogEntry, ...] = ()

    @classmethod
    def of_annotations(cls, annotations: Mapping[str, str]) -> Self:
        """Read what cosign writes beside a signature; what is no proof counts as none."""
        entry = annotations.get(ENTRY, "")
        try:
            certificates = [
                *certificates_of(annotations.get(CERTIFICATE, "").encode(), 1),
                *certificates_of(annotations.get(CHAIN, "").encode(), _MAX_SHOWN),
            ]
            return cls(tuple(certificates), (LogEntry.of_annotation(entry),) if entry else ())
        except (InvalidCertificateError, InvalidSignatureDocumentError, UnicodeEncodeError):
            return cls()

    def annotations(self) -> dict[str, str]:
        """Return it as cosign writes it beside a signature; nothing where there is no proof."""
        if not self.certificates:
            return {}
        leaf, *chain = self.certificates
        found = {CERTIFICATE: pem_of([leaf]), ENTRY: self.entries[0].annotation()}
        return found | ({CHAIN: pem_of(chain)} if chain else {})

    @classmethod
    def of_material(cls, material: Mapping[str, Any]) -> Self:
        """Read the verificationMaterial of a bundle; raises InvalidSignatureDocumentError."""
        shown: list[object] = []
        if material.get("certificate"):
            shown = [material["certificate"]]
        elif material.get("x509CertificateChain"):
            chain = mapping(material["x509CertificateChain"], "x509CertificateChain")
            shown = items(chain.get("certificates"), "certificates", _MAX_SHOWN)
        entries = items(material.get("tlogEntries") or [], "tlogEntries", _MAX_ENTRIES)
        return cls(tuple(map(_certificate, shown)), tuple(map(LogEntry.of_bundle, entries)))

    def material(self) -> dict[str, Any]:
        """Return it as the verificationMaterial of a bundle (v0.3: the signer's own alone)."""
        return {
            "certificate": {"rawBytes": encoded(self.certificates[0])},
            "tlogEntries": [one.document(*kind_of(one.body)) for one in self.entries],
        }


NO_PROOF = SigningProof()
"""A signature that stands for itself."""


def _certificate(value: object) -> bytes:
    der = decoded(mapping(value, "certificate").get("rawBytes"), "certificate.rawBytes")
    if len(der) > MAX_CERTIFICATES_BYTES:
        raise InvalidSignatureDocumentError(f"certificate: {len(der)} bytes")
    return der
