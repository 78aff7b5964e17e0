"""Public keys of an issuer of tokens (JSON Web Key Sets, RFC 7517), as far as they may be used.

A key that is private, too large, of another use or of no known kind is left out: an issuer may
have those beside the ones that count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from jwt import PyJWK, PyJWTError

MAX_KEYS = 100
"""Keys of a set that are looked at."""
_MAX_KEY_ID = 512
_MAX_MODULUS_LETTERS = 1366
"""Of base64: 8192 bits. Verification takes a time that grows with their square."""
_MIN_RSA_BITS = 2048
"""RFC 7518, 3.3."""
_MAX_EXPONENT_LETTERS = 8

ALGORITHMS: Mapping[str, tuple[str, str]] = {
    **{f"{family}{bits}": ("RSA", "") for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Algorithms that are accepted, with the kind and curve of their keys: signatures by a private key
alone, so that whoever can verify a token cannot make one."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """Usable keys of an issuer."""

    keys: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, document: object) -> Self:
        """Read a key set; one that is none has no keys."""
        listed = document.get("keys") if isinstance(document, dict) else None
        found = listed[:MAX_KEYS] if isinstance(listed, list) else []
        return cls(tuple(one for one in found if _is_usable(one)))

    def find(self, algorithm: str, key_id: str) -> PyJWK | None:
        """Return the one key that a token names; without a name, the only one that fits."""
        fitting = [one for one in self.keys if _fits(one, algorithm)]
        if key_id:
            fitting = [one for one in fitting if one.get("kid") == key_id]
        if not fitting or (len(fitting) > 1 and not key_id):
            return None
        return _key(fitting[0], algorithm)


def _is_usable(key: object) -> bool:
    if not isinstance(key, dict) or "d" in key or "k" in key:
        return False
    if key.get("use", "sig") != "sig" or not _allows_verification(key.get("key_ops")):
        return False
    name = key.get("kid", "")
    if not isinstance(name, str) or len(name) > _MAX_KEY_ID:
        return False
    modulus, exponent = key.get("n", ""), key.get("e", "")
    return (
        isinstance(modulus, str)
        and isinstance(exponent, str)
        and len(modulus) <= _MAX_MODULUS_LETTERS
        and len(exponent) <= _MAX_EXPONENT_LETTERS
    )


def _allows_verification(operations: Sequence[object] | None) -> bool:
    return operations is None or (isinstance(operations, list) and "verify" in operations)


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    kind, curve = ALGORITHMS[algorithm]
    is_same = key.get("kty") == kind and (not curve or key.get("crv") == curve)
    return is_same and key.get("alg", algorithm) == algorithm


def _key(key: Mapping[str, Any], algorithm: str) -> PyJWK | None:
    try:
        found = PyJWK(dict(key), algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    return None if getattr(found.key, "key_size", _MIN_RSA_BITS) < _min_bits(algorithm) else found


def _min_bits(algorithm: str) -> int:
    return _MIN_RSA_BITS if ALGORITHMS[algorithm][0] == "RSA" else 0
