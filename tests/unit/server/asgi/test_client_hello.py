"""The name in the first message of TLS, as Python's own TLS writes it."""

import ssl

import pytest

from upwell.server.asgi.client_hello import offers_chacha20, offers_protocol, server_name

BUILDAH = bytes.fromhex(
    "16030100de010000da0303"
    + "5a" * 32
    + "20"
    + "a5" * 32
    + "0016c02bc02fc02cc030c009c013c00ac014130113021303"
)
"""Begin of Buildah, Podman, Skopeo and Docker, up to their cipher suites."""
OC_EXEC = bytes.fromhex(
    "16030105d0010005cc0303"
    + "5a" * 32
    + "20"
    + "a5" * 32
    + "001ac02bc02fc02cc030cca9cca8c009c013c00ac014130113021303"
)
"""Begin of the WebSockets of oc and kubectl."""


def hello(name: str, *protocols: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if protocols:
        context.set_alpn_protocols(protocols)
    sent = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name).do_handshake()
    return sent.read()


@pytest.mark.parametrize(
    ("asked", "found"), [("upwell", "upwell"), ("images.example", "images.example"), ("::1", "")]
)
def test_the_name_is_read(asked: str, found: str) -> None:
    assert server_name(hello(asked)) == found


def test_of_a_part_nothing_is_said_and_nothing_fails() -> None:
    whole = hello("upwell")
    assert {server_name(whole[:size]) for size in range(len(whole))} <= {None, "upwell"}
    assert server_name(whole[:40]) is None
    assert server_name(b"GET / HTTP/1.1\r\n\r\n") is None


def test_it_is_seen_whether_a_protocol_is_offered() -> None:
    offered = hello("upwell", "http/1.1")
    assert offers_protocol(offered)
    assert not offers_protocol(hello("upwell"))
    assert not any(offers_protocol(offered[:size]) for size in range(40))


def test_clients_of_registries_are_told_from_websockets_by_their_cipher_suites() -> None:
    assert offers_chacha20(OC_EXEC)
    assert offers_chacha20(hello("127.0.0.1"))
    assert not offers_chacha20(BUILDAH)
    assert not any(offers_chacha20(OC_EXEC[:size]) for size in range(len(OC_EXEC)))
    assert not offers_chacha20(b"GET / HTTP/1.1\r\n\r\n" * 10)
