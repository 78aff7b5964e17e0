"""Failures to connect, in the words of the system and not of a library."""

import os
import ssl


def connection_failure(host: str, port: int | str | None, error: OSError) -> str:
    """Return the text for people: `connect to 10.0.0.5:5000: Connection refused`.

    `error` is what the socket, or the look-up of the name, has raised.
    """
    where = f"[{host}]" if ":" in host else host
    return f"connect to {where}:{port}: {_reason(error)}"


PLAIN_HTTP = "it speaks plain http, not https"
"""The reason of a TLS handshake that is answered in another protocol."""
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}
"""OpenSSL's reasons for bytes that are no TLS."""

_SILENT = {
    ConnectionResetError: "the connection was closed before anything was said",
    ssl.SSLEOFError: "the connection was closed in the TLS handshake",
    TimeoutError: "no answer in time",
}
"""Errors that asyncio raises without a word."""


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and getattr(error, "reason", "") in _NO_TLS:
        return PLAIN_HTTP
    # asyncio puts the address in place of the system's words. The numbers of getaddrinfo are
    # negative, and those of TLS are not the system's.
    if error.errno and error.errno > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return error.strerror or str(error) or _SILENT.get(type(error), type(error).__name__)
