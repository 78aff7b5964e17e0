"""Documents about images: what is written is read again, and what is no such document refused."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from upwell.formats.sigstore import (
    Bundle,
    EnvelopeSignature,
    InTotoStatement,
    InvalidPublicKeyError,
    InvalidSignatureDocumentError,
    PredicateType,
    SignatureKey,
    SignedEnvelope,
    SimpleSigning,
    Subject,
    pre_authentication,
)
from upwell.oci import Digest

IMAGE = Digest.of(b"image")
CLAIM = SimpleSigning("registry.example:5000/shop/web", IMAGE)
STATEMENT = InTotoStatement(
    (Subject("registry.example/shop/web", IMAGE),), PredicateType.PROVENANCE, {"a": {"b": [1]}}
)
ENVELOPE = SignedEnvelope(STATEMENT.encode(), (EnvelopeSignature(b"signature", "key"),))


def test_pre_authentication_is_that_of_the_specification() -> None:
    # DSSE protocol.md, test vectors
    signed = pre_authentication("http://example.com/HelloWorld", b"hello world")

    assert signed == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_documents_are_read_as_they_were_written() -> None:
    bundle = Bundle(ENVELOPE, "id")

    assert SimpleSigning.parse(CLAIM.encode()) == CLAIM
    assert InTotoStatement.parse(STATEMENT.encode()) == STATEMENT
    assert SignedEnvelope.parse(ENVELOPE.encode()) == ENVELOPE
    assert Bundle.parse(bundle.encode()) == bundle


@given(st.binary(max_size=200), st.binary(max_size=80))
def test_every_envelope_survives_its_json_form(payload: bytes, signature: bytes) -> None:
    envelope = SignedEnvelope(payload, (EnvelopeSignature(signature),), "text/plain")

    assert SignedEnvelope.parse(envelope.encode()) == envelope


def test_a_claim_that_cosign_wrote_is_read() -> None:
    raw = (
        b'{"critical":{"identity":{"docker-reference":"r.example/a"},"image":{"docker-manifest-digest":'
        b'"'
        + str(IMAGE).encode()
        + b'"},"type":"cosign container image signature"},"optional":null}'
    )

    assert SimpleSigning.parse(raw) == SimpleSigning("r.example/a", IMAGE)


def test_older_statements_are_read_and_other_documents_are_not() -> None:
    document = json.loads(STATEMENT.encode())
    old = {**document, "_type": "https://in-toto.io/Statement/v0.1"}

    assert InTotoStatement.parse(json.dumps(old).encode()) == STATEMENT
    with pytest.raises(InvalidSignatureDocumentError, match="_type"):
        InTotoStatement.parse(json.dumps({**document, "_type": "https://example.com"}).encode())


def test_a_statement_is_about_its_subjects_alone() -> None:
    assert STATEMENT.is_about(IMAGE)
    assert not STATEMENT.is_about(Digest.of(b"another"))


def test_a_subject_with_digests_of_other_kinds_has_those_that_can_be_verified() -> None:
    document = json.loads(STATEMENT.encode())
    document["subject"][0]["digest"]["gitCommit"] = "ab" * 20

    assert InTotoStatement.parse(json.dumps(document).encode()).subjects == STATEMENT.subjects


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        b"[" * 100_000,
        b'{"payload":"AA==","payloadType":"x","signatures":[]}',
        b'{"payload":"!","payloadType":"x","signatures":[{"sig":"AA=="}]}',
        b'{"payload":"AA==","payloadType":1,"signatures":[{"sig":"AA=="}]}',
        b'{"payload":"AA==","payloadType":"x","signatures":[7]}',
        b'{"payload":"AA==","payloadType":"\\ud800","signatures":[{"sig":"AA=="}]}',
        b'{"payload":"AA==","payloadType":"x","signatures":['
        + b'{"sig":""},' * 40
        + b'{"sig":""}]}',
    ],
)
def test_what_is_no_envelope_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidSignatureDocumentError):
        SignedEnvelope.parse(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = st.sampled_from([
    "_type", "subject", "predicate", "predicateType", "digest", "name", "critical", "identity",
    "image", "type", "payload", "payloadType", "signatures", "sig", "keyid", "dsseEnvelope",
    "verificationMaterial", "publicKey", "hint",
])  # fmt: skip


@given(st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON, max_size=4), max_size=6))
def test_other_json_is_refused_with_the_one_error(document: dict[str, Any]) -> None:
    raw = json.dumps(document).encode()

    for parse in (SignedEnvelope.parse, InTotoStatement.parse, SimpleSigning.parse, Bundle.parse):
        try:
            found = parse(raw)
            assert found.encode()
        except InvalidSignatureDocumentError as error:
            assert str(error)  # noqa: PT017 - it may also be a document


def test_values_without_end_are_refused_before_they_are_made() -> None:
    raw = b'{"a":[' + b"[]," * 1_200_000 + b"[]]}"

    with pytest.raises(InvalidSignatureDocumentError, match="values"):
        InTotoStatement.parse(raw)


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519", "rsa"])
def test_a_key_verifies_what_its_holder_signed_and_nothing_else(kind: str) -> None:
    signed = ENVELOPE.signed
    match kind:
        case "ecdsa":
            curve = ec.generate_private_key(ec.SECP256R1())
            key, signature = (
                SignatureKey(curve.public_key()),
                curve.sign(signed, ec.ECDSA(SHA256())),
            )
        case "ed25519":
            edwards = ed25519.Ed25519PrivateKey.generate()
            key, signature = SignatureKey(edwards.public_key()), edwards.sign(signed)
        case _:
            big = rsa.generate_private_key(65537, 2048)
            key, signature = SignatureKey(big.public_key()), big.sign(signed, PKCS1v15(), SHA256())
    key = SignatureKey.parse(key.pem())
    envelope = SignedEnvelope(ENVELOPE.payload, (EnvelopeSignature(signature),))

    assert envelope.is_signed_by([key])
    assert not SignedEnvelope(b"other", envelope.signatures).is_signed_by([key])
    assert not ENVELOPE.is_signed_by([key])
    assert not envelope.is_signed_by([])


def test_keys_that_are_none_are_refused() -> None:
    strange = dsa.generate_private_key(2048).public_key()
    short = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505

    for pem in (b"", b"x" * 100_000, SignatureKey(strange).pem(), SignatureKey(short).pem()):  # type: ignore[arg-type]
        with pytest.raises(InvalidPublicKeyError):
            SignatureKey.parse(pem)
