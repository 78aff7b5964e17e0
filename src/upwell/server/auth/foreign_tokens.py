"""Checks of JSON Web Tokens that somebody else has issued; nothing is asked of anybody.

A token is believed when it has a signature by a key of its issuer, and was made by that issuer, for
this audience, for this time (RFC 7519, RFC 8725).
"""

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jwt

from upwell.server.auth.key_sets import ALGORITHMS

MAX_TOKEN_LETTERS = 64 * 1024
"""Of a token with the groups of a person who has many."""
_LEEWAY = 60.0
"""Seconds by which the issuer's clock may differ."""


class IssuerError(Exception):
    """Base of the errors about issuers and their tokens; messages hold no token."""

    retryable = False


class InvalidTokenError(IssuerError):
    """A token that is not believed; `why` follows "the token"."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the token {why}")
        self.why = why


def issuer_of(token: str) -> str:
    """Return the issuer that a token names, to find the one to ask: nothing of it is verified.

    Raises InvalidTokenError for what is no JSON Web Token.
    """
    _header(token)
    try:
        payload = jwt.PyJWS().decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise InvalidTokenError("is no JSON Web Token") from error
    issuer = _object(payload["payload"]).get("iss")
    if not isinstance(issuer, str):
        raise InvalidTokenError("names no issuer")
    return issuer


def named_key(token: str) -> tuple[str, str]:
    """Return the algorithm and the id of the key that a token names; raises InvalidTokenError."""
    header = _header(token)
    algorithm, key_id = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise InvalidTokenError(f"has to be signed by one of {', '.join(ALGORITHMS)}")
    if "crit" in header:
        raise InvalidTokenError("has critical headers, of which none is known")
    if not isinstance(key_id, str):
        raise InvalidTokenError("names its key by something else than a text")
    return algorithm, key_id


def signed_claims(token: str, key: jwt.PyJWK, algorithm: str, issuer: str) -> Mapping[str, Any]:
    """Return the claims of a token that has a signature by a key of its issuer.

    Raises InvalidTokenError.
    """
    try:
        raw = jwt.PyJWS().decode(token, key, [algorithm])
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise InvalidTokenError(f"is not signed by {issuer}") from error
    return _object(raw)


def require_claims(claims: Mapping[str, Any], issuer: str, audience: str, now: datetime) -> None:
    """Check what a token says of itself (RFC 7519, 4.1); raises InvalidTokenError."""
    if claims.get("iss") != issuer:
        raise InvalidTokenError(f"is of another issuer than {issuer}")
    given = claims.get("aud")
    if audience not in (given if isinstance(given, list) else [given]):
        raise InvalidTokenError(f"is for another audience than {audience}")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise InvalidTokenError("names no subject")
    seconds = now.timestamp()
    if _seconds(claims, "exp") + _LEEWAY <= seconds:
        raise InvalidTokenError("has expired")
    if _seconds(claims, "iat") - _LEEWAY > seconds:
        raise InvalidTokenError("is of the future: compare the clocks of both machines")
    if "nbf" in claims and _seconds(claims, "nbf") - _LEEWAY > seconds:
        raise InvalidTokenError("is not valid yet")


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > MAX_TOKEN_LETTERS:
        raise InvalidTokenError(f"is longer than {MAX_TOKEN_LETTERS} letters")
    try:
        return jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise InvalidTokenError("is no JSON Web Token") from error


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidTokenError("holds no JSON") from error
    if not isinstance(found, dict):
        raise InvalidTokenError("holds no JSON object")
    return found


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTokenError(f"has no {name}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise InvalidTokenError(f"has an {name} that is no time")
    return seconds
