"""HTTP/1.1 to one server (RFC 9112), over connections that are kept for the next request.

Commands start with it: what it imports loads in a tenth of the time of a library for all servers.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, SupportsIndex, cast
from urllib.parse import quote, urlsplit

import httptools

from upwell.machine.sockets.connecting import connection_failure
from upwell.machine.tasks import first_error

CONNECT_SECONDS = 10.0
_NEXT_ADDRESS_SECONDS = 0.25
"""Until the next address of a name is tried beside the one before (RFC 8305)."""
_CHUNK = 64 * 1024
_HEAD_BYTES = 64 * 1024
_KEPT_SECONDS = 15.0
"""A connection that was idle for longer is not used again: servers close such ones."""
_OPENING = 32
"""Connections that are opened at once: of too many that say nothing yet, a server closes some."""
_FIRST_FINAL_STATUS = 200
_KEPT_CHARACTERS = "%/:=&?~+!$,;'@()*"
"""Characters of a path with a query that stand for themselves, besides letters and digits."""
_TORN = "the connection broke within the answer"
_PORTS = {"http": 80, "https": 443}


type _ToProtocol = Callable[[], asyncio.Protocol]
type Dial = Callable[[_ToProtocol, str, int, ssl.SSLContext | None, str | None], Awaitable[object]]
"""Connects a protocol to host and port; with TLS, whose certificate has the given name or else the
host's. Raises OSError, or UnicodeError for what is no name."""


class ConnectionFailedError(Exception):
    """The server cannot be reached, or its answer broke off; the message says what happened."""


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """Address of the server and access to it: `ca` is the path of a PEM file, times in seconds."""

    base_url: str
    token: str | None = field(default=None, repr=False)
    ca: str | None = None
    timeout: float = 30.0
    socket: Path | None = None
    """Unix socket on which the server is asked, instead of the address."""
    token_source: Callable[[], str] | None = field(default=None, repr=False)
    """Returns the token of now, in place of `token`: it is replaced from time to time."""
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """TLS with what to trust, and a certificate of ours, in place of `ca`."""
    tls_server_name: str | None = None
    """Name that the certificate has to have, in place of the address's host."""
    dial: "Dial | None" = field(default=None, repr=False)
    """Connects in place of this module, by a policy of addresses."""

    @property
    def bearer_token(self) -> str | None:
        """The token of now."""
        return self.token if self.token_source is None else self.token_source()


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds that an answer may take as a whole, and without a byte of it; None: any time."""

    whole: float | None = None
    idle: float | None = None


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request: its path with the query, and its headers besides the connection's own."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    content: bytes | AsyncIterator[bytes] | None = field(default=None, repr=False)
    before_sending: Callable[[], None] | None = field(default=None, repr=False)
    """Called when a connection is there, right before the request goes out: raise to stop it."""

    @property
    def is_repeatable(self) -> bool:
        """True if it may be sent again after a connection broke (RFC 9110, 9.2.2)."""
        is_whole = self.content is None or isinstance(self.content, bytes)
        return is_whole and self.method in {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}


class AnswerReader:
    """An answer; its head has come, and its body is read once, in order."""

    def __init__(self, connection: "_Connection", idle: float | None) -> None:
        self._connection = connection
        self.idle = idle
        """Seconds that the server may be silent; None: any time."""
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._headers: list[tuple[str, str]] = []
        self._body = bytearray()
        self._has_head = False
        self._stays_open = False
        self.is_complete = False
        self.status = 0

    @property
    def may_be_followed(self) -> bool:
        """True if the connection takes another request."""
        return self.is_complete and not self._body and self._stays_open

    def header(self, name: str) -> list[str]:
        """Return the values of a header; `name` is in lower case."""
        return [value for key, value in self._headers if key == name]

    async def read_head(self) -> bool:
        """Read until the body; return False if the server has closed before the first byte."""
        while not self._has_head:
            if not await self._feed():
                if self._head_bytes:
                    raise ConnectionFailedError(_TORN)
                return False
        return True

    async def read(self) -> bytes:
        """Return the next bytes of the body, as they come; none at its end."""
        while not self._body and not self.is_complete:
            if not await self._feed():
                if self.header("content-length") or self.header("transfer-encoding"):
                    raise ConnectionFailedError(_TORN)
                self.is_complete = True
        found = bytes(self._body)
        self._body.clear()
        return found

    async def read_at_most(self, limit: int) -> bytes:
        """Return the body; of a longer one, more than `limit` bytes of it."""
        body = bytearray()
        while len(body) <= limit and (chunk := await self.read()):
            body += chunk
        return bytes(body)

    async def _feed(self) -> bool:
        """Read and parse some bytes; return False if there are no more."""
        try:
            async with asyncio.timeout(self.idle):
                data = await self._connection.reader.read(_CHUNK)
            if not data:
                return False
            self._parser.feed_data(data)
        except TimeoutError:
            raise
        except httptools.HttpParserUpgrade as error:
            message = "the server speaks another protocol from here on"
            raise ConnectionFailedError(message) from error
        except (OSError, httptools.HttpParserError) as error:
            if isinstance(error, ConnectionError) and not self._head_bytes:
                return False
            if self.is_complete:
                self._stays_open = False
                return True
            raise ConnectionFailedError(str(error) or type(error).__name__) from error
        if not self._has_head:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                raise ConnectionFailedError("the head of the answer is too long")
        return True

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin anew: what came before was an interim answer (RFC 9110, 15.2)."""
        if self.is_complete:
            # Nobody has asked for this one: whose it is cannot be known, nor what follows it.
            self._stays_open = False
        else:
            self._headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if not self.is_complete:
            text = value.decode("utf-8", "surrogateescape")
            self._headers.append((name.decode("latin-1").lower(), text))

    def on_headers_complete(self) -> None:
        """Keep the status."""
        if self.is_complete:
            return
        self.status = self._parser.get_status_code()
        self._has_head = self.status >= _FIRST_FINAL_STATUS
        self._stays_open = bool(self._parser.should_keep_alive())

    def on_body(self, data: bytes) -> None:
        """Keep bytes of the body."""
        if not self.is_complete:
            self._body += data

    def on_message_complete(self) -> None:
        """Note the end."""
        self.is_complete = self._has_head


