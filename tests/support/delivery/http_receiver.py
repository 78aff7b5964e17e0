"""A receiver on a free loopback port that answers as it is told, well or badly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

OK = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
HANG = b""


@dataclass
class ReceivedRequest:
    """One request."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HttpReceiver:
    """`answers` are used up one by one, each as raw bytes; then `otherwise`. HANG never answers."""

    answers: list[bytes] = field(default_factory=list)
    otherwise: bytes = OK
    arrived: list[ReceivedRequest] = field(default_factory=list)
    port: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *rest = head.strip().split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (one.partition(":") for one in rest)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.arrived.append(ReceivedRequest(line, headers, body))
                answer = self.answers.pop(0) if self.answers else self.otherwise
                if answer == HANG:
                    await reader.read()
                    break
                writer.write(answer)
                await writer.drain()
                if b"Content-Length" not in answer:
                    break
        self.open.discard(writer)
        writer.close()

    async def until(self, condition: Callable[["HttpReceiver"], bool]) -> None:
        try:
            async with asyncio.timeout(60):
                while not condition(self):  # noqa: ASYNC110 - it is read, not told
                    await asyncio.sleep(0.01)
        except TimeoutError:
            bodies = [one.body.decode(errors="replace") for one in self.arrived]
            raise AssertionError("\n".join(["only this arrived in 60 s:", *bodies])) from None


def status(code: int, phrase: str, **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {code} {phrase}", *lines, "Content-Length: 0", "", ""]).encode()


@contextlib.asynccontextmanager
async def receiving(
    *answers: bytes, otherwise: bytes = OK, port: int = 0
) -> AsyncIterator[HttpReceiver]:
    receiver = HttpReceiver(list(answers), otherwise)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", port)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for writer in receiver.open:
            writer.close()
        await server.wait_closed()
