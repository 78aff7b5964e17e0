"""Public keys that check signatures of images: ECDSA, RSA (PKCS #1 v1.5) and Ed25519, as cosign."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from upwell.formats.pem import public_pem

MAX_KEY_BYTES = 16 * 1024
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192

type _Key = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey


class InvalidPublicKeyError(ValueError):
    """A text is no public key in PEM, or none of a kind that checks signatures here."""


@dataclass(frozen=True, slots=True)
class SignatureKey:
    """Public key that checks signatures over SHA-256."""

    public: _Key

    @classmethod
    def parse(cls, pem: bytes) -> Self:
        """Read a public key in PEM (SubjectPublicKeyInfo); raises InvalidPublicKeyError."""
        if len(pem) > MAX_KEY_BYTES:
            raise InvalidPublicKeyError(f"{len(pem)} bytes are no public key in PEM")
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidPublicKeyError(f"it is no public key in PEM: {error}") from error
        if not isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey):
            raise InvalidPublicKeyError("its kind is none of ECDSA, RSA and Ed25519")
        if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
            raise InvalidPublicKeyError(f"an RSA key of {key.key_size} bits is too short")
        if isinstance(key, RSAPublicKey) and key.key_size > _MAX_RSA_BITS:
            raise InvalidPublicKeyError(f"an RSA key of {key.key_size} bits is too long")
        return cls(key)

    @property
    def id(self) -> str:
        """The base64 of the SHA-256 of the key's DER, which sigstore gives as a bundle's hint."""
        der = self.public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(hashlib.sha256(der).digest()).decode()

    def pem(self) -> bytes:
        """Return the key as PEM."""
        return public_pem(self.public)

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Return True if the holder of this key has signed these bytes."""
        try:
            match self.public:
                case EllipticCurvePublicKey() as key:
                    key.verify(signature, signed, ECDSA(hashes.SHA256()))
                case Ed25519PublicKey() as key:
                    key.verify(signature, signed)
                case RSAPublicKey() as key:
                    key.verify(signature, signed, PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True
