"""Failures to connect, in the words of the system and not of a library."""

import os
import ssl


def connection_failure(host: str, port: int | str | None, error: OSError) -> str:
    """Return the text for people: `connect to 10.0.0.5:5000: Connection refused`.

    `error` is what the socket, or the look-up of the name, has raised.
    """
    where = f"[{host}]" if ":" in host else host
    return f"connect to {where}:{port}: {_reason(error)}"


def _reason(error: OSError) -> str:
    # asyncio puts the address in place of the system's words. The numbers of getaddrinfo are
    # negative, and those of TLS are not the system's.
    if error.errno and error.errno > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return error.strerror or str(error)
