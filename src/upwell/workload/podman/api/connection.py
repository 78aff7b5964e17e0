"""Connection to Podman's service: requests with bounded answers, and errors of this package.

A service that is gone is started again before the first byte of a request is sent; nothing else is
tried again.
"""

import asyncio
import contextlib
import errno
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn

import aiohttp

from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.podman.api.hijack import hijack
from upwell.workload.podman.api.log_frames import BadFrameError
from upwell.workload.podman.api.pull_faults import MAX_ERROR_CHARACTERS
from upwell.workload.podman.api.service import PodmanService

_PATH = "/v5.0.0/libpod"
_BASE = f"http://podman{_PATH}"
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=60.0)
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
"""Errors of this process or machine: the service may be there all the same."""
CHUNK = 64 * 1024
"""Bytes that are read at once."""


class PodmanNotFoundError(Exception):
    """Podman has no such container, image or network. Stays within the adapter."""


class PodmanRefusedError(RuntimeUnavailableError):
    """Podman answered that it cannot do what it was asked for: it runs, something else is wrong."""


class PodmanLostError(RuntimeUnavailableError):
    """The service does not run, or ended before its answer: that says nothing of what was asked."""


@dataclass(frozen=True, slots=True)
class PodmanRequest:
    """One request: what is asked, and how long the answer may take."""

    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: aiohttp.ClientTimeout = _REQUEST_TIMEOUT
    ahead: int = CHUNK
    """Bytes of the answer that wait until they are read."""


class PodmanConnection:
    """One connection pool to the service that runs."""

    def __init__(self, service: PodmanService) -> None:
        self.service = service
        self._session: aiohttp.ClientSession | None = None
        self._start = 0
        """Number of the start of the service that the connections belong to."""

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def hijack(
        self, path: str, body: Mapping[str, Any] | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """POST `body`, if any, and return the plain stream that the connection is from then on."""
        await self.service.ensure()
        return await hijack(self.service.socket, f"{_PATH}{path}", body)

    async def json(self, call: PodmanRequest) -> Any:
        """Return the JSON of an answer; None for an empty one."""
        async with self.open(call) as response:
            raw = await read_whole(response)
        try:
            return json.loads(raw) if raw else None
        except ValueError as error:
            raise RuntimeUnavailableError(f"podman answered no JSON to {call.path}") from error

    async def _connected(self) -> aiohttp.ClientSession:
        """Return the session of the service that runs; connections to an earlier one are closed."""
        if self._session is None or self._start != self.service.starts:
            old, self._start = self._session, self.service.starts
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=str(self.service.socket), limit=0),
            )
            if old is not None:
                await old.close()
            return self._session
        return self._session

    @asynccontextmanager
    async def open(self, call: PodmanRequest) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, and give the answer before its body is read."""
        try:
            await self.service.ensure()
        except RuntimeUnavailableError as error:
            raise PodmanLostError(str(error)) from error
        request = (await self._connected()).request(
            call.method,
            _BASE + call.path,
            params=call.parameters,
            json=call.body,
            headers=call.headers,
            timeout=call.timeout,
            read_bufsize=call.ahead,
        )
        try:
            async with request as response:
                if response.status >= HTTPStatus.BAD_REQUEST:
                    await _raise(response)
                yield response
        except (aiohttp.ClientError, OSError, BadFrameError) as error:  # a TimeoutError is one too
            # A socket refuses without a pause: who tries again and again would hold the event
            # loop, and with it whoever starts the service anew.
            await asyncio.sleep(0)
            asked = f"podman: {call.method} {call.path}"
            has_no_descriptor = isinstance(error, OSError) and error.errno in _NO_DESCRIPTORS
            if has_no_descriptor or isinstance(error, TimeoutError | BadFrameError):
                raise RuntimeUnavailableError(
                    f"{asked}: {str(error) or 'no answer in time'}"
                ) from error
            raise PodmanLostError(f"{asked}: Podman's service is gone: {error}") from error


async def must_find[T](call: Awaitable[T]) -> T:
    """Return the answer of a call; raises RuntimeUnavailableError for what Podman does not have."""
    try:
        return await call
    except PodmanNotFoundError as error:
        raise RuntimeUnavailableError(f"podman: {error}") from error


async def pieces(response: aiohttp.ClientResponse, size: int) -> AsyncGenerator[bytes]:
    """Yield the body; raises ClientError where the connection ended, whoever read at that time."""
    try:
        async for piece in response.content.iter_chunked(size):
            yield piece
    except RuntimeError as error:  # aiohttp's, of one that ended while nobody read from it
        raise aiohttp.ClientConnectionError(str(error)) from error


async def read_whole(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of an answer; raises RuntimeUnavailableError for one that is too large."""
    content = bytearray()
    async for chunk in pieces(response, CHUNK):
        content += chunk
        if len(content) > _MAX_ANSWER_BYTES:
            raise RuntimeUnavailableError(f"podman answered over {_MAX_ANSWER_BYTES} bytes")
    return bytes(content)


async def _raise(response: aiohttp.ClientResponse) -> NoReturn:
    raw = (await read_whole(response)).decode(errors="replace")
    message, cause = raw, ""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        document = json.loads(raw)
        message, cause = str(document["message"]), str(document["cause"])
    message = message.strip()[:MAX_ERROR_CHARACTERS] or f"HTTP {response.status}"
    if response.status == HTTPStatus.NOT_FOUND or cause == "no such container":
        raise PodmanNotFoundError(message)
    raise PodmanRefusedError(f"podman: {message}")