class _CountedReader(asyncio.StreamReader):
    """Reader that knows whether something has come that nobody has read."""

    unread = 0
    """Bytes."""

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Take bytes from the connection."""
        self.unread += len(bytes(data))
        super().feed_data(data)

    async def read(self, n: int = -1) -> bytes:
        """Return bytes as they come."""
        data = await super().read(n)
        self.unread -= len(data)
        return data


class _StreamProtocol(asyncio.StreamReaderProtocol):
    """Protocol that says by which transport it is connected, whoever has connected it."""

    connected: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.connected = cast("asyncio.WriteTransport", transport)
        super().connection_made(transport)


class _Connection:
    """A connection with one request at a time."""

    def __init__(self, reader: _CountedReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.idle_since: float | None = None
        """Time at which its last request ended; None before the first one has."""
        self.is_spent = False
        """True if a request was not sent to its end: nothing can follow it."""

    @property
    def is_usable(self) -> bool:
        """True if nothing says that the server has closed it, or soon does.

        What comes before a request, such as 408 (Request Timeout), is not the answer to it.
        """
        is_fresh = self.idle_since is None or time.monotonic() - self.idle_since < _KEPT_SECONDS
        is_open = not self.reader.at_eof() and not self.writer.is_closing()
        return is_fresh and is_open and not self.reader.unread

    def close(self) -> None:
        """Close it, without waiting for the server's consent."""
        self.writer.transport.abort()

    async def send_stream(self, content: AsyncIterator[bytes], idle: float | None) -> None:
        """Send a body in chunks (RFC 9112, 7.1); each has `idle` seconds to be taken."""
        async for data in content:
            if data:
                self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))
                async with asyncio.timeout(idle):
                    await self.writer.drain()
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()


