"""Tokens that say what they are for and are kept nowhere: claims with a MAC of the server's key."""

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from secrets import token_bytes

MAX_TOKEN_LETTERS = 2048
_KEY_BYTES = 32

type Claim = str | int
"""One thing that a token says."""


class Signatures:
    """Signs claims for a purpose, and reads what it has signed; a token opens one purpose only."""

    def __init__(self, key: bytes, letters: int = MAX_TOKEN_LETTERS) -> None:
        """`letters` is the length of the longest token that is read."""
        self._key = key
        self._letters = letters

    def sign(self, purpose: str, claims: Sequence[Claim]) -> str:
        """Return a token that may stand in the path of a URL."""
        payload = json.dumps(list(claims), separators=(",", ":")).encode()
        return f"{_text(payload)}.{_text(self._mac(purpose, payload))}"

    def open(self, purpose: str, token: str) -> list[Claim] | None:
        """Return the claims of a token; None when it was not signed here, for this purpose."""
        if len(token) > self._letters or not token.isascii():
            return None
        said, _, mac = token.partition(".")
        try:
            payload, given = _bytes(said), _bytes(mac)
        except (binascii.Error, ValueError):
            return None
        if not hmac.compare_digest(self._mac(purpose, payload), given):
            return None
        claims: list[Claim] = json.loads(payload)
        return claims

    def _mac(self, purpose: str, payload: bytes) -> bytes:
        return hmac.digest(self._key, purpose.encode() + b"\0" + payload, "sha256")


def new_signatures() -> Signatures:
    """Return signatures of a new key, which nobody else has."""
    return Signatures(token_bytes(_KEY_BYTES))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    padded = text + "=" * (-len(text) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True)
