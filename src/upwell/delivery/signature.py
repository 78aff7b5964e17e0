"""The signature of a body, as GitHub signs its webhooks (X-Hub-Signature-256)."""

import hmac

SIGNATURE_HEADER = "X-Upwell-Signature"


def sign(secret: bytes, body: bytes) -> str:
    """Return `sha256=` and the hex HMAC-SHA256 of `body`."""
    return f"sha256={hmac.digest(secret, body, 'sha256').hex()}"
