"""The first message of TLS, as far as a server must know it before it answers (RFC 8446, 4.1.2)."""

from collections.abc import Iterator

HANDSHAKE = b"\x16"
"""The type of the first record of TLS (RFC 8446, 5.1); no method of HTTP begins with it."""
_CLIENT_HELLO = 1
_RECORD_HEAD, _MESSAGE_HEAD = 5, 4
_VERSION_AND_RANDOM = 34
_SERVER_NAME = 0
"""The extension (RFC 6066, 3), and in it the type of a host name."""
_PROTOCOLS = 16
"""The extension that offers protocols for what is encrypted (RFC 7301, 3.1)."""
_CHACHA20 = {0xCCA8, 0xCCA9}
"""ECDHE with ChaCha20-Poly1305 in TLS 1.2 (RFC 7905, 2)."""


class _Fields:
    """Fields of a message, each after its length; raises IndexError at the end of what is there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at >= len(self._data)

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise IndexError(size)
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def sized(self, size: int) -> bytes:
        return self.take(self.number(size))


def server_name(begun: bytes) -> str | None:
    """Return the name that a client asks for, empty for none; None where that cannot be told."""
    try:
        for kind, content in _extensions(begun):
            if kind == _SERVER_NAME:
                names = _Fields(_Fields(content).sized(2))
                return names.sized(2).decode("ascii") if names.number(1) == _SERVER_NAME else ""
    except (IndexError, UnicodeDecodeError):
        return None
    return ""


def offers_protocol(begun: bytes) -> bool:
    """Return True if a client says what it would speak; False where that cannot be told."""
    try:
        return any(kind == _PROTOCOLS for kind, _ in _extensions(begun))
    except IndexError:
        return False


def offers_chacha20(begun: bytes) -> bool:
    """Return True if a client takes ChaCha20 in TLS 1.2 too; False where that cannot be told."""
    if begun[:1] != HANDSHAKE:
        return False
    hello = _Fields(begun[_RECORD_HEAD + _MESSAGE_HEAD :])
    try:
        hello.take(_VERSION_AND_RANDOM)
        hello.sized(1)  # session
        suites = hello.sized(2)
    except IndexError:
        return False
    return any(int.from_bytes(suites[at : at + 2]) in _CHACHA20 for at in range(0, len(suites), 2))


def _extensions(begun: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kinds and contents; raises IndexError where it is no hello, or only a part of one."""
    record = _Fields(begun[_RECORD_HEAD:])
    if begun[:1] != HANDSHAKE or record.number(1) != _CLIENT_HELLO:
        raise IndexError(0)
    hello = _Fields(record.sized(_MESSAGE_HEAD - 1))
    hello.take(_VERSION_AND_RANDOM)
    for length in (1, 2, 1):  # session, ciphers, compressions
        hello.sized(length)
    extensions = _Fields(b"" if hello.is_at_end else hello.sized(2))
    while not extensions.is_at_end:
        yield extensions.number(2), extensions.sized(2)
