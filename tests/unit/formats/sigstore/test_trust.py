"""Roots of trust: certificates of Fulcio and of others, keys with a log, and what is neither."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.signing.sigstore_services import ISSUER, CodeAuthority, TransparencyLog

from upwell.formats.sigstore import (
    CertificateAuthorities,
    SignatureKey,
    SignedContent,
    SigningProof,
    TrustedAuthorities,
    TrustedFulcio,
    TrustedKeys,
    UntrustedSignatureError,
    canonical,
)
from upwell.formats.sigstore.certificates import SignerCertificate
from upwell.formats.sigstore.log_body import rekord_body
from upwell.formats.sigstore.log_entry import LogEntry

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
EMAIL, WORKFLOW = "developer@vendor.test", "https://git.test/shop/.ci/release@refs/heads/main"
ROOT = CodeAuthority("root")
BETWEEN = CodeAuthority("between", above=ROOT)
STRANGER = CodeAuthority("between", above=CodeAuthority("root"))
OF_SITES = CodeAuthority("web", above=ROOT, usages=(ExtendedKeyUsageOID.SERVER_AUTH,))
LOG = TransparencyLog()
TRUSTED = CertificateAuthorities.parse(ROOT.certificate.public_bytes(Encoding.PEM))
LOG_KEYS = (SignatureKey(LOG.key.public_key()),)
FULCIO = TrustedFulcio(TRUSTED, LOG_KEYS, ISSUER, EMAIL)


@dataclass
class Made:
    """A signature with its proof, each part of which a test may make otherwise."""

    payload: bytes = b"payload"
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    authority: CodeAuthority = BETWEEN
    identity: str = EMAIL
    issuer: str = ISSUER
    usages: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.CODE_SIGNING,)
    log: TransparencyLog = LOG
    logged: datetime = BEGIN + timedelta(minutes=1)

    def __post_init__(self) -> None:
        self.certificate = self.authority.issue(
            self.key.public_key(), self.identity, self.issuer, BEGIN, usages=self.usages
        )
        self.content = SignedContent.of_payload(
            self.payload, self.key.sign(self.payload, ECDSA(SHA256()))
        )
        self.entry = self.entered(self.content)

    def entered(self, content: SignedContent) -> LogEntry:
        """Return the log's entry about a content."""
        body = rekord_body(content, content.signatures[0], SignerCertificate(self.certificate))
        return LogEntry.of_answer(canonical({"uuid": self.log.add(body, self.logged)}))

    @property
    def proof(self) -> SigningProof:
        chain = [self.certificate, *self.authority.chain()]
        return SigningProof(
            tuple(one.public_bytes(Encoding.DER) for one in chain), (self.entry,)
        )  # fmt: skip


def refusal(root: Any, content: SignedContent, proof: SigningProof) -> str:
    with pytest.raises(UntrustedSignatureError) as refused:
        root.signer(content, proof)
    return str(refused.value)


def test_a_certificate_that_counted_when_it_was_logged_is_good() -> None:
    made = Made()
    signer = FULCIO.signer(made.content, made.proof)
    assert (
        str(signer) == f"signed by {EMAIL} at issuer {ISSUER}, logged at 2026-03-01T00:01:00Z"
    )  # fmt: skip


def test_a_workload_signs_by_its_uri() -> None:
    made = Made(identity=WORKFLOW)
    by_uri = replace(FULCIO, email="", is_signer=lambda uri: uri.endswith("@refs/heads/main"))
    assert by_uri.signer(made.content, made.proof).identity == WORKFLOW
    assert f"it is signed by '{WORKFLOW}'" in refusal(FULCIO, made.content, made.proof)
    person = Made()
    assert refusal(by_uri, person.content, person.proof)


