"""An S3 server of moto: a second opinion about what S3 does.

python -m tests.support.s3.moto

serves a bucket in a process of its own until its input ends, and prints the URL as its first line.
"""

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from tests.support.s3.strict_server import BUCKET
from werkzeug.serving import make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_POLL_SECONDS = 0.05
_CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")


@dataclass(frozen=True)
class MotoServer:
    url: str


@dataclass(frozen=True)
class AtomicConditions:
    """Carries conditional writes out one at a time.

    moto compares the ETag and stores the object without a lock (`put_object` of its responses), on
    a thread for each request: two of several writers may win, and a third one meet a closed file.
    """

    application: "WSGIApplication"
    _writing: Any = field(default_factory=Lock)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        is_write = environ["REQUEST_METHOD"] == "PUT"
        if is_write and any(name in environ for name in _CONDITIONS):
            with self._writing:
                return self.application(environ, start_response)
        return self.application(environ, start_response)


@contextmanager
def moto_s3() -> Iterator[MotoServer]:
    """Serve a bucket on a free port; it is that of this process, whatever a test has left in it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = AtomicConditions(DomainDispatcherApplication(create_backend_app))
    server = make_server(
        "127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler
    )
    thread = Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        with urlopen(Request(f"{url}/{BUCKET}", method="PUT")) as answer:  # noqa: S310 - of this test
            assert answer.status == 200
        yield MotoServer(url)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@asynccontextmanager
async def moto_process() -> AsyncIterator[MotoServer]:
    """Serve a bucket by a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    try:
        yield MotoServer((await process.stdout.readline()).decode().strip())
    finally:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    with moto_s3() as served:
        sys.stdout.write(f"{served.url}\n")
        sys.stdout.flush()
        sys.stdin.read()
