"""Names that the server answers to."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Scope

from upwell.server.asgi.access_log import AccessLogMiddleware
from upwell.server.http.errors import ApiError
from upwell.server.http.hosts import HostNames

OURS = HostNames.of(["Registry.example", "*.apps.example"])


def refusal(hosts: HostNames, *values: bytes, version: str = "1.1") -> int:
    try:
        hosts.require([(b"host", value) for value in values], version)
    except ApiError as error:
        return error.code
    return 0


@pytest.mark.parametrize(
    "host",
    [
        b"127.0.0.1:7080",
        b"127.0.0.1",
        b"[::1]:7080",
        b"[::1]",
        b"10.1.2.3:80",
        b"localhost",
        b"LOCALHOST:7080",
        b"localhost.:7080",
        b"upwell.localhost",
        b"registry.example:5000",
        b"REGISTRY.example.",
        b"shop.apps.example",
    ],
)
def test_addresses_and_known_names_are_answered(host: bytes) -> None:
    assert refusal(OURS, host) == 0


@pytest.mark.parametrize(
    "host",
    [
        b"attacker.example",
        b"attacker.example:7080",
        b"localhost.attacker.example",
        b"127.0.0.1.attacker.example",
        b"127.0.0.1@attacker.example",
        b"notlocalhost",
        b"apps.example",
        b"a.b.apps.example",
        b"xregistry.example",
        b"",
        b"*.apps.example.evil",
        b"\xff",
    ],
)
def test_other_names_are_misdirected(host: bytes) -> None:
    assert refusal(OURS, host) == 421
    assert refusal(HostNames(), host) == 0


def test_a_request_has_one_host() -> None:
    for hosts in (OURS, HostNames()):
        assert refusal(hosts, b"localhost", b"localhost") == 400
        assert refusal(hosts) == 400
        assert refusal(hosts, version="1.0") == 0


@pytest.mark.parametrize(("host", "code"), [(b"registry.example", 200), (b"evil.example", 421)])
async def test_no_request_by_another_name_gets_past_the_first_layer(host: bytes, code: int) -> None:
    codes: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            codes.append(message["status"])

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [(b"host", host)],
        "http_version": "1.1",
    }
    await AccessLogMiddleware(PlainTextResponse("secret"), 1000, OURS)(scope, receive, send)
    assert codes == [code]
