"""Claims and statements that one of the trusted keys has signed; all else counts as not there."""

from collections.abc import Iterable, Sequence

from upwell.formats.sigstore.documents import InvalidSignatureDocumentError
from upwell.formats.sigstore.dsse import IN_TOTO, SignedEnvelope
from upwell.formats.sigstore.keys import SignatureKey
from upwell.formats.sigstore.simple_signing import SimpleSigning
from upwell.formats.sigstore.statement import InTotoStatement
from upwell.oci import Digest


def verified_claim(
    keys: Iterable[SignatureKey], signature: bytes, payload: bytes
) -> SimpleSigning | None:
    """Return what a signature claims (simple signing); None: none of the keys made it."""
    if not any(key.verifies(signature, payload) for key in keys):
        return None
    return claim_of(payload)


def claim_of(payload: bytes) -> SimpleSigning | None:
    """Return what a payload claims, whose signature was checked; None: it is no claim."""
    try:
        return SimpleSigning.parse(payload)
    except InvalidSignatureDocumentError:
        return None


def verified_statement(
    keys: Sequence[SignatureKey], envelope: SignedEnvelope, image: Digest
) -> InTotoStatement | None:
    """Return the statement of an envelope about an image; None: there is none by these keys."""
    return statement_of(envelope, image) if envelope.is_signed_by(keys) else None


def statement_of(envelope: SignedEnvelope, image: Digest) -> InTotoStatement | None:
    """Return the statement of an envelope, whose signature was checked; None: not about `image`."""
    if envelope.payload_type != IN_TOTO:
        return None
    try:
        statement = InTotoStatement.parse(envelope.payload)
    except InvalidSignatureDocumentError:
        return None
    return statement if statement.is_about(image) else None
