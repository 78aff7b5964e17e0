"""An issuer of tokens without a network: its keys, its documents, and tokens that it signs."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from upwell.server.auth.issuers import Issuer, IssuerUnavailableError

ISSUER = "https://id.example.com/realm"
AUDIENCE = "upwell"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

type PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_RSA_KEY = rsa.generate_private_key(65537, 2048)


def public_key(key: PrivateKey, **members: Any) -> dict[str, Any]:
    """Return the JWK of a key's public half."""
    match key:
        case rsa.RSAPrivateKey():
            document = RSAAlgorithm.to_jwk(key.public_key())
        case ec.EllipticCurvePrivateKey():
            document = ECAlgorithm.to_jwk(key.public_key())
        case _:
            document = OKPAlgorithm.to_jwk(key.public_key())
    return {**json.loads(document), **members}


def claims(**changed: Any) -> dict[str, Any]:
    """Return the claims of a token that is valid at NOW; None leaves one out."""
    now = int(NOW.timestamp())
    found = {"iss": ISSUER, "aud": AUDIENCE, "sub": "4711", "iat": now, "exp": now + 300, **changed}
    return {name: value for name, value in found.items() if value is not None}


def signed(
    said: Mapping[str, Any],
    key: PrivateKey = RSA_KEY,
    algorithm: str = "RS256",
    **header: Any,
) -> str:
    """Return a token."""
    return jwt.encode(dict(said), key, algorithm, headers={"kid": "one", **header})


def forged(header: object, said: object, signature: bytes = b"") -> str:
    """Return a token by hand, of any header."""
    parts = (json.dumps(header).encode(), json.dumps(said).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


class PublishedByTest:
    """Documents of ISSUER that a test changes, and a clock."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [public_key(RSA_KEY, kid="one")]
        self.metadata: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
        self.raw: bytes | None = None
        """In place of both documents."""
        self.fault = ""
        self.reads = 0
        self.passed = 1000.0

    def issuer(self) -> Issuer:
        return Issuer(ISSUER, self, lambda: NOW, lambda: self.passed)

    async def read(self, url: str, limit: int) -> bytes:
        del limit
        self.reads += 1
        if self.fault:
            raise IssuerUnavailableError(url, self.fault)
        if self.raw is not None:
            return self.raw
        is_keys = url.endswith("/keys")
        return json.dumps({"keys": self.keys} if is_keys else self.metadata).encode()