def test_a_certificate_for_an_empty_uri_is_nobodys() -> None:
    made = Made(identity="")
    for is_signer in (None, lambda uri: uri == WORKFLOW, lambda _uri: True):
        by_uri = replace(FULCIO, email="", is_signer=is_signer)
        assert "it is signed by" in refusal(by_uri, made.content, made.proof)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (Made(identity="other@vendor.test"), "it is signed by 'other@vendor.test'"),
        (Made(identity=f"{EMAIL}.evil.test"), "it is signed by"),
        (Made(issuer="https://evil.test"), "it is signed at the issuer 'https://evil.test'"),
        (Made(issuer=""), "it names no OIDC issuer"),
        (Made(logged=BEGIN + timedelta(minutes=11)), "valid at 2026-03-01T00:11:00Z"),
        (Made(logged=BEGIN - timedelta(minutes=1)), "valid at 2026-02-28T23:59:00Z"),
        (Made(log=TransparencyLog()), "its log entry is not of the policy's log"),
        (Made(authority=CodeAuthority("root")), "none that the policy's authorities have issued"),
        (
            Made(authority=CodeAuthority("between", above=CodeAuthority("root"))),
            "none that the policy's",
        ),
        (Made(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)), "none that the policy's"),
        (
            Made(authority=CodeAuthority("leaf", above=BETWEEN, is_authority=False)),
            "none that the policy's",
        ),
        (
            Made(authority=OF_SITES),
            "none that the policy's",
        ),
    ],
)
def test_no_other_certificate_is_good(made: Made, why: str) -> None:
    assert why in refusal(FULCIO, made.content, made.proof)


def test_an_entry_of_the_log_is_about_one_signature_alone() -> None:
    made, other = Made(), Made(payload=b"another payload")
    assert "no entry of the log" in refusal(FULCIO, made.content, replace(
        made.proof, entries=other.proof.entries
    ))  # fmt: skip
    assert "no entry of the log" in refusal(FULCIO, made.content, replace(made.proof, entries=()))
    again = SignedContent.of_payload(made.payload, made.key.sign(b"payload", ECDSA(SHA256())))
    assert "no entry of the log" in refusal(FULCIO, again, made.proof)


def test_a_certificate_is_that_of_the_signature_and_of_the_entry() -> None:
    made, other = Made(), Made()
    foreign = replace(made.proof, certificates=other.proof.certificates)
    assert "not of its certificate's key" in refusal(FULCIO, made.content, foreign)
    same_key = Made(key=made.key, identity="other@vendor.test")
    foreign = replace(made.proof, certificates=same_key.proof.certificates)
    assert "no entry of the log" in refusal(FULCIO, made.content, foreign)


def test_the_time_is_the_log_s_own_word() -> None:
    made = Made(logged=BEGIN + timedelta(hours=1))
    entry = replace(made.entry, integrated=int(BEGIN.timestamp()) + 60)
    assert "not of the policy's log" in refusal(
        FULCIO, made.content, replace(made.proof, entries=(entry,))
    )
    unsigned = replace(made.entry, promise=b"")
    assert "no signed time" in refusal(
        FULCIO, made.content, replace(made.proof, entries=(unsigned,))
    )


def test_a_proof_lies_in_annotations_as_it_was() -> None:
    made = Made()
    read = SigningProof.of_annotations(made.proof.annotations())
    assert FULCIO.signer(made.content, read) == FULCIO.signer(made.content, made.proof)


def test_a_bundle_without_authorities_between_needs_them_in_the_policy() -> None:
    made = Made()
    bundled = SigningProof.of_material(made.proof.material())
    assert refusal(FULCIO, made.content, bundled)
    both = b"".join(one.public_bytes(Encoding.PEM) for one in BETWEEN.chain())
    whole = replace(FULCIO, authorities=CertificateAuthorities.parse(both))
    assert whole.signer(made.content, bundled).identity == EMAIL


def test_an_authority_of_one_s_own_issues_certificates_that_count_now() -> None:
    made = Made(issuer="")
    own = TrustedAuthorities(TRUSTED, BEGIN + timedelta(minutes=5), EMAIL)
    assert own.signer(made.content, replace(made.proof, entries=())).identity == EMAIL
    assert "it is signed by" in refusal(replace(own, email="x@y.test"), made.content, made.proof)
    assert "it is signed by" in refusal(replace(own, host="vendor.test"), made.content, made.proof)
    late = replace(own, now=BEGIN + timedelta(minutes=11))
    assert "valid at" in refusal(late, made.content, made.proof)
    assert refusal(own, Made().content, made.proof)


SIGNED = Made()
KEY = generate_private_key(SECP256R1())
BY_KEY = SignedContent.of_payload(b"payload", KEY.sign(b"payload", ECDSA(SHA256())))
LOGGED = TrustedKeys((SignatureKey(KEY.public_key()),), LOG_KEYS)


