"""An S3 server of moto, on a thread of its own: a second opinion about what S3 does."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.request import Request, urlopen

from moto.server import ThreadedMotoServer
from tests.support.s3.strict_server import BUCKET


@dataclass(frozen=True)
class MotoServer:
    url: str


@contextmanager
def moto_s3() -> Iterator[MotoServer]:
    """Serve a bucket on a free port; it is that of this process, whatever a test has left in it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        with urlopen(Request(f"{url}/{BUCKET}", method="PUT")) as answer:  # noqa: S310 - of this test
            assert answer.status == 200
        yield MotoServer(url)
    finally:
        server.stop()
