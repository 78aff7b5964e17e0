"""Texts that only this server can read, and that nobody can change: AES-256-GCM (SP 800-38D)."""

import base64
import binascii
import hmac
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAX_SEALED_LETTERS = 16 * 1024
_NONCE_BYTES = 12


class Seals:
    """Seals texts for a purpose; a sealed text opens for that purpose only.

    `secret` outlives the process, as what is sealed may.
    """

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(hmac.digest(secret, b"sign-in", "sha256"))

    def seal(self, purpose: str, text: str) -> str:
        """Return the text in a form that may stand in a cookie or a Secret."""
        nonce = token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(), purpose.encode())
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, purpose: str, sealed: str) -> str | None:
        """Return the text; None when it was not sealed here, for this purpose."""
        if len(sealed) > MAX_SEALED_LETTERS or not sealed.isascii():
            return None
        try:
            raw = base64.b64decode(sealed, altchars=b"-_", validate=True)
            nonce, content = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
            return self._cipher.decrypt(nonce, content, purpose.encode()).decode()
        except (binascii.Error, InvalidTag, ValueError):
            return None
