"""Bodies of log entries: what was signed, and by whom (Rekor: hashedrekord, dsse, intoto)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from upwell.formats.sigstore.certificates import (
    InvalidCertificateError,
    SignerCertificate,
    certificates_of,
)
from upwell.formats.sigstore.documents import (
    InvalidSignatureDocumentError,
    canonical,
    decoded,
    encoded,
    items,
    json_object,
    mapping,
)
from upwell.formats.sigstore.dsse import SignedEnvelope
from upwell.formats.sigstore.keys import InvalidPublicKeyError, SignatureKey

MAX_BODY_BYTES = 256 * 1024
HASHEDREKORD, DSSE, INTOTO = "hashedrekord", "dsse", "intoto"
_FIRST, _SECOND = "0.0.1", "0.0.2"
_MAX_SIGNATURES = 32

type Verifier = SignatureKey | SignerCertificate
"""Key or certificate that checks a signature, as the log names it."""


@dataclass(frozen=True, slots=True)
class SignedContent:
    """Bytes, the signatures of them, and how a log has to tell of both."""

    signed: bytes = field(repr=False)
    """The bytes that each signature is of."""
    signatures: tuple[bytes, ...] = field(repr=False)
    payload: bytes = field(repr=False)
    kinds: tuple[str, ...]
    """Kinds of log entries that tell of such content."""
    envelope: bytes = field(default=b"", repr=False)
    """The envelope as it was found."""

    @classmethod
    def of_payload(cls, payload: bytes, signature: bytes) -> Self:
        """Return a signature of the payload itself (simple signing)."""
        return cls(payload, (signature,), payload, (HASHEDREKORD,))

    @classmethod
    def of_envelope(cls, envelope: SignedEnvelope, raw: bytes = b"") -> Self:
        """Return the signatures of a DSSE envelope; `raw` is the envelope as it was found."""
        signatures = tuple(one.signature for one in envelope.signatures)
        return cls(envelope.signed, signatures, envelope.payload, (DSSE, INTOTO), raw)


def tells_of(body: bytes, content: SignedContent, signature: bytes, verifier: Verifier) -> bool:
    """Return True if a log entry says that `verifier` checks this signature of this content."""
    try:
        document = json_object(body, "body", MAX_BODY_BYTES)
        kind, version = document.get("kind"), document.get("apiVersion")
        if kind not in content.kinds:
            return False
        spec = mapping(document.get("spec"), "spec")
        match kind, version:
            case "hashedrekord", "0.0.1":
                return _is_rekord(spec, content, signature, verifier)
            case "dsse", "0.0.1":
                return _is_dsse(spec, content, signature, verifier)
            case "intoto", "0.0.2":
                return _is_intoto(spec, content, signature, verifier)
            case "intoto", "0.0.1":
                return _is_old_intoto(spec, content, verifier)
    except (InvalidSignatureDocumentError, InvalidCertificateError, InvalidPublicKeyError):
        pass
    return False


def rekord_body(content: SignedContent, signature: bytes, verifier: Verifier) -> bytes:
    """Return the entry of a signature of a payload, as it is proposed to the log."""
    spec = {
        "data": {"hash": _hash(content.payload)},
        "signature": {
            "content": encoded(signature),
            "publicKey": {"content": encoded(_pem(verifier))},
        },
    }
    return canonical({"apiVersion": _FIRST, "kind": HASHEDREKORD, "spec": spec})


def dsse_proposal(envelope: SignedEnvelope, verifier: Verifier) -> bytes:
    """Return the entry of an envelope, as it is proposed to the log."""
    content = {
        "envelope": envelope.encode().decode(),
        "verifiers": [encoded(_pem(verifier))],
    }
    spec = {"proposedContent": content}
    return canonical({"apiVersion": _FIRST, "kind": DSSE, "spec": spec})


def kind_of(body: bytes) -> tuple[str, str]:
    """Return kind and version of an entry; raises InvalidSignatureDocumentError."""
    document = json_object(body, "body", MAX_BODY_BYTES)
    return str(document.get("kind")), str(document.get("apiVersion"))


def _is_rekord(
    spec: Mapping[str, Any], content: SignedContent, signature: bytes, verifier: Verifier
) -> bool:
    data = mapping(spec.get("data"), "spec.data")
    made = mapping(spec.get("signature"), "spec.signature")
    key = mapping(made.get("publicKey"), "spec.signature.publicKey")
    return (
        data.get("hash") == _hash(content.payload)
        and decoded(made.get("content"), "spec.signature.content") == signature
        and _is_named(key.get("content"), verifier)
    )


def _is_dsse(
    spec: Mapping[str, Any], content: SignedContent, signature: bytes, verifier: Verifier
) -> bool:
    return spec.get("payloadHash") == _hash(content.payload) and any(
        decoded(one.get("signature"), "signature") == signature
        and _is_named(one.get("verifier"), verifier)
        for one in _signatures(spec)
    )


def _is_intoto(
    spec: Mapping[str, Any], content: SignedContent, signature: bytes, verifier: Verifier
) -> bool:
    told = mapping(spec.get("content"), "spec.content")
    envelope = mapping(told.get("envelope"), "spec.content.envelope")
    return told.get("payloadHash") == _hash(content.payload) and any(
        # It is in base64 twice.
        decoded(decoded(one.get("sig"), "sig").decode("ascii", "replace"), "sig") == signature
        and _is_named(one.get("publicKey"), verifier)
        for one in _signatures(envelope)
    )


def _is_old_intoto(spec: Mapping[str, Any], content: SignedContent, verifier: Verifier) -> bool:
    """It has no signature: the hash of the whole envelope stands for that."""
    told = mapping(spec.get("content"), "spec.content")
    is_same = bool(content.envelope) and told.get("hash") == _hash(content.envelope)
    return is_same and _is_named(spec.get("publicKey"), verifier)


def _signatures(value: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = items(value.get("signatures"), "signatures", _MAX_SIGNATURES)
    return [mapping(one, "signatures") for one in found]


def _hash(content: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(content).hexdigest()}


def _is_named(value: object, verifier: Verifier) -> bool:
    """Return True if a key or certificate of the log, in PEM, is this one."""
    pem = decoded(value, "publicKey")
    match verifier:
        case SignerCertificate():
            return list(certificates_of(pem, 1)) == [verifier.der]
        case SignatureKey():
            return _der(SignatureKey.parse(pem)) == _der(verifier)


def _pem(verifier: Verifier) -> bytes:
    match verifier:
        case SignerCertificate():
            return verifier.certificate.public_bytes(Encoding.PEM)
        case SignatureKey():
            return verifier.pem()


def _der(key: SignatureKey) -> bytes:
    return key.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
