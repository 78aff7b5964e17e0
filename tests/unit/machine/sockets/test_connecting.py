"""Failures to connect are told in the system's words, whichever library met them."""

import asyncio
import socket
import ssl

import pytest

from upwell.machine.sockets.connecting import connection_failure


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def test_a_refused_connection_names_address_and_cause() -> None:
    port = closed_port()
    with pytest.raises(OSError, match="127") as refused:
        await asyncio.open_connection("127.0.0.1", port)
    text = connection_failure("127.0.0.1", port, refused.value)
    assert text == f"connect to 127.0.0.1:{port}: Connection refused"


def test_a_name_that_nobody_knows_has_the_words_of_the_look_up() -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    expected = "connect to db.invalid:5432: Name or service not known"
    assert connection_failure("db.invalid", 5432, error) == expected


def test_an_address_with_colons_is_in_brackets() -> None:
    assert connection_failure("::1", 80, OSError("no route")) == "connect to [::1]:80: no route"


def test_a_number_of_tls_is_not_taken_for_one_of_the_system() -> None:
    error = ssl.SSLError(1, "wrong version number")
    text = connection_failure("10.0.0.5", 443, error)
    assert text == "connect to 10.0.0.5:443: wrong version number"


async def test_tls_to_who_speaks_plain_http_is_said_as_that() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLError) as failed:
            await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())
    text = connection_failure("127.0.0.1", port, failed.value)
    assert text == f"connect to 127.0.0.1:{port}: it speaks plain http, not https"


async def test_a_connection_that_is_closed_in_the_handshake_says_so() -> None:
    """asyncio raises a ConnectionResetError without any words then."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(OSError) as closed:  # noqa: PT011 - it has no text
            await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())
    text = connection_failure("127.0.0.1", port, closed.value)
    assert text.startswith(f"connect to 127.0.0.1:{port}: the connection was closed")


def test_an_error_without_words_is_named() -> None:
    assert connection_failure("a", 1, BrokenPipeError()) == "connect to a:1: BrokenPipeError"
