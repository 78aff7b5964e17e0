"""Ports, addresses and namespaces as users write them: `8080`, `127.0.0.1:7080`, `https://HOST`."""

import re
from urllib.parse import urlsplit

import click

PORT_RANGE = "a port is 1 to 65535"
_HIGHEST_PORT = 65535
_NAMESPACE = re.compile("[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1123, a label."""


def parse_port(text: str) -> int | None:
    """Return the port; None for text that names none."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_HIGHEST_PORT))):
        return None
    return int(text) if 1 <= int(text) <= _HIGHEST_PORT else None


def parse_address(context: click.Context, option: click.Parameter, text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`: a callback of options. Raises click.BadParameter."""
    host, _, digits = text.rpartition(":")
    port = parse_port(digits)
    if not host or port is None:
        why = f": {PORT_RANGE}" if host and digits.isdigit() else ""
        raise click.BadParameter(f"{text!r} is not HOST:PORT{why}", context, option)
    return host, port


def join_address(address: tuple[str, int]) -> str:
    """Return `HOST:PORT`."""
    host, port = address
    return f"{host}:{port}"


def server_url_fault(text: str) -> str:
    """Return why this is not the URL of a server; empty if it is.

    A user in it is refused, as tokens say who asks. The fault repeats nothing of it: a password
    would stand in logs then.
    """
    if "@" in text:
        return (
            "a server's URL has no user or password: write http://HOST:PORT or https://HOST:PORT,"
            " and give the token by `upwell login` or UPWELL_TOKEN"
        )
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises ValueError for one that is out of range
    except ValueError:
        return f"{text!r} is not http://HOST:PORT or https://HOST:PORT: {PORT_RANGE}"
    if parts.scheme in {"http", "https"} and parts.hostname:
        return ""
    return f"{text!r} needs http:// or https://, as in https://HOST:PORT"


def namespace_fault(text: str) -> str:
    """Return why this is no name of a namespace; empty if it is one, or names none."""
    if not text or _NAMESPACE.fullmatch(text):
        return ""
    return f"{text!r} is no name of a namespace: these are lower-case letters, digits and `-`"
