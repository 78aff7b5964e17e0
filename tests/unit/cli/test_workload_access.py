"""exec and port-forward: what they ask the server for, and what comes back."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from upwell.cli.port_forward import _forwarding, _ports

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]


def test_exec_prints_the_output_and_ends_as_the_command(
    upwell: Upwell, client: "FakeClient"
) -> None:
    answer = {"instance": "shop-1", "exitCode": 3, "output": "no such table\n"}
    client.answers["deployments/shop/exec"] = answer

    result = upwell("exec", "deploy/shop", "-c", "db", "--", "psql", "-c", "select 1")

    assert (result.stdout, result.exit_code) == ("no such table\n", 3)
    body = {"command": ["psql", "-c", "select 1"], "container": "db"}
    assert client.calls[-1] == ("POST", "deployments/shop/exec", body)


def test_what_has_no_containers_is_a_usage_error(upwell: Upwell) -> None:
    assert upwell("exec", "is/shop", "--", "id").exit_code == 2
    assert upwell("port-forward", "is/shop", "8080").exit_code == 2


@pytest.mark.parametrize("ports", ["web", "1:2:3", "70000", "-1", ":"])
def test_ports_that_are_none_are_refused(upwell: Upwell, ports: str) -> None:
    assert upwell("port-forward", "deploy/shop", "--", ports).exit_code == 2


def test_one_port_stands_for_both() -> None:
    assert _ports("8080") == (8080, 8080)
    assert _ports("9000:80") == (9000, 80)


def test_nobody_is_ready(upwell: Upwell, client: "FakeClient") -> None:
    client.answers["deployments/shop/instances"] = {"items": []}

    result = upwell("port-forward", "deploy/shop", "8080")

    assert result.exit_code == 3
    assert "no instance that is ready" in result.stderr


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(await reader.read())
            writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_connection_is_led_there_and_back_to_its_end() -> None:
    async def address() -> str:
        return "127.0.0.1"

    async with (
        echoing() as port,
        await asyncio.start_server(_forwarding(address, port), "127.0.0.1", 0) as server,
    ):
        local = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", local, family=socket.AF_INET)
        writer.write(b"x" * 300_000)
        writer.write_eof()
        assert len(await reader.read()) == 300_000
        writer.close()
