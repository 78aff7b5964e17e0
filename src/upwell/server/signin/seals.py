"""Texts that only this server can read, and that nobody can change."""

import base64
import binascii
import hmac

from upwell.encryption.sealing import (
    DataKey,
    Sealer,
    SealError,
    UnknownSealingKeyError,
    open_bare,
    place,
)

MAX_SEALED_LETTERS = 16 * 1024


class Seals:
    """Seals texts for a purpose; a sealed text opens for that purpose only.

    `secret` outlives the process, as what is sealed may.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"sign-in", "sha256")
        self._sealer = Sealer(DataKey.of(self._key))

    def seal(self, purpose: str, text: str) -> str:
        """Return the text in a form that may stand in a cookie or a Secret."""
        sealed = self._sealer.seal(place("sign-in", purpose), text.encode())
        return base64.urlsafe_b64encode(sealed).decode()

    def open(self, purpose: str, sealed: str) -> str | None:
        """Return the text; None when it was not sealed here, for this purpose."""
        if len(sealed) > MAX_SEALED_LETTERS or not sealed.isascii():
            return None
        try:
            return self._opened(purpose, base64.b64decode(sealed, altchars=b"-_", validate=True))
        except (binascii.Error, SealError, ValueError):
            return None

    def _opened(self, purpose: str, raw: bytes) -> str:
        try:
            return self._sealer.open_at(place("sign-in", purpose), raw).decode()
        except UnknownSealingKeyError:  # as sessions of an earlier version have it
            return open_bare(self._key, raw, purpose.encode()).decode()
