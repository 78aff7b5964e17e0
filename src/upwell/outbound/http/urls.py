"""URLs of http and https, as requests need them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote, urlencode, urljoin, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[0-9a-z._-]+|[0-9a-f:.]+(?:%[0-9a-z._-]+)?")
"""A name, or an address with what were its brackets and maybe its zone."""
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """Absolute URL: `host` in lower case and without brackets, `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str = "/"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the URL that a text is, without its user and its fragment; raises ValueError.

        What cannot be sent of its path and query is percent-encoded (RFC 3986, 2.1), and all else
        left as it is: it may be signed. Its host has to be in ASCII.
        """
        parts = urlsplit(text)
        host = parts.hostname or ""
        port = _DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port
        if parts.scheme not in _DEFAULT_PORTS or not _HOST.fullmatch(host) or not port:
            raise ValueError("no URL of http or https with a host and port")
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return cls(parts.scheme, host, port, quote(target, _PRINTABLE, errors="surrogateescape"))

    @property
    def authority(self) -> str:
        """Host and port as the Host header and URLs have them."""
        return authority_of(self.scheme, self.host, self.port)

    def join(self, reference: str) -> Self:
        """Return the URL that a reference in its answer leads to (RFC 3986, 5.2).

        Raises ValueError.
        """
        return self.parse(urljoin(str(self), reference))

    def with_query(self, pairs: Sequence[tuple[str, str]]) -> Self:
        """Return the URL with these further parameters of its query."""
        if not pairs:
            return self
        joined = "&" if "?" in self.target else "?"
        return replace(self, target=f"{self.target}{joined}{urlencode(pairs)}")

    def is_same_origin(self, other: "HttpUrl") -> bool:
        """Return True for a URL of the same scheme, host and port (RFC 6454, 4)."""
        ours, theirs = (self.scheme, self.host, self.port), (other.scheme, other.host, other.port)
        return ours == theirs

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def authority_of(scheme: str, host: str, port: int) -> str:
    """Return host and port as the Host header and URLs have them."""
    host = f"[{host}]" if ":" in host else host
    return host if port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"
