"""HTTP to an API server: sessions, limits, timeouts, and paths of objects."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import aiohttp

from upwell.api.meta import Kind, ObjectKey
from upwell.machine.connecting import connection_failure
from upwell.store.interface import (
    MissingPathError,
    RejectedError,
    StoreError,
    UnavailableError,
)
from upwell.store.kubernetes_errors import ApiStatus
from upwell.store.kubernetes_socket import (
    HEARTBEAT,
    MAX_MESSAGE_BYTES,
    KubernetesConversation,
)

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A page of the largest objects that etcd takes (1.5 MiB) is far below; a broken server is not."""
MAX_LINE_BYTES = 16 * 1024 * 1024
_CHUNK = 64 * 1024
_CONNECT_TIMEOUT = 10.0
IDLE_TIMEOUT = 300.0
"""Seconds without a byte on a stream; a server's bookmarks come each minute."""
_UPLOAD = aiohttp.ClientTimeout(sock_connect=_CONNECT_TIMEOUT, sock_read=IDLE_TIMEOUT)
"""An upload takes as long as its bytes do."""


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """Address of the server and access to it: `ca` is the path of a PEM file, times in seconds."""

    base_url: str
    token: str | None = field(default=None, repr=False)
    ca: str | None = None
    timeout: float = 30.0
    socket: Path | None = None
    """Unix socket on which the server is asked, instead of the address."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request about an object or a collection; `key` is what errors speak of."""

    method: str
    kind: Kind
    key: ObjectKey
    subresource: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | Sequence[Any] | None = field(default=None, repr=False)
    content: AsyncIterator[bytes] | None = field(default=None, repr=False)
    """In place of `body`: bytes of any length, sent as they come."""
    content_type: str = "application/json"
    collection: bool = False
    """The request goes to the collection, though its key has a name."""

    @property
    def path(self) -> str:
        """The URL path; without name, that of the collection."""
        root = f"/apis/{self.kind.group}" if self.kind.group else "/api"
        steps = [self.kind.version]
        if self.key.namespace:
            steps += ["namespaces", self.key.namespace]
        steps += [
            self.kind.plural,
            "" if self.collection else self.key.name,
            *self.subresource.split("/"),
        ]
        return "/".join([root, *(quote(step, safe=":") for step in steps if step)])


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A JSON object and the warnings that came with it."""

    document: dict[str, Any]
    warnings: list[str]


class ApiConnection:
    """Sends requests; raises a StoreError for every answer that is not a success."""

    def __init__(self, access: ServerAccess) -> None:
        self._access = access
        self._base = access.base_url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(self, request: ApiRequest) -> ApiResponse:
        """Send `request` and return its JSON answer."""
        limits = self._whole() if request.content is None else _UPLOAD
        async with self.open(request, limits) as response:
            body = await _read_at_most(MAX_ANSWER_BYTES, response)
            warnings = _warnings(response.headers.getall("Warning", []))
        return ApiResponse(parse_object(body, str(request.key)), warnings)

    async def get_raw(self, path: str) -> bytes:
        """Return the answer at `path`."""
        url = f"{self._base}/{path.lstrip('/')}"
        with _reachable(self._base):
            async with self._open_session().get(url, timeout=self._whole()) as response:
                body = await _read_at_most(MAX_ANSWER_BYTES, response)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise RejectedError(f"{path}: {ApiStatus.parse(body, response.status).message}")
        return body

    async def send_raw(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the JSON object that a path answers; `path` may have a query."""
        url = f"{self._base}/{path.lstrip('/')}"
        with _reachable(self._base):
            async with self._open_session().request(
                method, url, json=body, timeout=self._whole(), allow_redirects=False
            ) as response:
                raw = await _read_at_most(MAX_ANSWER_BYTES, response)
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            message = ApiStatus.parse(raw, response.status).message
            kind = RejectedError
            if response.status == HTTPStatus.NOT_FOUND:
                kind = MissingPathError
            raise kind(message)
        return parse_object(raw, path)

    async def lines(self, request: ApiRequest) -> AsyncGenerator[bytes]:
        """Yield the answer's lines as they come."""
        rest = bytearray()
        async for chunk in self.chunks(request):
            *whole, last = chunk.split(b"\n")
            for line in whole:
                yield bytes(rest + line)
                rest.clear()
            rest += last
            if len(rest) > MAX_LINE_BYTES:
                raise StoreError(f"the server sent a line of more than {MAX_LINE_BYTES} bytes")

    async def chunks(self, request: ApiRequest) -> AsyncGenerator[bytes]:
        """Yield the answer's bytes as they come, for as long as they come."""
        timeout = aiohttp.ClientTimeout(sock_connect=_CONNECT_TIMEOUT, sock_read=IDLE_TIMEOUT)
        async with self.open(request, timeout) as response:
            while chunk := await response.content.read(_CHUNK):
                yield chunk

    @asynccontextmanager
    async def converse(
        self, request: ApiRequest, params: Sequence[tuple[str, str]], protocol: str
    ) -> AsyncGenerator[KubernetesConversation]:
        """Open a WebSocket for the block; the server has to speak `protocol`."""
        with _reachable(self._base):
            try:
                async with asyncio.timeout(self._access.timeout):
                    socket = await self._open_session().ws_connect(
                        self._base + request.path,
                        params=params,
                        protocols=(protocol,),
                        heartbeat=HEARTBEAT,
                        max_msg_size=MAX_MESSAGE_BYTES,
                    )
            except aiohttp.WSServerHandshakeError as error:
                # The library drops the answer's body: the same without the upgrade says why.
                plain = replace(request, params=dict(params))
                async with self.open(plain, self._whole()):
                    raise StoreError(f"{request.key}: {error.message}") from error
        async with socket:
            yield KubernetesConversation(socket)

    @asynccontextmanager
    async def open(
        self, request: ApiRequest, limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send `request` and give its successful response, to be read within the context."""
        data: bytes | AsyncIterator[bytes] | None = request.content
        if request.body is not None:
            data = json.dumps(request.body).encode()
        headers = {} if data is None else {"Content-Type": request.content_type}
        with _reachable(self._base):
            async with self._open_session().request(
                request.method,
                self._base + request.path,
                params=request.params,
                data=data,
                headers=headers,
                timeout=limits,
                allow_redirects=False,  # the token is for this server alone
            ) as response:
                if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                    body = await response.content.read(_CHUNK)
                    status = ApiStatus.parse(body, response.status)
                    after = response.headers.get("Retry-After", "")
                    raise status.error(
                        request.kind, request.key, float(after) if after.isdigit() else 0
                    )
                yield response

    def _whole(self) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=self._access.timeout, sock_connect=_CONNECT_TIMEOUT)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"Accept": "application/json", "User-Agent": "upwell"}
            if self._access.token:
                headers["Authorization"] = f"Bearer {self._access.token}"
            # Watches hold their connections for ever: no limit may make a write wait for one.
            self._session = aiohttp.ClientSession(connector=self._connector(), headers=headers)
        return self._session

    def _connector(self) -> aiohttp.BaseConnector:
        if self._access.socket is not None:
            return aiohttp.UnixConnector(str(self._access.socket), limit=0)
        tls = ssl.create_default_context(cafile=self._access.ca) if self._access.ca else True
        return aiohttp.TCPConnector(limit=0, ssl=tls)


def parse_object(body: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in `body`; raises StoreError."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{what}: the server's answer is not JSON") from error
    if not isinstance(document, dict):
        raise StoreError(f"{what}: the server's answer is not an object")
    return cast("dict[str, Any]", document)


@contextmanager
def _reachable(base: str) -> Iterator[None]:
    """Turn what goes wrong on the way into UnavailableError."""
    try:
        yield
    except TimeoutError as error:
        raise UnavailableError(f"{base} did not answer in time") from error
    except aiohttp.ClientSSLError as error:
        raise UnavailableError(f"{base} cannot be reached: {error}") from error
    except aiohttp.ClientConnectorError as error:
        why = connection_failure(error.host, error.port, error.os_error)
        raise UnavailableError(f"{base} cannot be reached: {why}") from error
    except aiohttp.ClientError as error:
        raise UnavailableError(f"{base} cannot be reached: {error}") from error
    except ssl.SSLError as error:
        message = f"{base} cannot be reached: the authority to trust is not a certificate in PEM"
        raise UnavailableError(message) from error


async def _read_at_most(limit: int, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while chunk := await response.content.read(_CHUNK):
        body += chunk
        if len(body) > limit:
            raise StoreError(f"the server's answer has more than {limit} bytes")
    return bytes(body)


_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
"""RFC 7234, 5.5, as API servers use it: code 299, an agent, a quoted text."""


def _warnings(headers: Iterable[str]) -> list[str]:
    return [
        re.sub(r"\\(.)", r"\1", match) for header in headers for match in _WARNING.findall(header)
    ]
