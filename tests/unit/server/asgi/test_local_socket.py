"""The API on a Unix socket: the peer's uid stands in for a token."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.support.server.audit_logs import audit_lines, audit_log

from upwell.api.core import ConfigMap, Secret
from upwell.api.meta import ObjectMeta
from upwell.policy.access.roles import SYSTEM_NAMESPACE, parse_grant
from upwell.server.asgi.connections import ConnectionLimits, ConnectionTable, keep_expiring
from upwell.server.asgi.local_socket import bind_local, serve_local
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.middleware import AuthMiddleware
from upwell.server.auth.tokens import TokenRecord, Tokens, hash_of, new_token, own_token
from upwell.server.http.limits import ServerLimits
from upwell.store.interface import UnavailableError
from upwell.store.kubernetes import KubernetesStore
from upwell.store.memory import MemoryStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRETS = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/secrets"
TOKEN = new_token("ci")
OWN = frozenset({os.geteuid()})

LIMITS = ConnectionLimits(kept_for_own=4, head_bytes=1024, head_seconds=0.5)
SECONDS = 20

type Serve = Callable[[frozenset[int]], AbstractAsyncContextManager[aiohttp.ClientSession]]


async def _name(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.scope["user"].username)


async def _echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.scope["user"].username + await websocket.receive_text())
    await websocket.close()


@pytest.fixture
def table() -> ConnectionTable:
    return ConnectionTable(LIMITS)


@pytest.fixture
async def serve(tmp_path: Path, table: ConnectionTable) -> Serve:
    store = MemoryStore(clock=lambda: NOW)
    record = TokenRecord("ci", hash_of(TOKEN), (parse_grant("viewer@shop"),))
    await store.create(record.as_secret())
    app = Starlette(
        routes=[
            Route("/{path:path}", _name, methods=["GET", "POST"]),
            WebSocketRoute("/{path:path}", _echo),
        ]
    )

    @asynccontextmanager
    async def serving(users: frozenset[int]) -> AsyncIterator[aiohttp.ClientSession]:
        control = AccessControl(
            Tokens(store, lambda: NOW), audit_log(tmp_path, lambda: NOW), local_users=users
        )
        guarded = AuthMiddleware(app, control, ServerLimits())
        listener, shutdown = bind_local(tmp_path / "api.sock"), asyncio.Event()
        serving = asyncio.create_task(serve_local(guarded, listener, shutdown, table))
        connector = aiohttp.UnixConnector(str(tmp_path / "api.sock"))
        async with aiohttp.ClientSession("http://upwell", connector=connector) as session:
            yield session
        shutdown.set()
        await asyncio.wait_for(serving, 30)

    return serving


async def test_the_servers_own_user_needs_no_token(serve: Serve, tmp_path: Path) -> None:
    async with serve(OWN) as session, session.get(SECRETS) as answer:
        assert (answer.status, await answer.text()) == (200, "system:admin")
    (line,) = audit_lines(tmp_path)
    assert (line["user"], line["source"]) == ("system:admin", f"uid {os.geteuid()}")


async def test_another_user_may_do_nothing_also_with_a_token(serve: Serve, tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with serve(frozenset({54321})) as session:
        for sent in ({}, headers):
            async with session.get(SECRETS, headers=sent) as answer:
                assert answer.status == 403
                assert "may not use the local socket" in await answer.text()
    assert {line["source"] for line in audit_lines(tmp_path)} == {f"uid {os.geteuid()}"}


async def test_a_token_counts_where_one_is_sent(serve: Serve) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with serve(OWN) as session:
        async with session.get("/api/v1/namespaces/shop/pods", headers=headers) as answer:
            assert (answer.status, await answer.text()) == (200, "ci")
        async with session.get(SECRETS, headers=headers) as answer:
            assert answer.status == 403
        async with session.get(SECRETS, headers={"Authorization": "Bearer wrong"}) as answer:
            assert answer.status == 401


async def test_the_own_users_token_counts_there_alone_where_the_settings_say_so(
    tmp_path: Path, table: ConnectionTable
) -> None:
    own, store = new_token("admin"), MemoryStore(clock=lambda: NOW)
    app = Starlette(routes=[Route("/{path:path}", _name)])
    control = AccessControl(
        Tokens(store, lambda: NOW, [own_token(own)]),
        audit_log(tmp_path, lambda: NOW),
        local_users=OWN,
        admin_by_socket=True,
    )
    guarded = AuthMiddleware(app, control, ServerLimits())
    headers = {"Authorization": f"Bearer {own}"}
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        port.listen()
        server = uvicorn.Server(uvicorn.Config(guarded, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve([port]))
        url = f"http://127.0.0.1:{port.getsockname()[1]}{SECRETS}"
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            assert answer.status == 401
            assert "admin.token opens the local socket alone" in await answer.text()
        server.should_exit = True
        await asyncio.wait_for(serving, 30)
    listener, shutdown = bind_local(tmp_path / "api.sock"), asyncio.Event()
    serving = asyncio.create_task(serve_local(guarded, listener, shutdown, table))
    connector = aiohttp.UnixConnector(str(tmp_path / "api.sock"))
    async with (
        aiohttp.ClientSession("http://upwell", connector=connector) as session,
        session.get(SECRETS, headers=headers) as answered,
    ):
        assert (answered.status, await answered.text()) == (200, "system:admin")
    shutdown.set()
    await asyncio.wait_for(serving, 30)


async def test_websockets_are_served_there_too(serve: Serve) -> None:
    path = "/api/v1/namespaces/shop/pods/a/exec"
    async with serve(OWN) as session, session.ws_connect(path) as websocket:
        await websocket.send_str("!")
        assert await websocket.receive_str() == "system:admin!"


async def test_what_clients_say_of_themselves_changes_nothing(serve: Serve) -> None:
    headers = {"X-Forwarded-For": "127.0.0.1", "X-Remote-User": "root", "X-Upwell-Peer-Uid": "0"}
    others = frozenset({54321})
    async with serve(others) as session, session.get(SECRETS, headers=headers) as answer:
        assert answer.status == 403


async def test_connections_to_the_socket_are_bounded(
    serve: Serve, tmp_path: Path, table: ConnectionTable
) -> None:
    async with serve(OWN) as session:
        held = [
            await asyncio.open_unix_connection(str(tmp_path / "api.sock"))
            for _ in range(LIMITS.kept_for_own * 3)
        ]
        async with session.get(SECRETS) as answer:
            assert answer.status == 200
        assert table.count == LIMITS.kept_for_own
        assert table.refused["gave-way"] == LIMITS.kept_for_own * 2 + 1
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize(("more", "code"), [(b"a" * 100_000, b"431"), (b"a", b"408")])
async def test_a_head_on_the_socket_is_bounded_in_bytes_and_time(
    serve: Serve, tmp_path: Path, table: ConnectionTable, more: bytes, code: bytes
) -> None:
    expiring = asyncio.create_task(keep_expiring(table))  # as the server on the network does
    async with serve(OWN), asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "api.sock"))
        writer.write(b"GET / HTTP/1.1\r\nX: " + more)
        assert (await reader.readline()).split()[1] == code
        writer.close()
    expiring.cancel()


async def test_the_socket_is_its_owners_alone_and_replaces_a_left_one(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    bind_local(path).close()
    listener = bind_local(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listener.close()


async def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    with pytest.raises(OSError, match="too long"):
        bind_local(folder / "api.sock")


async def test_the_client_asks_on_the_socket_whatever_the_url(tmp_path: Path) -> None:
    async with KubernetesStore("http://192.0.2.1:7080", socket=tmp_path / "none.sock") as client:
        with pytest.raises(UnavailableError, match=r"192\.0\.2\.1:7080 cannot be reached"):
            await client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="shop")))
        with pytest.raises(UnavailableError):
            await client.get(Secret, "shop", "a")
