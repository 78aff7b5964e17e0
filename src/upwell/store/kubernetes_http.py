"""HTTP to an API server: sessions, limits, timeouts, and paths of objects."""

import json
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote, urlencode

from upwell.api.meta import Kind, ObjectKey
from upwell.store.interface import (
    Conversation,
    ExpiredError,
    MissingPathError,
    NotFoundError,
    RejectedError,
    StoreError,
    UnavailableError,
)
from upwell.store.kubernetes_connections import (
    AnswerReader,
    ConnectionFailedError,
    HttpConnections,
    HttpRequest,
    ServerAccess,
    TimeLimits,
)
from upwell.store.kubernetes_errors import ApiStatus

METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Content type of a list of names, without what else the objects have."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A page of the largest objects that etcd takes (1.5 MiB) is far below; a broken server is not."""
MAX_LINE_BYTES = 16 * 1024 * 1024
MOST_RETRY_SECONDS = 300.0
"""Time after which a server is asked again at the latest, whatever its Retry-After says."""
_NO_NAME = re.compile(r"[/%]|\A\.{1,2}\Z")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_REFUSAL_BYTES = 64 * 1024
_ANYTHING = "*/*"
"""Accepted of streams: an API server answers 406 to who wants JSON of a command's channels."""
_STREAM = TimeLimits(idle=300.0)
"""A stream takes as long as its bytes do; a server's bookmarks come each minute."""


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
    accept: str = "application/json"
    most_bytes: int = MAX_ANSWER_BYTES
    """Of the answer, if it is read whole."""
    seconds: float | None = None
    """Time for the whole answer; None: as long as any other one."""

    @property
    def path(self) -> str:
        """The URL path; without name, that of the collection.

        Raises NotFoundError for a name that no object can have ("Object Names and IDs", "Path
        Segment Names"): a server would take it apart, and answer for another object.
        """
        if any(_NO_NAME.search(name) for name in (self.key.namespace, self.key.name)):
            raise NotFoundError(self.key)
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
    """Sends requests; raises a StoreError for every answer that is not a success.

    `before_write` is called for each request that is no mere reading, once nothing is left to wait
    for before it is sent; what it raises keeps the request from being sent.
    """

    def __init__(
        self, access: ServerAccess, before_write: Callable[[], None] | None = None
    ) -> None:
        self._access = access
        self._before_write = before_write
        self._versions: dict[tuple[str, str], str] = {}
        """Of kinds that are asked for in an older one, by group and plural."""
        self._base = access.base_url.rstrip("/")
        self._connections = HttpConnections(
            self._base,
            access.ca,
            access.socket,
            access.tls,
            tls_server_name=access.tls_server_name,
            dial=access.dial,
        )
        self._whole = TimeLimits(whole=access.timeout)

    @property
    def bearer_token(self) -> str | None:
        """The token by which the server knows us now; None: it has a certificate of ours."""
        return self._access.bearer_token

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    def use_version(self, kind: Kind, version: str) -> None:
        """Ask for a kind in an older version of its group, in which it is the same."""
        self._versions[kind.group, kind.plural] = version

    async def ask(self, request: ApiRequest) -> ApiResponse:
        """Send `request` and return its JSON answer."""
        limits = self._whole if request.content is None else _STREAM
        if request.seconds is not None:
            limits = TimeLimits(whole=request.seconds)
        async with self._open(request, limits) as answer:
            body = await _read_at_most(request.most_bytes, answer)
            warnings = _warnings(answer.header("warning"))
        return ApiResponse(parse_object(body, str(request.key)), warnings)

    async def get_raw(self, path: str) -> bytes:
        """Return the answer at `path`."""
        status, body = await self._ask_raw("GET", path)
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            raise RejectedError(f"{path}: {ApiStatus.parse(body, status).message}")
        return body

    async def require_ready(self) -> None:
        """Raise UnavailableError while the server says that it is not ready (`/readyz`).

        One that does not say it counts as ready.
        """
        status, body = await self._ask_raw("GET", "/readyz")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            why = body[:_REFUSAL_BYTES].decode("utf-8", "replace")
            faults = [line for line in why.splitlines() if line.startswith("[-]")] or [why]
            raise UnavailableError(f"{self._base} is not ready: {'; '.join(faults)[:500]}")

    async def require_reached(self, collection: ApiRequest, since: str) -> None:
        """Raise ExpiredError if the server is not as far yet as `since`, a version of its own.

        Its etcd was restored from a snapshot then. It takes a watch from a later version all the
        same, and tells nothing that happens until it is there again: that would be missed for ever.
        Versions are compared as numbers (Kubernetes API concepts, "Resource versions"), and those
        that are none not at all. Costs one small answer.
        """
        params = {**collection.params, "limit": "1"}
        answer = await self.ask(replace(collection, params=params, accept=METADATA_LIST))
        meta = answer.document.get("metadata")
        reached = str(meta.get("resourceVersion") or "") if isinstance(meta, Mapping) else ""
        if reached.isdecimal() and since.isdecimal() and int(reached) < int(since):
            raise ExpiredError(since)

    async def send_raw(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the JSON object that a path answers; `path` may have a query."""
        status, raw = await self._ask_raw(method, path, body)
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            message = ApiStatus.parse(raw, status).message
            kind = RejectedError
            if status == HTTPStatus.NOT_FOUND:
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
        async with self._open(request, _STREAM) as answer:
            while chunk := await answer.read():
                yield chunk

    @asynccontextmanager
    async def converse(
        self, request: ApiRequest, params: Sequence[tuple[str, str]], protocol: str
    ) -> AsyncGenerator[Conversation]:
        """Open a WebSocket for the block; the server has to speak `protocol`."""
        # The library for WebSockets takes long to load, and most commands need none.
        from upwell.store.kubernetes_socket import (  # noqa: PLC0415
            RefusedConversationError,
            open_conversation,
        )

        if self._before_write is not None:
            self._before_write()  # a command in a Pod is one, though it begins by GET
        with _reachable(self._base):
            try:
                async with open_conversation(
                    self._access, request.path, params, protocol, dict(self._headers(_ANYTHING))
                ) as conversation:
                    yield conversation
            except RefusedConversationError as error:
                # The library drops the answer's body: the same without the upgrade says why.
                plain = replace(request, params=dict(params), accept=_ANYTHING)
                async with self._open(plain, self._whole):
                    raise StoreError(f"{request.key}: {error}") from error

    @asynccontextmanager
    async def _open(self, request: ApiRequest, limits: TimeLimits) -> AsyncIterator[AnswerReader]:
        """Send `request` and give its successful answer, to be read within the context."""
        request = self._as_served(request)
        content: bytes | AsyncIterator[bytes] | None = request.content
        if request.body is not None:
            content = json.dumps(request.body).encode()
        path = request.path
        if request.params:
            path += f"?{urlencode(request.params)}"
        headers = self._headers(request.accept)
        if content is not None:
            headers.append(("Content-Type", request.content_type))
        asked = self._request(request.method, path, headers, content)
        with _reachable(self._base):
            async with self._connections.ask(asked, limits) as answer:
                if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
                    body = await answer.read_at_most(_REFUSAL_BYTES)
                    status = ApiStatus.parse(body, answer.status)
                    after = _retry_after("".join(answer.header("retry-after")))
                    raise status.error(request.kind, request.key, after)
                yield answer

    async def _ask_raw(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, bytes]:
        """Return status and body of what a path answers."""
        content = None if body is None else json.dumps(body).encode()
        headers = self._headers()
        if content is not None:
            headers.append(("Content-Type", "application/json"))
        asked = self._request(method, f"/{path.lstrip('/')}", headers, content)
        with _reachable(self._base):
            async with self._connections.ask(asked, self._whole) as answer:
                return answer.status, await _read_at_most(MAX_ANSWER_BYTES, answer)

    def _as_served(self, request: ApiRequest) -> ApiRequest:
        version = self._versions.get((request.kind.group, request.kind.plural))
        if version is None:
            return request
        older, body = replace(request.kind, version=version), request.body
        if isinstance(body, Mapping) and body.get("apiVersion") == request.kind.api_version:
            body = {**body, "apiVersion": older.api_version}
        return replace(request, kind=older, body=body)

    def _request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        content: bytes | AsyncIterator[bytes] | None,
    ) -> HttpRequest:
        before = None if method in _READING else self._before_write
        return HttpRequest(method, path, headers, content, before)

    def _headers(self, accept: str = "application/json") -> list[tuple[str, str]]:
        headers = [("Accept", accept), ("User-Agent", "upwell")]
        if token := self._access.bearer_token:
            headers.append(("Authorization", f"Bearer {token}"))
        return headers


async def list_documents(
    api: ApiConnection, request: ApiRequest, limit: int
) -> AsyncGenerator[Mapping[str, Any]]:
    """Yield a list as of one moment: documents of up to `limit` objects each; raises StoreError.

    An ExpiredError between two of them says that the list has to begin anew (Kubernetes API
    concepts, "Retrieving large results sets in chunks").
    """
    params = {**request.params, "limit": str(limit)}
    while True:
        document = (await api.ask(replace(request, params=params))).document
        yield document
        meta = document.get("metadata")
        following = meta.get("continue") if isinstance(meta, Mapping) else None
        if not following:
            return
        params = {**params, "continue": str(following)}


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
    except ConnectionFailedError as error:
        raise UnavailableError(f"{base} cannot be reached: {error}") from error


async def _read_at_most(limit: int, answer: AnswerReader) -> bytes:
    body = await answer.read_at_most(limit)
    if len(body) > limit:
        raise StoreError(f"the server's answer has more than {limit} bytes")
    return body


def _retry_after(header: str) -> float:
    """Return the seconds that a server asks for (RFC 9110, 10.2.3), or as many as are waited."""
    digits = re.fullmatch("[0-9]{1,9}", header.strip())
    return min(float(digits[0]), MOST_RETRY_SECONDS) if digits else 0.0


_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
"""RFC 7234, 5.5, as API servers use it: code 299, an agent, a quoted text."""


def _warnings(headers: Iterable[str]) -> list[str]:
    return [
        re.sub(r"\\(.)", r"\1", match) for header in headers for match in _WARNING.findall(header)
    ]
