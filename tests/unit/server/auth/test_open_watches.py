"""Watches of a namespace, however many clients have them."""

import asyncio
from pathlib import Path

from starlette.types import Receive, Scope, Send
from tests.support.server.api_server import START
from tests.support.server.audit_logs import audit_log

from upwell.policy.access.roles import Role
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.middleware import AuthMiddleware
from upwell.server.auth.tokens import Tokens
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore


async def test_many_clients_do_not_take_all_watches_by_one_namespace(tmp_path: Path) -> None:
    end, refused, codes = asyncio.Event(), asyncio.Event(), list[int]()

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await end.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        if message["type"] == "http.response.start":
            codes.append(message["status"])
        if len(codes) == 2:  # before any other is answered
            refused.set()

    tokens = Tokens(MemoryStore(lambda: START), lambda: START)
    log = audit_log(tmp_path, lambda: START)
    access = AccessControl(tokens, log, anonymous=Role.ADMIN)
    limits = ServerLimits(watches_per_client=2, watches_per_namespace=3)
    middleware = AuthMiddleware(serve, access, limits)

    def watch(client: int, namespace: str) -> asyncio.Task[None]:
        scope: Scope = {
            "type": "http",
            "method": "GET",
            "path": f"/api/v1/namespaces/{namespace}/configmaps",
            "query_string": b"watch=1",
            "headers": [],
            "client": (f"10.0.0.{client}", 1),
            "state": {},
        }
        return asyncio.create_task(middleware(scope, receive, send))

    tasks = [watch(client, "shop") for client in (1, 1, 2, 2, 3)]
    tasks += [watch(client, "bank") for client in (2, 3)]
    async with asyncio.timeout(60):
        await refused.wait()
        end.set()
        await asyncio.gather(*tasks)
    assert sorted(codes) == [200] * 5 + [429] * 2
