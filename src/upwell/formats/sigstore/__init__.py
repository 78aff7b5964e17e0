"""Signatures and attestations of images, as cosign and sigstore write them.

DSSE envelopes, in-toto statements, simple signing, bundles, the manifests that carry them, and the
keys that check them. Bytes of strangers are parsed by code whose work their size bounds.
"""

from upwell.formats.sigstore.artifacts import (
    Artifact,
    Blob,
    attachment_tags,
    attestation_tag,
    bundle_manifest,
    image_of_tag,
    layer_signature,
    layered_manifest,
    signature_manifest,
    signature_tag,
)
from upwell.formats.sigstore.bundle import Bundle
from upwell.formats.sigstore.documents import InvalidSignatureDocumentError, canonical
from upwell.formats.sigstore.dsse import EnvelopeSignature, SignedEnvelope, pre_authentication
from upwell.formats.sigstore.keys import InvalidPublicKeyError, SignatureKey
from upwell.formats.sigstore.simple_signing import SimpleSigning
from upwell.formats.sigstore.statement import InTotoStatement, PredicateType, Subject
from upwell.formats.sigstore.verified import verified_claim, verified_statement

__all__ = [
    "Artifact",
    "Blob",
    "Bundle",
    "EnvelopeSignature",
    "InTotoStatement",
    "InvalidPublicKeyError",
    "InvalidSignatureDocumentError",
    "PredicateType",
    "SignatureKey",
    "SignedEnvelope",
    "SimpleSigning",
    "Subject",
    "attachment_tags",
    "attestation_tag",
    "bundle_manifest",
    "canonical",
    "image_of_tag",
    "layer_signature",
    "layered_manifest",
    "pre_authentication",
    "signature_manifest",
    "signature_tag",
    "verified_claim",
    "verified_statement",
]
