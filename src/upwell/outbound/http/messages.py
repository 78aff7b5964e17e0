"""Requests and the headers of answers, as values."""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Self, override

from upwell.outbound.http.errors import InvalidRequestError
from upwell.outbound.http.urls import HttpUrl, authority_of

_TARGET = re.compile(r"/[\x21-\x7e]*")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class HttpOrigin:
    """Scheme, host and port that a connection leads to; `tls` for https, and with it."""

    scheme: str
    host: str
    port: int
    tls: SSLContext | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: HttpUrl, trust: Callable[[], SSLContext]) -> Self:
        """Return the origin of a URL; raises what `trust` does."""
        return cls(url.scheme, url.host, url.port, trust() if url.scheme == "https" else None)

    @property
    def authority(self) -> str:
        """Host and port as the Host header and URLs have them."""
        return authority_of(self.scheme, self.host, self.port)


@dataclass(frozen=True, slots=True)
class Body:
    """Body of a request: `size` bytes, opened anew each time that it must be sent again."""

    open: Callable[[], AsyncIterator[bytes]] = field(repr=False)
    size: int
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """Request to an origin; `target` is path and query, in ASCII.

    `seconds` are for the whole of it and its answer, `idle` between two pieces of the answer's
    body. So many `redirects` are followed, to one of `schemes`; who https leads to is checked by
    `trust`.
    """

    method: str
    origin: HttpOrigin
    target: str
    headers: Mapping[str, str] = field(repr=False)
    trust: Callable[[], SSLContext] = field(repr=False)
    body: Body | None = None
    seconds: float = 30.0
    idle: float | None = None
    redirects: int = 0
    schemes: Sequence[str] = ("https", "http")

    def head(self, common: str) -> bytes:
        """Return the head as it is sent; raises InvalidRequestError for what breaks it up."""
        lines = [f"{self.method} {self.target} HTTP/1.1\r\nHost: {self.origin.authority}\r\n"]
        if not _TARGET.fullmatch(self.target):
            raise InvalidRequestError("a path that cannot be sent")
        for name, value in self.headers.items():
            if not _VALUE.fullmatch(value):
                raise InvalidRequestError(f"a value of {name} that cannot be sent")
            lines.append(f"{name}: {value}\r\n")
        if self.body is not None:
            lines.append(f"Content-Length: {self.body.size}\r\n")
            if not _VALUE.fullmatch(self.body.media_type):
                raise InvalidRequestError("a media type that cannot be sent")
            lines.append(f"Content-Type: {self.body.media_type}\r\n")
        return f"{''.join(lines)}{common}\r\n".encode("latin-1")


class HttpHeaders(Mapping[str, str]):
    """Headers of an answer, found in any case; of several with one name the first."""

    __slots__ = ("_fields", "_first")

    def __init__(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        self._fields = [(name.lower(), value) for name, value in fields]
        self._first = dict(reversed(self._fields))

    @override
    def __getitem__(self, name: str) -> str:
        return _text(self._first[name.lower().encode()])

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(_text(name) for name, _ in self._fields))

    @override
    def __len__(self) -> int:
        return len(self._first)

    def all(self, name: str) -> Sequence[str]:
        """Return the values of every header of a name."""
        wanted = name.lower().encode()
        return [_text(value) for known, value in self._fields if known == wanted]


def _text(value: bytes) -> str:
    return value.strip(b" \t").decode("utf-8", "surrogateescape")
