"""Bodies that are held in memory, and transfers of content: so much of each at once."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send
from tests.support.server.api_server import START
from tests.support.server.audit_logs import audit_log

from upwell.policy.access.roles import Role
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.middleware import AuthMiddleware
from upwell.server.auth.tokens import Tokens
from upwell.server.http.limits import SeatLimits, ServerLimits
from upwell.store.memory import MemoryStore

KIB = 1024
MAPS = "/api/v1/namespaces/shop/configmaps"
LIMITS = ServerLimits(
    bodies=SeatLimits(total=1000 * KIB, per_client=500 * KIB, seconds=600),
    transfers=SeatLimits(total=2, per_client=1, seconds=600),
)


class HeldRequests:
    """Requests that are served until a test ends them, behind the middleware."""

    def __init__(self, folder: Path) -> None:
        access = AccessControl(
            Tokens(MemoryStore(lambda: START), lambda: START),
            audit_log(folder, lambda: START),
            anonymous=Role.ADMIN,
        )
        self._middleware = AuthMiddleware(self._serve, access, LIMITS)
        self.served: Counter[str] = Counter()
        self.end = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def send(self, source: str, path: str, length: int | None, method: str = "POST") -> None:
        """Begin a request, and let it come as far as it does."""
        header = (
            (b"transfer-encoding", b"chunked")
            if length is None
            else (b"content-length", str(length).encode())
        )
        scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [header],
            "client": (source, 1),
            "state": {},
        }
        self.tasks.append(asyncio.create_task(self._middleware(scope, _receive, _ignore)))
        for _ in range(20):
            await asyncio.sleep(0)

    async def finish(self) -> None:
        self.end.set()
        async with asyncio.timeout(60):
            await asyncio.gather(*self.tasks)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        self.served[scope["client"][0]] += 1
        await self.end.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _ignore(message: Message) -> None:
    del message


@pytest.fixture
async def held(tmp_path: Path) -> HeldRequests:
    return HeldRequests(tmp_path)


async def test_a_hundred_large_bodies_are_never_in_memory_at_once(held: HeldRequests) -> None:
    for _ in range(20):
        await held.send("10.0.0.1", MAPS, 240 * KIB)
    for _ in range(3):
        await held.send("10.0.0.2", MAPS, 240 * KIB)
    for _ in range(3):
        await held.send("10.0.0.3", MAPS, 240 * KIB)
    assert held.served == {"10.0.0.1": 2, "10.0.0.2": 2}  # 960 KiB: another has no room
    await held.send("10.0.0.3", MAPS, 1000)  # small ones wait for none of them
    assert held.served["10.0.0.3"] == 1
    await held.finish()
    assert held.served.total() == len(held.tasks)


async def test_a_body_of_unknown_length_counts_as_the_largest(held: HeldRequests) -> None:
    await held.send("10.0.0.1", MAPS, None)
    await held.send("10.0.0.1", MAPS, 100 * KIB)
    assert held.served["10.0.0.1"] == 1
    await held.finish()


async def test_transfers_have_their_turns_and_hold_no_body(held: HeldRequests) -> None:
    upload = f"/v2/shop/app/blobs/uploads/{'0' * 32}"
    for _ in range(3):
        await held.send("10.0.0.1", upload, 10**12, "PATCH")
    await held.send("10.0.0.2", f"/v2/shop/app/blobs/sha256:{'0' * 64}", 0, "GET")
    await held.send("10.0.0.3", f"/v2/shop/app/blobs/sha256:{'0' * 64}", 0, "GET")
    assert held.served == {"10.0.0.1": 1, "10.0.0.2": 1}
    await held.send("10.0.0.1", "/v2/shop/app/manifests/v1", 400 * KIB, "PUT")
    assert held.served["10.0.0.1"] == 2
    await held.finish()