class HttpConnections:
    """Connections to the server at `base_url`, as many at once as there are requests.

    `ca` is the path of a PEM file to trust instead of the system's authorities. With `socket`, the
    server is asked there, whatever the URL's host. Redirects are not followed.
    """

    def __init__(
        self,
        base_url: str,
        ca: str | None = None,
        socket: Path | None = None,
        tls: ssl.SSLContext | None = None,
        *,
        tls_server_name: str | None = None,
        dial: Dial | None = None,
    ) -> None:
        """`tls` takes the place of `ca`; the last two are those of ServerAccess."""
        self._tls_server_name = tls_server_name
        self._dial = dial
        url = urlsplit(base_url)
        self._host = url.hostname or ""
        self._is_address = _is_address(self._host)
        self._port = url.port or _PORTS[url.scheme]
        self._host_header = url.netloc.rpartition("@")[2]
        self._prefix = url.path.rstrip("/")
        self._is_secure = url.scheme == "https"
        self._ca = ca
        self._socket = socket
        self._tls = tls
        self._idle: list[_Connection] = []
        self._opening = asyncio.Semaphore(_OPENING)

    async def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop().close()
        await asyncio.sleep(0)  # the event loop closes them when it gets to it

    @asynccontextmanager
    async def ask(self, request: HttpRequest, limits: TimeLimits) -> AsyncIterator[AnswerReader]:
        """Send a request and give its answer, to be read within the context.

        Raises ConnectionFailedError, or TimeoutError.
        """
        async with asyncio.timeout(limits.whole):
            kept = await self._take_kept()
            connection = kept or await self._connect()
            try:
                answer = await self._exchange(connection, request, limits.idle)
                if answer is None and kept and request.is_repeatable:
                    connection.close()
                    connection = await self._connect()
                    answer = await self._exchange(connection, request, limits.idle)
                if answer is None:
                    raise ConnectionFailedError("the server closed the connection unanswered")
                yield answer
                if answer.may_be_followed and not connection.is_spent:
                    connection.idle_since = time.monotonic()
                    self._idle.append(connection)
            finally:
                if connection not in self._idle:
                    connection.close()

    async def _take_kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            # Whoever blocks the event loop, as a question to the user does, has kept it from
            # noticing that the server has closed: it looks in the first turn, and tells us after.
            try:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                connection.close()  # it is among the kept ones no more
                raise
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        try:
            # Its time begins when it has its turn.
            async with self._opening, asyncio.timeout(CONNECT_SECONDS):
                return await self._open()
        except TimeoutError:
            raise
        except UnicodeError as error:
            message = f"{self._host} is not a name of a host"
            raise ConnectionFailedError(message) from error
        except (OSError, ExceptionGroup) as error:
            # One for each address that the name has; the first stands for all.
            first = first_error(error)
            if not isinstance(first, OSError):
                raise
            raise self._unreachable(first) from error

    async def _open(self) -> _Connection:
        loop = asyncio.get_running_loop()
        reader = _CountedReader(loop=loop)
        protocol = _StreamProtocol(reader, loop=loop)
        every_error: dict[str, Any] = {"all_errors": True}  # unknown to the types of the library
        tls = self._trust() if self._is_secure and self._socket is None else None
        name = self._tls_server_name if tls is not None else None
        if self._socket is not None:
            await loop.create_unix_connection(lambda: protocol, str(self._socket))
        elif self._dial is not None:
            await self._dial(lambda: protocol, self._host, self._port, tls, name)
        else:
            await loop.create_connection(
                lambda: protocol,
                self._host,
                self._port,
                ssl=tls,
                server_hostname=name,
                happy_eyeballs_delay=None if self._is_address else _NEXT_ADDRESS_SECONDS,
                **every_error,
            )
        writer = asyncio.StreamWriter(protocol.connected, protocol, reader, loop)
        return _Connection(reader, writer)

    def _unreachable(self, error: OSError) -> ConnectionFailedError:
        if self._socket is not None:
            return ConnectionFailedError(f"connect to {self._socket}: {error.strerror or error}")
        return ConnectionFailedError(connection_failure(self._host, self._port, error))

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = trusted(self._ca)
        return self._tls

    async def _exchange(
        self, connection: _Connection, request: HttpRequest, idle: float | None
    ) -> AnswerReader | None:
        """Send a request and return its answer; None if the server has closed without one."""
        content = request.content
        head = self._head(request)
        if request.before_sending is not None:
            request.before_sending()
        connection.writer.write(head)
        if content is None or isinstance(content, bytes):
            answer = AnswerReader(connection, idle)
            connection.writer.write(content or b"")
            return answer if await answer.read_head() else None
        # A server may refuse an upload that it has not read to the end, and is silent until then.
        answer = AnswerReader(connection, None)
        sending = asyncio.ensure_future(connection.send_stream(content, idle))
        reading = asyncio.ensure_future(answer.read_head())
        try:
            await asyncio.wait({sending, reading}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not isinstance(sending.exception(), OSError):
                sending.result()
            async with asyncio.timeout(idle):
                has_answered = await reading
            answer.idle = idle
            return answer if has_answered else None
        finally:
            connection.is_spent = not sending.done() or sending.exception() is not None
            for task in (sending, reading):
                task.cancel()
            await asyncio.gather(sending, reading, return_exceptions=True)

    def _head(self, request: HttpRequest) -> bytes:
        path = quote(self._prefix + request.path, safe=_KEPT_CHARACTERS)
        lines = [f"{request.method} {path} HTTP/1.1", f"Host: {self._host_header}"]
        lines += (f"{name}: {value}" for name, value in request.headers)
        if isinstance(request.content, bytes):
            lines.append(f"Content-Length: {len(request.content)}")
        elif request.content is not None:
            lines.append("Transfer-Encoding: chunked")
        if any("\r" in line or "\n" in line for line in lines):
            raise ConnectionFailedError("a header of the request has a line break")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def trusted(authority: str | None) -> ssl.SSLContext:
    """Return TLS that trusts the PEM file `authority`, or else the system's authorities.

    Raises ConnectionFailedError.
    """
    try:
        context = ssl.create_default_context(cafile=authority)
    except ssl.SSLError as error:
        message = "the authority to trust is not a certificate in PEM"
        raise ConnectionFailedError(message) from error
    except OSError as error:
        message = f"read the authority to trust at {authority}: {error.strerror or error}"
        raise ConnectionFailedError(message) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def _is_address(host: str) -> bool:
    """Return True for an address: there is no other one to try beside it.

    A race of one that is cancelled drops its socket unclosed (CPython 3.13, asyncio.staggered).
    """
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
