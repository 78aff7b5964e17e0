"""AWS Signature Version 4 of requests to S3 (Authenticating Requests, AWS Signature Version 4).

S3 differs from other services in two points: the path is encoded once, and the hash of the body is
a header. Over TLS the body itself need not be signed, as nobody can change it on its way.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

UNSIGNED = "UNSIGNED-PAYLOAD"
_ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = "-_.~"


@dataclass(frozen=True, slots=True)
class S3Credential:
    """Access key; `token` is that of a session (STS), empty where it is a key of its own."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class S3Request:
    """Request before it is signed: `path` and `query` are not encoded yet."""

    method: str
    authority: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that are sent beside the host, signed like it."""

    @property
    def target(self) -> str:
        """Path and query as they are sent, and signed."""
        query = _query(self.query)
        return f"{_path(self.path)}?{query}" if query else _path(self.path)


def signed_headers(
    request: S3Request, credential: S3Credential, region: str, at: float, payload: str
) -> dict[str, str]:
    """Return the headers with which a request is sent.

    `at` is the time in seconds since the epoch, `payload` the hex SHA-256 of the body, or UNSIGNED.
    """
    moment = datetime.fromtimestamp(at, UTC)
    stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
    headers = {**request.headers, "x-amz-date": stamp, "x-amz-content-sha256": payload}
    if credential.token:
        headers["x-amz-security-token"] = credential.token
    signed = {name.lower(): value for name, value in headers.items()} | {"host": request.authority}
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        (
            request.method,
            _path(request.path),
            _query(request.query),
            *(f"{name}:{' '.join(signed[name].split())}" for name in sorted(signed)),
            "",
            names,
            payload,
        )
    )
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{credential.secret_key}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = _mac(key, part)
    headers["Authorization"] = (
        f"{_ALGORITHM} Credential={credential.access_key}/{scope}, SignedHeaders={names},"
        f" Signature={_mac(key, text).hex()}"
    )
    return headers


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _path(path: str) -> str:
    return quote(path, safe=f"/{_UNRESERVED}")


def _query(pairs: Sequence[tuple[str, str]]) -> str:
    encoded = [tuple(quote(part, safe=_UNRESERVED) for part in pair) for pair in pairs]
    return "&".join("=".join(pair) for pair in sorted(encoded))
