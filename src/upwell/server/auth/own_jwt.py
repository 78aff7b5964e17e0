"""JSON Web Tokens that this server signs for itself (RFC 7519, by HMAC-SHA256 of RFC 7518, 3.2)."""

import json
from collections.abc import Mapping
from typing import Any

import jwt

MAX_JWT_LETTERS = 4096
_ALGORITHM = "HS256"

type JwtClaims = Mapping[str, Any]


class OwnJwts:
    """Signs claims, and reads what it has signed. `key` (32 bytes) outlives the process."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, claims: JwtClaims) -> str:
        """Return a token that carries the claims."""
        return jwt.encode(dict(claims), self._key, _ALGORITHM)

    def open(self, token: str) -> JwtClaims | None:
        """Return the claims of a token; None when it was not signed here.

        Its times and its audience are for the caller to judge.
        """
        if len(token) > MAX_JWT_LETTERS or not token.isascii():
            return None
        try:
            # Whatever its header says, no other algorithm is tried.
            claims: JwtClaims = json.loads(jwt.PyJWS().decode(token, self._key, [_ALGORITHM]))
        except (jwt.PyJWTError, ValueError, RecursionError):
            return None
        return claims


def is_jwt(token: str) -> bool:
    """Return True if a token has the form of a signed JSON Web Token."""
    return token.count(".") == 2  # noqa: PLR2004 - HEADER.PAYLOAD.SIGNATURE
