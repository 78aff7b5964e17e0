"""Around every request: what is refused unread, and one line in the access log."""

import logging
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from upwell.server.auth.request_info import SIGNED
from upwell.server.http.errors import ApiError, error_response
from upwell.server.http.hosts import HostNames

_LOG = logging.getLogger("upwell.server.auth.middleware")

_READS = {"GET", "HEAD", "OPTIONS"}
_FOREIGN = {b"cross-site", b"same-site"}


class AccessLogMiddleware:
    """ASGI middleware. A log line has no secrets: no query string, nothing of a webhook's path."""

    def __init__(self, app: ASGIApp, header_bytes: int, hosts: HostNames) -> None:
        self._app = app
        self._hosts = hosts
        self._header_bytes = header_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            await self._app_for(scope)(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        code, sent = 0, 0

        async def counting(message: Message) -> None:
            nonlocal code, sent
            if message["type"] == "http.response.start":
                code = message["status"]
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app_for(scope)(scope, receive, counting)
        finally:
            _LOG.debug(
                "request",
                extra={
                    "method": scope["method"],
                    "path": _without_secret(scope["path"]),
                    "status": code,
                    "bytes": sent,
                    "seconds": round(time.monotonic() - started, 6),
                    "client": (scope.get("client") or ("",))[0],
                },
            )

    def _app_for(self, scope: Scope) -> ASGIApp:
        try:
            self._hosts.require(scope["headers"], scope["http_version"])
        except ApiError as error:
            return error_response(error)
        headers = dict(scope["headers"])
        if _is_foreign(scope, headers):
            # A web page elsewhere, in the browser of somebody who can reach this server.
            return error_response(ApiError(403, "pages of other sites may not change anything"))
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._header_bytes:
            return error_response(
                ApiError(431, f"the headers have more than {self._header_bytes} bytes")
            )
        return self._app


def _is_foreign(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    """Return True if a browser asks, for a page of another site, for more than to read."""
    if scope["type"] == "websocket":
        origin = headers.get(b"origin")  # every browser names it (RFC 6455, 10.2)
        return origin is not None and origin.partition(b"://")[2] != headers.get(b"host")
    return scope["method"] not in _READS and headers.get(b"sec-fetch-site") in _FOREIGN


def _without_secret(path: str) -> str:
    if signed := SIGNED.fullmatch(path):
        return f"/{signed[1]}"
    return path.partition("/webhooks/")[0] or path
