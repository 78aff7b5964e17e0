"""Claims and statements of content whose signature was checked; what is no such is not there."""

from upwell.formats.sigstore.documents import InvalidSignatureDocumentError
from upwell.formats.sigstore.dsse import IN_TOTO, SignedEnvelope
from upwell.formats.sigstore.simple_signing import SimpleSigning
from upwell.formats.sigstore.statement import InTotoStatement
from upwell.oci import Digest


def claim_of(payload: bytes) -> SimpleSigning | None:
    """Return what a payload claims; None: it is no claim."""
    try:
        return SimpleSigning.parse(payload)
    except InvalidSignatureDocumentError:
        return None


def statement_of(envelope: SignedEnvelope, image: Digest) -> InTotoStatement | None:
    """Return the statement of an envelope about an image; None: there is none."""
    if envelope.payload_type != IN_TOTO:
        return None
    try:
        statement = InTotoStatement.parse(envelope.payload)
    except InvalidSignatureDocumentError:
        return None
    return statement if statement.is_about(image) else None
