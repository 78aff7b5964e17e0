"""Envelopes: the text of one object, sealed for the place that it has.

Bytes: a version (1), the data key's id (8), a nonce (12), the length of the identity (2), the
identity, and AES-256-GCM's ciphertext with its tag. All before it but the nonce is authenticated:
an envelope that is moved to another object's row, or to the change of another version, is told by
its identity. So is an older one of the same object, as long as the history has a newer change of
it; an older state that is put back with its history looks like itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from upwell.api.meta import ObjectKey

_VERSION = b"\x01"
KEY_ID_BYTES = 8
_NONCE_BYTES = 12
_NONCE_AT = 1 + KEY_ID_BYTES
_IDENTITY_AT = _NONCE_AT + _NONCE_BYTES
_SEPARATOR = "\0"
_PARTS = 5


class EnvelopeError(Exception):
    """An envelope cannot be opened: it is damaged, or stands where it does not belong."""


@dataclass(frozen=True, slots=True)
class SealedIdentity:
    """Object and version that an envelope belongs to."""

    kind: str
    namespace: str
    name: str
    uid: str
    version: str

    @property
    def key(self) -> ObjectKey:
        """Name of the object."""
        return ObjectKey(self.kind, self.namespace, self.name)

    def encode(self) -> bytes:
        """Return the bytes that are authenticated."""
        parts = (self.kind, self.namespace, self.name, self.uid, self.version)
        return _SEPARATOR.join(parts).encode("utf-8", "surrogatepass")

    @classmethod
    def decode(cls, raw: bytes) -> "SealedIdentity":
        """Read it; raises EnvelopeError."""
        parts = raw.decode("utf-8", "replace").split(_SEPARATOR)
        if len(parts) != _PARTS:
            raise EnvelopeError("its identity is damaged")
        return cls(*parts)


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key of envelopes."""

    id: bytes
    key: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> "DataKey":
        """Return a new key."""
        return cls(token_bytes(KEY_ID_BYTES), token_bytes(32))


class EnvelopeCipher:
    """Seals texts with one data key, or leaves them plain, and opens those of all keys."""

    def __init__(self, current: DataKey | None, keys: Mapping[bytes, DataKey]) -> None:
        self._current = current
        self._ciphers = {one.id: AESGCM(one.key) for one in keys.values()}
        if current is not None:
            self._ciphers[current.id] = AESGCM(current.key)

    @property
    def current(self) -> DataKey | None:
        """The key that seals; None: what is written is plain."""
        return self._current

    def seal(self, identity: SealedIdentity, text: str) -> str | bytes:
        """Return what to keep of a text."""
        if self._current is None:
            return text
        name = identity.encode()
        length = len(name).to_bytes(2)
        nonce = token_bytes(_NONCE_BYTES)
        bound = _VERSION + self._current.id + length + name
        sealed = self._ciphers[self._current.id].encrypt(nonce, text.encode(), bound)
        return b"".join((_VERSION, self._current.id, nonce, length, name, sealed))

    def open(self, kept: str | bytes) -> tuple[SealedIdentity | None, str]:
        """Return a text and its place; a plain one has none. Raises EnvelopeError."""
        if isinstance(kept, str):
            return None, kept
        cipher = self._ciphers.get(kept[1:_NONCE_AT])
        if kept[:1] != _VERSION or cipher is None:
            raise EnvelopeError("its data key is unknown")
        length = int.from_bytes(kept[_IDENTITY_AT : _IDENTITY_AT + 2])
        begin = _IDENTITY_AT + 2 + length
        name = kept[_IDENTITY_AT + 2 : begin]
        bound = kept[:_NONCE_AT] + kept[_IDENTITY_AT:begin]
        try:
            text = cipher.decrypt(kept[_NONCE_AT:_IDENTITY_AT], kept[begin:], bound).decode()
        except (InvalidTag, ValueError) as error:
            raise EnvelopeError("it is damaged, or not what was sealed") from error
        return SealedIdentity.decode(name), text

    def is_sealed_alike(self, kept: str | bytes) -> bool:
        """Return True unless the text is plain, and those that are written are not."""
        return isinstance(kept, bytes) or self._current is None

    def is_current(self, kept: str | bytes) -> bool:
        """Return True if the text is kept as `seal` keeps it now."""
        if isinstance(kept, str):
            return self._current is None
        return self._current is not None and kept[1:_NONCE_AT] == self._current.id
