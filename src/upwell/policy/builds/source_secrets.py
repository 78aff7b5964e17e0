"""Choice of a namespace's Secret for a git source whose BuildConfig names none."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from upwell.api.core import Secret

MATCH_ANNOTATION_PREFIX = "build.openshift.io/source-secret-match-uri-"
_PATTERN = re.compile(r"(?P<scheme>\*|git|https?|ssh)://(?P<host>\*|(?:\*\.)?[^/*]+)(?P<path>/.*)")
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[^@/:]+):(?!//)(?P<path>.*)")

type Address = tuple[str, str, str]
"""Scheme, host with port, path."""


def matching_secret(uri: str, secrets: Iterable[Secret]) -> Secret | None:
    """Return the Secret whose annotation fits the address of a repository best.

    The longest path decides, then the longest host, then a scheme that is named.
    """
    address = repository_address(uri)
    if address is None:
        return None
    found = [
        (rank, secret)
        for secret in secrets
        for name, pattern in sorted(secret.annotations.items())
        if name.startswith(MATCH_ANNOTATION_PREFIX)
        and (rank := _rank(pattern.strip(), address)) is not None
    ]
    return max(found, key=lambda entry: entry[0])[1] if found else None


def repository_address(uri: str) -> Address | None:
    """Return what the address of a repository consists of; None: it is none."""
    if (scp := _SCP.fullmatch(uri)) is not None:
        return "ssh", scp["host"].lower(), f"/{scp['path'].lstrip('/')}"
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    return parts.scheme, parts.netloc.rpartition("@")[2].lower(), parts.path or "/"


def _rank(pattern: str, address: Address) -> tuple[int, int, bool] | None:
    """Return how closely a pattern fits; None: it does not, or is none."""
    match = _PATTERN.fullmatch(pattern)
    if match is None:
        return None
    scheme, host, path = match["scheme"], match["host"].lower(), match["path"]
    if scheme not in {"*", address[0]}:
        return None
    fits_host = host in {"*", address[1]} or (host[:1] == "*" and address[1].endswith(host[1:]))
    if not fits_host or not _fits(path, address[2]):
        return None
    return len(path.replace("*", "")), len(host.strip("*")), scheme != "*"


def _fits(pattern: str, path: str) -> bool:
    """Return True if a path fits a pattern, in which `*` is any text; takes linear time."""
    first, *rest = pattern.split("*")
    if not rest:
        return path == first
    if not path.startswith(first):
        return False
    at = len(first)
    *middle, last = rest
    for piece in middle:
        at = path.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return len(path) - at >= len(last) and path.endswith(last)
