"""Fulcio (API v1 and v2) and Rekor (API v1) on loopback, with authorities and a key of their own.

Identity tokens are believed: a certificate is for whom the token names. cosign takes both for the
real ones (tests/integration/signatures/test_keyless.py).
"""

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.support.ports import free_port

from upwell.formats.sigstore import SignatureKey, canonical
from upwell.formats.sigstore.dsse import SignedEnvelope

PEM = serialization.Encoding.PEM
ISSUER = "https://accounts.test"
_ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def identity_token(identity: str, issuer: str = ISSUER) -> str:
    """Return a token of somebody that nobody has signed: an email address, or a URI."""
    kind = "sub" if "://" in identity else "email"
    claims: dict[str, Any] = {"iss": issuer, "aud": "sigstore", "sub": identity, kind: identity}
    claims |= {"email_verified": True, "exp": 4_102_444_800, "iat": 1_700_000_000}
    parts = ({"alg": "HS256"}, claims)
    text = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in parts]
    return b".".join((*text, b"c2lnbmVk")).decode()


@dataclass(eq=False)
class CodeAuthority:
    """A certificate authority and the certificates above it, the root last."""

    name: str
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    above: "CodeAuthority | None" = None
    usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CODE_SIGNING,)
    is_authority: bool = True
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        made = (
            _builder(self.above or self, self.name, self.key.public_key())
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
            .add_extension(
                x509.BasicConstraints(self.is_authority, 1 if self.is_authority else None),
                critical=True,
            )
            .add_extension(_usage(issues=self.is_authority), critical=True)
            .add_extension(x509.ExtendedKeyUsage(self.usages), critical=False)
        )
        self.certificate = made.sign((self.above or self).key, SHA256())

    def chain(self) -> list[x509.Certificate]:
        return [self.certificate, *(self.above.chain() if self.above else [])]

    def pem(self) -> bytes:
        """Return the certificates of the chain."""
        return b"".join(one.public_bytes(PEM) for one in self.chain())

    def issue(
        self,
        public: EllipticCurvePublicKey,
        identity: str,
        issuer: str,
        begin: datetime,
        minutes: int = 10,
        usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CODE_SIGNING,),
    ) -> x509.Certificate:
        """Return a certificate as Fulcio makes them."""
        is_email = identity != "" and "://" not in identity
        name = x509.RFC822Name if is_email else x509.UniformResourceIdentifier
        der = issuer.encode()
        made = (
            _builder(self, "", public)
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(minutes=minutes))
            .add_extension(x509.SubjectAlternativeName([name(identity)]), critical=True)
            .add_extension(_usage(issues=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if issuer:
            made = made.add_extension(
                x509.UnrecognizedExtension(_ISSUER_V1, der), critical=False
            ).add_extension(
                x509.UnrecognizedExtension(_ISSUER_V2, b"\x0c%c" % len(der) + der), critical=False
            )
        return made.sign(self.key, SHA256())


@dataclass(eq=False)
class TransparencyLog:
    """Rekor's log."""

    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    leaves: list[bytes] = field(default_factory=list)

    def pem(self) -> bytes:
        return SignatureKey(self.key.public_key()).pem()

    def sign(self, content: bytes) -> bytes:
        return self.key.sign(content, ECDSA(SHA256()))

    def add(self, body: bytes, at: datetime) -> dict[str, Any]:
        """Take an entry in; return it as Rekor's API tells of it."""
        self.leaves.append(hashlib.sha256(b"\0" + body).digest())
        log_id = hashlib.sha256(_der(self.key.public_key())).hexdigest()
        index = len(self.leaves) - 1
        entry: dict[str, Any] = {
            "body": encoded(body),
            "integratedTime": int(at.timestamp()),
            "logID": log_id,
            "logIndex": index,
        }
        promise = self.sign(canonical(entry))
        root = _root(self.leaves)
        note = f"rekor.test\n{len(self.leaves)}\n{encoded(root)}\n"
        signature = encoded(bytes.fromhex(log_id)[:4] + self.sign(note.encode()))
        return entry | {
            "verification": {
                "signedEntryTimestamp": encoded(promise),
                "inclusionProof": {
                    "checkpoint": f"{note}\n— rekor.test {signature}\n",
                    "hashes": [one.hex() for one in _path(index, self.leaves)],
                    "logIndex": index,
                    "rootHash": root.hex(),
                    "treeSize": len(self.leaves),
                },
            }
        }


@dataclass
class Sigstore:
    """Both services; what they do wrong stands in their fields."""

    url: str = ""
    authority: CodeAuthority = field(
        default_factory=lambda: CodeAuthority("intermediate", above=CodeAuthority("root"))
    )
    log: TransparencyLog = field(default_factory=TransparencyLog)
    identity: str = ""
    """Subject of certificates, whatever the token says; empty: as it says."""
    fulcio_status: int = 0
    """Status of Fulcio's answers; 0: they are proper."""
    rekor_status: int = 0
    foreign_body: bool = False
    """True: the log takes in something else than it was given."""
    tokens: list[str] = field(default_factory=list)
    """Identity tokens that came."""

    def certificates(self, public: EllipticCurvePublicKey, token: str) -> list[str]:
        """Return a certificate and those above it, in PEM."""
        self.tokens.append(token)
        middle = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        identity = self.identity or claims.get("email") or claims["sub"]
        leaf = self.authority.issue(public, identity, claims["iss"], _begin())
        return [one.public_bytes(PEM).decode() for one in (leaf, *self.authority.chain())]

    async def signing_cert_v1(self, request: web.Request) -> web.Response:
        asked = await request.json()
        token = request.headers["Authorization"].removeprefix("Bearer ")
        public = serialization.load_pem_public_key(base64.b64decode(asked["publicKey"]["content"]))
        assert isinstance(public, EllipticCurvePublicKey)
        text = "".join(self.certificates(public, token))
        return web.Response(status=201, text=text, content_type="application/pem-certificate-chain")

    async def signing_cert_v2(self, request: web.Request) -> web.Response:
        if self.fulcio_status:
            return web.Response(status=self.fulcio_status)
        asked = await request.json()
        signing = x509.load_pem_x509_csr(base64.b64decode(asked["certificateSigningRequest"]))
        assert signing.is_signature_valid
        public = signing.public_key()
        assert isinstance(public, EllipticCurvePublicKey)
        chain = self.certificates(public, asked["credentials"]["oidcIdentityToken"])
        return web.json_response(
            {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}
        )

    async def entries(self, request: web.Request) -> web.Response:
        if self.rekor_status:
            return web.Response(status=self.rekor_status)
        proposal = await request.json()
        if self.foreign_body:
            proposal["spec"] = {"other": True}
            body = canonical(proposal)
        else:
            body = canonical(proposal | {"spec": _canonical_spec(proposal)})
        entry = self.log.add(body, datetime.now(UTC))
        uuid = self.log.leaves[-1].hex()
        headers = {"Location": f"/api/v1/log/entries/{uuid}"}
        return web.json_response({uuid: entry}, status=201, headers=headers)

    async def public_key(self, _request: web.Request) -> web.Response:
        return web.Response(body=self.log.pem(), content_type="application/x-pem-file")


@asynccontextmanager
async def sigstore_services() -> AsyncIterator[Sigstore]:
    """Run both on one port."""
    services = Sigstore()
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.add_routes([
        web.post("/api/v1/signingCert", services.signing_cert_v1),
        web.post("/api/v2/signingCert", services.signing_cert_v2),
        web.post("/api/v1/log/entries", services.entries),
        web.get("/api/v1/log/publicKey", services.public_key),
    ])  # fmt: skip
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    services.url = f"http://127.0.0.1:{port}"
    try:
        yield services
    finally:
        await runner.cleanup()


def envelope_spec(envelope: SignedEnvelope, verifier: bytes, raw: bytes) -> dict[str, Any]:
    """Return what Rekor's type dsse keeps of an envelope."""
    return {
        "envelopeHash": _hash(raw),
        "payloadHash": _hash(envelope.payload),
        "signatures": [
            {"signature": encoded(one.signature), "verifier": encoded(verifier)}
            for one in envelope.signatures
        ],
    }


def _canonical_spec(proposal: dict[str, Any]) -> dict[str, Any]:
    """Return the spec of an entry as the log keeps it; raises KeyError for other types."""
    spec: dict[str, Any] = proposal["spec"]
    match proposal["kind"], proposal["apiVersion"]:
        case "hashedrekord", "0.0.1":
            return spec
        case "dsse", "0.0.1":
            content = spec["proposedContent"]
            raw = content["envelope"].encode()
            verifier = base64.b64decode(content["verifiers"][0])
            return envelope_spec(SignedEnvelope.parse(raw), verifier, raw)
        case "intoto", "0.0.2":
            kept = spec["content"]["envelope"]
            payload = base64.b64decode(base64.b64decode(kept.pop("payload")))
            return {
                "content": {
                    "envelope": kept,
                    "hash": spec["content"].get("hash", _hash(b"")),
                    "payloadHash": _hash(payload),
                }
            }
        case "intoto", "0.0.1":
            raw = spec["content"]["envelope"].encode()
            payload = SignedEnvelope.parse(raw).payload
            hashes = {"hash": _hash(raw), "payloadHash": _hash(payload)}
            return {"content": hashes, "publicKey": spec["publicKey"]}
    raise KeyError(proposal["kind"])


def _hash(content: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(content).hexdigest()}


def _begin() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _builder(
    authority: CodeAuthority, name: str, public: EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    above = authority.key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(authority.name))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False
        )
    )  # fmt: skip


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def _usage(*, issues: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not issues,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=issues,
        crl_sign=issues,
        encipher_only=False,
        decipher_only=False,
    )


def _der(key: EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _split(count: int) -> int:
    """Return the largest power of two below a count (RFC 6962, 2.1)."""
    return 1 << ((count - 1).bit_length() - 1)


def _root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    at = _split(len(leaves))
    return hashlib.sha256(b"\1" + _root(leaves[:at]) + _root(leaves[at:])).digest()


def _path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    at = _split(len(leaves))
    if index < at:
        return [*_path(index, leaves[:at]), _root(leaves[at:])]
    return [*_path(index - at, leaves[at:]), _root(leaves[:at])]
