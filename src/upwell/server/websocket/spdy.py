"""SPDY/3.1 frames, as far as kubectl's port-forward speaks it; no I/O.

kubectl carries a SPDY session inside a WebSocket, each local connection as two streams in it. Its
library neither sends nor heeds WINDOW_UPDATE, so data flows as the WebSocket lets it. Numbers are
big-endian (draft-mbelshe-httpbis-spdy-00, section 2.2). Whatever a client sends is bounded here:
frames, headers and what headers unpack to.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_VERSION = 3
_HEAD_BYTES = 8
_CONTROL = 0x8000_0000
_STREAM_ID = 0x7FFF_FFFF
_LENGTH = 0x00FF_FFFF
_FIN = 0x01
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
MAX_DATA_BYTES = 256 * 1024
_MAX_CONTROL_BYTES = 16 * 1024
_MAX_HEADER_BYTES = 16 * 1024
"""Bytes to which the headers of one stream may unpack."""
_MAX_HEADERS = 64
_SYN_STREAM_BYTES = 10
"""Of a SYN_STREAM before its headers: two stream ids, priority and slot."""


class SpdyError(Exception):
    """The client broke the protocol or a limit: its session is over."""


@dataclass(frozen=True, slots=True)
class SynStream:
    """The client opens a stream; with `fin` it sends nothing on it."""

    stream: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; `fin`: the last of this direction."""

    stream: int
    payload: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """A stream is over in both directions."""

    stream: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Is sent back as it is."""

    number: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """No stream will be opened any more."""


type Frame = SynStream | Data | Reset | Ping | GoAway


class Decoder:
    """Takes a session apart as it arrives, in chunks of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._headers = zlib.decompressobj(zdict=DICTIONARY)

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield the frames that `chunk` completes, without those that need no answer.

        Raises SpdyError; the decoder is of no use then.
        """
        self._buffer += chunk
        while len(self._buffer) >= _HEAD_BYTES:
            first, second = struct.unpack_from(">II", self._buffer)
            flags, length = second >> 24, second & _LENGTH
            limit = _MAX_CONTROL_BYTES if first & _CONTROL else MAX_DATA_BYTES
            if length > limit:
                raise SpdyError(f"a frame of {length} bytes, where {limit} are allowed")
            end = _HEAD_BYTES + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_HEAD_BYTES:end])
            del self._buffer[:end]
            if not first & _CONTROL:
                yield Data(first, body, fin=bool(flags & _FIN))
            elif (frame := self._control(first & ~_CONTROL, flags, body)) is not None:
                yield frame

    def _control(self, kind: int, flags: int, body: bytes) -> Frame | None:
        version, kind = kind >> 16, kind & 0xFFFF
        if version != _VERSION:
            raise SpdyError(f"SPDY version {version}, where 3 is spoken")
        try:
            match kind:
                case 1:  # SYN_STREAM
                    (stream,) = struct.unpack_from(">I", body)
                    headers = self._unpack(body[_SYN_STREAM_BYTES:])
                    return SynStream(stream & _STREAM_ID, headers, fin=bool(flags & _FIN))
                case 3:  # RST_STREAM
                    stream, _ = struct.unpack(">II", body)
                    return Reset(stream & _STREAM_ID)
                case 6:  # PING
                    return Ping(*struct.unpack(">I", body))
                case 7:  # GOAWAY
                    return GoAway()
                case 2 | 8:  # SYN_REPLY, HEADERS: no stream of ours; the context must be kept
                    self._unpack(body[4:])
                    return None
                case _:  # SETTINGS, WINDOW_UPDATE and what is unknown
                    return None
        except struct.error as error:
            raise SpdyError(f"a frame of type {kind} with {len(body)} bytes") from error

    def _unpack(self, block: bytes) -> dict[str, str]:
        try:
            raw = self._headers.decompress(block, _MAX_HEADER_BYTES)
        except zlib.error as error:
            raise SpdyError("headers that cannot be unpacked") from error
        if self._headers.unconsumed_tail or self._headers.eof:
            raise SpdyError(f"headers of more than {_MAX_HEADER_BYTES} bytes")
        (count,) = struct.unpack_from(">I", raw)
        if count > _MAX_HEADERS:
            raise SpdyError(f"{count} headers, where {_MAX_HEADERS} are allowed")
        texts = _Texts(raw, 4)
        return {texts.next().lower(): texts.next() for _ in range(count)}


class _Texts:
    """Texts one after the other, each with its length before it."""

    def __init__(self, raw: bytes, at: int) -> None:
        self._raw = raw
        self._at = at

    def next(self) -> str:
        (length,) = struct.unpack_from(">I", self._raw, self._at)
        start = self._at + 4
        self._at = start + length
        if self._at > len(self._raw):
            raise SpdyError("headers that end too early")
        return self._raw[start : self._at].decode("latin-1")


class Encoder:
    """Puts together what this side sends."""

    def __init__(self) -> None:
        self._headers = zlib.compressobj(zdict=DICTIONARY)

    def syn_stream(self, stream: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        """Open a stream."""
        head = struct.pack(">IIH", stream, 0, 0)
        return _control_frame(_SYN_STREAM, head + self._pack(headers), _FIN if fin else 0)

    def syn_reply(self, stream: int) -> bytes:
        """Accept a stream."""
        return _control_frame(_SYN_REPLY, struct.pack(">I", stream) + self._pack({}))

    def _pack(self, headers: Mapping[str, str]) -> bytes:
        raw = bytearray(struct.pack(">I", len(headers)))
        for text in (text for pair in headers.items() for text in pair):
            raw += struct.pack(">I", len(text)) + text.encode("latin-1")
        return self._headers.compress(bytes(raw)) + self._headers.flush(zlib.Z_SYNC_FLUSH)


def data_frame(stream: int, payload: bytes, *, fin: bool = False) -> bytes:
    """Return bytes of a stream as a frame."""
    return struct.pack(">II", stream, (_FIN if fin else 0) << 24 | len(payload)) + payload


def reset_frame(stream: int, status: int) -> bytes:
    """End a stream in both directions; `status` says why (draft, section 2.6.3)."""
    return _control_frame(_RST_STREAM, struct.pack(">II", stream, status))


def ping_frame(number: int) -> bytes:
    """Return a ping, or the answer to one."""
    return _control_frame(_PING, struct.pack(">I", number))


def goaway_frame(last: int, status: int) -> bytes:
    """Say that the session ends; `last` is the last stream that was served."""
    return _control_frame(_GOAWAY, struct.pack(">II", last, status))


def _control_frame(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack(">II", _CONTROL | _VERSION << 16 | kind, flags << 24 | len(body)) + body


_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language"
    " accept-ranges age allow authorization cache-control connection content-base"
    " content-encoding content-language content-length content-location content-md5 content-range"
    " content-type date etag expect expires from host if-match if-modified-since if-none-match"
    " if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate"
    " proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade"
    " user-agent vary via warning www-authenticate method get status"
)
_PHRASES = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00"
    " Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age="
    "gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(text)) + text.encode() for text in (*_NAMES.split(), *_PHRASES))
    + _REST.encode()
)
"""Dictionary with which both sides begin to compress headers (draft, section 2.6.10.1)."""
