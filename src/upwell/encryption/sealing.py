"""The one form of what is sealed: AES-256-GCM (SP 800-38D), bound to a place and a purpose.

Bytes: a version (1), the key's id (8), a nonce (12), the length of the place (2), the place, and
the ciphertext with its tag. All before it but the nonce is authenticated. A place names purpose and
position, as `place` joins them: what is sealed opens for whoever expects it there.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
KEY_BYTES = 32
KEY_ID_BYTES = 8
_NONCE_BYTES = 12
_NONCE_AT = 1 + KEY_ID_BYTES
_LENGTH_AT = _NONCE_AT + _NONCE_BYTES
_PLACE_AT = _LENGTH_AT + 2
_SEPARATOR = "\0"


class SealError(Exception):
    """Sealed bytes cannot be opened: they are damaged, or another key has sealed them."""


class UnknownSealingKeyError(SealError):
    """No key that is at hand has sealed them."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key that seals, with the id by which what it sealed names it."""

    id: bytes
    key: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> "DataKey":
        """Return a new key."""
        return cls(token_bytes(KEY_ID_BYTES), token_bytes(KEY_BYTES))

    @classmethod
    def of(cls, key: bytes) -> "DataKey":
        """Return a key whose id follows from it, and tells nothing of it."""
        return cls(hmac.digest(key, b"upwell key id", "sha256")[:KEY_ID_BYTES], key)


class Cipher(Protocol):
    """AES-256-GCM by one key."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return the ciphertext with its tag."""
        ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return the content; raises InvalidTag, ValueError or SealError."""
        ...


class Sealer:
    """Seals by one key, and opens what any of several has sealed."""

    def __init__(self, current: DataKey | None, others: Iterable[DataKey] = ()) -> None:
        """Without `current`, nothing can be sealed."""
        self.current = current
        keys = [*others, *((current,) if current is not None else ())]
        self._ciphers: dict[bytes, Cipher] = {one.id: AESGCM(one.key) for one in keys}
        self._id = b"" if current is None else current.id

    @classmethod
    def by(cls, key_id: bytes, cipher: Cipher) -> "Sealer":
        """Return what seals by a key that nobody but the cipher knows."""
        made = cls(None)
        made._ciphers[key_id], made._id = cipher, key_id
        return made

    def seal(self, where: bytes, content: bytes) -> bytes:
        """Return `content`, sealed for a place of at most 65,535 bytes."""
        if not self._id:
            raise ValueError("there is no key that seals")
        key_id, length = self._id, len(where).to_bytes(2)
        nonce = token_bytes(_NONCE_BYTES)
        bound = b"".join((_VERSION, key_id, length, where))
        sealed = self._ciphers[key_id].encrypt(nonce, content, bound)
        return b"".join((_VERSION, key_id, nonce, length, where, sealed))

    def open(self, sealed: bytes) -> tuple[bytes, bytes]:
        """Return place and content; raises SealError."""
        cipher = self._ciphers.get(sealed[1:_NONCE_AT])
        if sealed[:1] != _VERSION or cipher is None:
            raise UnknownSealingKeyError("its data key is unknown")
        end = _PLACE_AT + int.from_bytes(sealed[_LENGTH_AT:_PLACE_AT])
        bound = sealed[:_NONCE_AT] + sealed[_LENGTH_AT:end]
        try:
            content = cipher.decrypt(sealed[_NONCE_AT:_LENGTH_AT], sealed[end:], bound)
        except (InvalidTag, ValueError) as error:
            raise SealError("it is damaged, or not what was sealed") from error
        return sealed[_PLACE_AT:end], content

    def open_at(self, where: bytes, sealed: bytes) -> bytes:
        """Return the content of what was sealed for a place; raises SealError."""
        found, content = self.open(sealed)
        if found != where:
            raise SealError("it was sealed for another place")
        return content

    def is_current(self, sealed: bytes) -> bool:
        """Return True if the key that seals now has sealed it."""
        return self.current is not None and sealed[1:_NONCE_AT] == self.current.id


def place(purpose: str, *position: str) -> bytes:
    """Return the name of a place: of a purpose, and of a position within that."""
    return _SEPARATOR.join((purpose, *position)).encode("utf-8", "surrogatepass")


def is_sealed(content: bytes) -> bool:
    """Return True for the beginning of sealed bytes: no text begins so."""
    return content[:1] == _VERSION


def open_bare(key: bytes, raw: bytes, bound: bytes) -> bytes:
    """Open what earlier versions have sealed without a form: a nonce and the ciphertext.

    Raises SealError.
    """
    try:
        return AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError) as error:
        raise SealError("it is damaged, or not what was sealed") from error
