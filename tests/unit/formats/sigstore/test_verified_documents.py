"""Signed documents: what a trusted key has signed counts, and nothing else."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from upwell.formats.sigstore import (
    EnvelopeSignature,
    InTotoStatement,
    SignatureKey,
    SignedContent,
    SignedEnvelope,
    SigningProof,
    SimpleSigning,
    Subject,
    TrustedKeys,
    UntrustedSignatureError,
    claim_of,
    layer_signature,
    pre_authentication,
    statement_of,
)
from upwell.formats.sigstore.artifacts import signature_layer
from upwell.formats.sigstore.dsse import IN_TOTO
from upwell.oci import Digest
from upwell.signing.keys import ImageSigner

IMAGE, OTHER_IMAGE = Digest.of(b"image"), Digest.of(b"other image")
STATEMENT = InTotoStatement((Subject("r/app", IMAGE),), "https://example.com/said", {"so": True})


@pytest.fixture(scope="module")
def signer() -> ImageSigner:
    return ImageSigner(generate_private_key(SECP256R1()))


@pytest.fixture(scope="module")
def stranger() -> SignatureKey:
    return ImageSigner.generate().key


def enveloped(signer: ImageSigner, payload: bytes, payload_type: str = IN_TOTO) -> SignedEnvelope:
    signature = signer.sign(pre_authentication(payload_type, payload))
    return SignedEnvelope(payload, (EnvelopeSignature(signature),), payload_type)


def verified_claim(
    keys: Sequence[SignatureKey], signature: bytes, payload: bytes
) -> SimpleSigning | None:
    content = SignedContent.of_payload(payload, signature)
    return claim_of(payload) if is_trusted(keys, content) else None


def verified_statement(
    keys: Sequence[SignatureKey], envelope: SignedEnvelope, image: Digest
) -> InTotoStatement | None:
    content = SignedContent.of_envelope(envelope)
    return statement_of(envelope, image) if is_trusted(keys, content) else None


def is_trusted(keys: Sequence[SignatureKey], content: SignedContent) -> bool:
    try:
        TrustedKeys(tuple(keys)).signer(content, SigningProof())
    except UntrustedSignatureError:
        return False
    return True


def test_a_claim_counts_by_a_key_that_made_it(signer: ImageSigner, stranger: SignatureKey) -> None:
    claim = SimpleSigning("r/app", IMAGE)
    payload = claim.encode()
    signature = layer_signature(signature_layer(payload, signer.sign(payload)).annotations)

    assert verified_claim([stranger, signer.key], signature, payload) == claim
    assert verified_claim([stranger], signature, payload) is None
    assert verified_claim([signer.key], signature, payload.replace(b"r/app", b"r/bad")) is None


def test_a_signature_of_something_else_claims_nothing(signer: ImageSigner) -> None:
    payload = STATEMENT.encode()

    assert verified_claim([signer.key], signer.sign(payload), payload) is None


@pytest.mark.parametrize("text", ["", "no base64", "é"])
def test_a_layer_without_a_signature_has_none(text: str) -> None:
    layer = replace(signature_layer(b"", b"signature"), annotations={})
    name = next(iter(signature_layer(b"", b"signature").annotations))

    assert layer_signature(layer.annotations) == b""
    assert layer_signature({name: text}) == b""


def test_a_statement_counts_by_a_key_that_made_it(
    signer: ImageSigner, stranger: SignatureKey
) -> None:
    envelope = enveloped(signer, STATEMENT.encode())

    assert verified_statement([stranger, signer.key], envelope, IMAGE) == STATEMENT
    assert verified_statement([stranger], envelope, IMAGE) is None
    assert verified_statement([signer.key], envelope, OTHER_IMAGE) is None


def test_what_is_signed_as_another_type_is_no_statement(signer: ImageSigner) -> None:
    """A signature is of the type, too: nothing that a key signed for another use says anything."""
    envelope = enveloped(signer, STATEMENT.encode(), "application/json")

    assert envelope.is_signed_by([signer.key])
    assert verified_statement([signer.key], envelope, IMAGE) is None


def test_what_is_signed_and_no_statement_says_nothing(signer: ImageSigner) -> None:
    assert verified_statement([signer.key], enveloped(signer, b"{}"), IMAGE) is None
