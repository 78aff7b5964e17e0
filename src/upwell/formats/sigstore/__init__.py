"""Signatures and attestations of images, as cosign and sigstore write them.

DSSE envelopes, in-toto statements, simple signing, bundles, the manifests that carry them, and the
keys that check them. Bytes of strangers are parsed by code whose work their size bounds.
"""

from upwell.formats.sigstore.artifacts import (
    Artifact,
    Blob,
    bundle_manifest,
    layer_signature,
    layered_manifest,
    signature_manifest,
)
from upwell.formats.sigstore.bundle import Bundle
from upwell.formats.sigstore.certificates import CertificateAuthorities, InvalidCertificateError
from upwell.formats.sigstore.documents import InvalidSignatureDocumentError, canonical
from upwell.formats.sigstore.dsse import EnvelopeSignature, SignedEnvelope, pre_authentication
from upwell.formats.sigstore.keys import InvalidPublicKeyError, SignatureKey
from upwell.formats.sigstore.log_body import SignedContent
from upwell.formats.sigstore.proof import NO_PROOF, SigningProof
from upwell.formats.sigstore.simple_signing import SimpleSigning
from upwell.formats.sigstore.statement import InTotoStatement, PredicateType, Subject
from upwell.formats.sigstore.trust import (
    SignedBy,
    TrustedAuthorities,
    TrustedFulcio,
    TrustedKeys,
    TrustRoot,
    UntrustedSignatureError,
)
from upwell.formats.sigstore.verified import (
    claim_of,
    statement_of,
)

__all__ = [
    "NO_PROOF",
    "Artifact",
    "Blob",
    "Bundle",
    "CertificateAuthorities",
    "EnvelopeSignature",
    "InTotoStatement",
    "InvalidCertificateError",
    "InvalidPublicKeyError",
    "InvalidSignatureDocumentError",
    "PredicateType",
    "SignatureKey",
    "SignedBy",
    "SignedContent",
    "SignedEnvelope",
    "SigningProof",
    "SimpleSigning",
    "Subject",
    "TrustRoot",
    "TrustedAuthorities",
    "TrustedFulcio",
    "TrustedKeys",
    "UntrustedSignatureError",
    "bundle_manifest",
    "canonical",
    "claim_of",
    "layer_signature",
    "layered_manifest",
    "pre_authentication",
    "signature_manifest",
    "statement_of",
]
