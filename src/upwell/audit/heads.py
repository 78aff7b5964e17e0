"""Signed heads, by which a chain that was written anew is found out (Ed25519, RFC 8032).

A head is a line of the chain. Its signature covers its number and the digest of the line before,
and so everything before it. One that was copied elsewhere shows that nothing was cut off either.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from upwell.audit.chain import Link
from upwell.formats.pem import private_pem, public_pem

_CONTEXT = "upwell audit head v1"
KIND = "Head"
_MAX_KEY_BYTES = 16 * 1024


class AuditKeyError(Exception):
    """A key cannot be read; the message names its file."""


class InvalidHeadError(ValueError):
    """A head is not signed by the key."""


@dataclass(frozen=True, slots=True)
class HeadKey:
    """Key that checks heads."""

    public: Ed25519PublicKey

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a public key in PEM; raises AuditKeyError."""
        try:
            with path.open("rb") as file:
                key = serialization.load_pem_public_key(file.read(_MAX_KEY_BYTES))
        except OSError as error:
            raise AuditKeyError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise AuditKeyError(f"{path} is no public key in PEM: {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise AuditKeyError(f"{path} is no Ed25519 key")
        return cls(key)

    @property
    def id(self) -> str:
        """The first half of the SHA-256 of the raw key, hexadecimal."""
        raw = self.public.public_bytes_raw()
        return hashlib.sha256(raw).hexdigest()[:32]

    def pem(self) -> bytes:
        """Return the key as PEM."""
        return public_pem(self.public)

    def check(self, document: Mapping[str, Any]) -> None:
        """Raise InvalidHeadError unless a line is a head that this key has signed."""
        try:
            signature = base64.b64decode(str(document.get("signature", "")), validate=True)
            self.public.verify(signature, _signed(document["seq"], document["prev"]))
        except (ValueError, InvalidSignature, KeyError) as error:
            raise InvalidHeadError(
                f"the head in line {document.get('seq')} is not signed by key {self.id}"
            ) from error


@dataclass(frozen=True, slots=True)
class HeadSigner:
    """Key that signs heads."""

    private: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> Self:
        """Return a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, pem: bytes, path: Path) -> Self:
        """Read a private key in PEM; raises AuditKeyError, which names `path`."""
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise AuditKeyError(f"{path} is no private key in PEM") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise AuditKeyError(f"{path} is no Ed25519 key")
        return cls(key)

    @property
    def key(self) -> HeadKey:
        """The key that checks what this one signs."""
        return HeadKey(self.private.public_key())

    def private_pem(self) -> bytes:
        """Return the key itself as PEM (PKCS #8)."""
        return private_pem(self.private)

    def public_pem(self) -> bytes:
        """Return the key that checks, as PEM."""
        return self.key.pem()

    def head(self, link: Link) -> Mapping[str, Any]:
        """Return what the head that follows `link` says."""
        signature = self.private.sign(_signed(link.seq + 1, link.digest))
        return {
            "kind": KIND,
            "key": self.key.id,
            "signature": base64.b64encode(signature).decode(),
        }


def is_head(document: Mapping[str, Any]) -> bool:
    """Return True if a line is a head."""
    return document.get("kind") == KIND


def _signed(seq: int, prev: str) -> bytes:
    return f"{_CONTEXT}\n{seq}\n{prev}".encode()
