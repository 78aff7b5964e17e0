"""Contract of signers: what each has signed, its own root of trust accepts, and no other does."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.signing.keyless_signers import keyless_signer
from tests.support.signing.sigstore_services import sigstore_services

from upwell.formats.sigstore import (
    Bundle,
    InTotoStatement,
    SignedContent,
    SigningProof,
    SimpleSigning,
    Subject,
    TrustRoot,
    UntrustedSignatureError,
    layer_signature,
    statement_of,
)
from upwell.formats.sigstore.artifacts import attestation_layer, signature_layer
from upwell.oci import Digest
from upwell.signing.interface import ContentSigner
from upwell.signing.key_signer import KeySigner
from upwell.signing.keyless import KeylessSigner
from upwell.signing.keys import ImageSigner

IMAGE = Digest.of(b"image")
PAYLOAD = SimpleSigning("registry.test/shop/app", IMAGE).encode()
STATEMENT = InTotoStatement(
    (Subject("registry.test/shop/app", IMAGE),), "https://predicates.test/one", {"so": True}
)
SIGNERS = (KeySigner, KeylessSigner)


@pytest.fixture(params=SIGNERS, ids=lambda one: one.__name__)
async def signer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ContentSigner]:
    if request.param is KeySigner:
        made = ImageSigner.generate()
        yield KeySigner(lambda: made)
        return
    async with sigstore_services() as services, keyless_signer(services, tmp_path) as keyless:
        yield keyless


@pytest.fixture
def stranger() -> TrustRoot:
    made = ImageSigner.generate()
    return KeySigner(lambda: made).trust


async def test_a_payload_is_signed_as_its_layer_says(
    signer: ContentSigner, stranger: TrustRoot
) -> None:
    made = await signer.sign_payload(PAYLOAD)
    layer = signature_layer(PAYLOAD, made.signature, made.proof)
    content = SignedContent.of_payload(layer.content, layer_signature(layer.annotations))
    proof = SigningProof.of_annotations(layer.annotations)
    signer.trust.signer(content, proof)
    other = SignedContent.of_payload(b"other", made.signature)
    for trust, signed in ((stranger, content), (signer.trust, other)):
        with pytest.raises(UntrustedSignatureError):
            trust.signer(signed, proof)


async def test_a_statement_is_signed_as_its_bundle_and_its_layer_say(
    signer: ContentSigner, stranger: TrustRoot
) -> None:
    made = await signer.sign_statement(STATEMENT.encode())
    bundle = Bundle.parse(made.encode())
    assert statement_of(bundle.envelope, IMAGE) == STATEMENT
    layer = attestation_layer(made.envelope.encode(), STATEMENT.predicate_type, made.proof)
    content = SignedContent.of_envelope(bundle.envelope, layer.content)
    for proof in (bundle.proof, SigningProof.of_annotations(layer.annotations)):
        signer.trust.signer(content, proof)
        with pytest.raises(UntrustedSignatureError):
            stranger.signer(content, proof)
