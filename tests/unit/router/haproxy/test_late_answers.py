"""Answers of HAProxy count when they come, however late the event loop is to take them."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from upwell.router.haproxy.cli import HaproxyCli

MASTER = b"#<PID> <type>\n4711 master 0 0d0h00m01s 3.0\n"


class Master:
    """Stands on a control socket, and answers in a thread of its own."""

    def __init__(self, path: Path, answers: bytes) -> None:
        self.questions = 0
        self._answers = answers
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, suppress(BrokenPipeError):  # whoever asked has given up
                self.questions += 1
                while client.recv(1024):
                    pass
                client.sendall(self._answers)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    made = Master(tmp_path / "haproxy.sock", MASTER)
    yield made
    made.close()


async def test_an_answer_is_heard_while_the_event_loop_stands_still(
    master: Master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.router.haproxy.cli._WORKER_SECONDS", 0.5)
    task = asyncio.ensure_future(HaproxyCli(tmp_path / "haproxy.sock").master())
    await asyncio.sleep(0)
    threading.Event().wait(0.6)  # nobody sets it: the event loop stands still
    assert await task == 4711
    assert master.questions == 1


async def test_a_master_that_is_silent_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.router.haproxy.cli._WORKER_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "haproxy.sock"))
        listener.listen()
        assert await HaproxyCli(tmp_path / "haproxy.sock").master() is None


async def test_nobody_at_the_socket_is_none(tmp_path: Path) -> None:
    assert await HaproxyCli(tmp_path / "haproxy.sock").master() is None