def keyed(log: TransparencyLog = LOG) -> LogEntry:
    """Return a log's entry about the signature by the key."""
    body = rekord_body(BY_KEY, BY_KEY.signatures[0], LOGGED.keys[0])
    return LogEntry.of_answer(canonical({"uuid": log.add(body, BEGIN)}))


def test_a_key_with_a_log_needs_the_entry() -> None:
    content, entry = BY_KEY, keyed()
    LOGGED.signer(content, SigningProof(entries=(entry,)))
    replace(LOGGED, log=()).signer(content, SigningProof())
    assert "no entry" in refusal(LOGGED, content, SigningProof())
    elsewhere = keyed(TransparencyLog())
    assert "not of the policy's log" in refusal(LOGGED, content, SigningProof(entries=(elsewhere,)))


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_proof_of_inclusion_shows_the_entry_too(before: int, after: int) -> None:
    log = TransparencyLog(LOG.key)
    for at in range(before):
        log.add(b"%d" % at, BEGIN)
    keyed(log)
    for at in range(after):
        log.add(b"after %d" % at, BEGIN)
    entry = keyed(log)
    shown = replace(entry, promise=b"")
    LOGGED.signer(BY_KEY, SigningProof(entries=(entry,)))
    assert entry.proof is not None
    shown.require_logged(LOG_KEYS)
    for wrong in (
        replace(entry.proof, hashes=(*entry.proof.hashes, b"\0" * 32)),
        replace(entry.proof, checkpoint=entry.proof.checkpoint.replace("rekor", "other", 1)),
        replace(entry.proof, size=entry.proof.size + 1),
        replace(entry.proof, checkpoint=""),
    ):
        with pytest.raises(ValueError, match="proof of inclusion"):
            replace(shown, proof=wrong).require_logged(LOG_KEYS)
    with pytest.raises(ValueError, match="proof of inclusion"):
        replace(shown, body=b"other").require_logged(LOG_KEYS)


@given(
    st.dictionaries(
        st.sampled_from([*Made().proof.annotations()]),
        st.text(max_size=200) | st.sampled_from([*Made().proof.annotations().values()]),
    )
)
def test_nothing_that_a_stranger_writes_is_trusted_or_breaks(annotations: dict[str, str]) -> None:
    content = SignedContent.of_payload(b"other", b"signature")
    assert refusal(FULCIO, content, SigningProof.of_annotations(annotations))


VERSION_AT = Made().proof.certificates[0].index(b"\xa0\x03\x02\x01\x02") + 4


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@example(at=VERSION_AT, byte=40)  # no version of X.509
@given(at=st.integers(0, 2**16), byte=st.integers(0, 255))
def test_no_certificate_that_a_stranger_makes_up_breaks(at: int, byte: int) -> None:
    made = SIGNED
    leaf, *chain = made.proof.certificates
    at %= len(leaf)
    changed = leaf[:at] + bytes([byte]) + leaf[at + 1 :]
    if changed == leaf:
        return
    for certificates in ((changed, *chain), (leaf, changed, *chain)):
        proof = SigningProof(certificates, made.proof.entries)
        for root in (FULCIO, TrustedAuthorities(TRUSTED, BEGIN, EMAIL)):
            try:
                root.signer(made.content, proof)
            except UntrustedSignatureError:
                continue
            assert certificates[0] == leaf


def test_half_a_letter_in_an_annotation_is_no_proof() -> None:
    for name, value in Made().proof.annotations().items():
        found = SigningProof.of_annotations({name: f"{value}\ud800"})
        assert found == SigningProof()


def test_chains_that_lead_nowhere_are_given_up_soon() -> None:
    """An authority that is above itself in many ways: cryptography bounds what it tries."""
    above = CodeAuthority("circle")
    many = [CodeAuthority("circle", key=above.key, above=above) for _ in range(5)]
    made = Made(authority=above)
    shown = [made.certificate, *(one.certificate for one in many)]
    proof = SigningProof(tuple(one.public_bytes(Encoding.DER) for one in shown), (made.entry,))
    assert "none that the policy's" in refusal(FULCIO, made.content, proof)
