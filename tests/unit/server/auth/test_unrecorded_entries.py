from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import ApiClock
from tests.support.server.audit_logs import audit_log

from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.middleware import AuthMiddleware
from upwell.server.auth.tokens import Tokens, new_token, own_token
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore

ADMIN = new_token("admin")


@pytest.mark.parametrize("part", ["exec", "attach", "portforward"])
async def test_nobody_enters_a_container_that_cannot_be_recorded(tmp_path: Path, part: str) -> None:
    """A command runs before its WebSocket is answered: so it is asked before."""
    clock = ApiClock()
    served: list[str] = []
    (tmp_path / "nowhere").touch()  # no folder of logs

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        served.append(scope["path"])
        await send({"type": "websocket.accept"})

    tokens = Tokens(MemoryStore(clock), clock, [own_token(ADMIN)])
    control = AccessControl(tokens, audit_log(tmp_path / "nowhere", clock))
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    headers = [(b"authorization", f"Bearer {ADMIN}".encode())]
    for name in ("first", "second"):  # the first one finds out
        path = f"/api/v1/namespaces/shop/pods/{name}/{part}"
        scope = {"type": "websocket", "path": path, "headers": headers, "query_string": b""}
        await AuthMiddleware(app, control, ServerLimits())(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"] * 2
    assert not [path for path in served if "second" in path]
