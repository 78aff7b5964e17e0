"""Envelopes: the text of one object, sealed for the place that it has.

An envelope that is moved to another object's row, or to the change of another version, is told by
its identity. So is an older one of the same object, as long as the history has a newer change of
it; an older state that is put back with its history looks like itself.
"""

from dataclasses import dataclass

from upwell.api.meta import ObjectKey
from upwell.encryption.sealing import Sealer, SealError

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


class EnvelopeCipher:
    """Seals texts with one data key, or leaves them plain, and opens those of all keys."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal(self, identity: SealedIdentity, text: str) -> str | bytes:
        """Return what to keep of a text."""
        if self._sealer.current is None:
            return text
        return self._sealer.seal(identity.encode(), text.encode())

    def open(self, kept: str | bytes) -> tuple[SealedIdentity | None, str]:
        """Return a text and its place; a plain one has none. Raises EnvelopeError."""
        if isinstance(kept, str):
            return None, kept
        try:
            where, content = self._sealer.open(kept)
            return SealedIdentity.decode(where), content.decode()
        except SealError as error:
            raise EnvelopeError(str(error)) from error

    def is_sealed_alike(self, kept: str | bytes) -> bool:
        """Return True unless the text is plain, and those that are written are not."""
        return isinstance(kept, bytes) or self._sealer.current is None

    def is_current(self, kept: str | bytes) -> bool:
        """Return True if the text is kept as `seal` keeps it now."""
        if isinstance(kept, str):
            return self._sealer.current is None
        return self._sealer.is_current(kept)
