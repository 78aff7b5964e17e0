"""Listening sockets, and whose they are."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from upwell.machine.sockets.listeners import (
    ask_listener,
    listener_at,
    listening_sockets,
    sockets_of,
)


@pytest.mark.parametrize(
    ("bound", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.9", "127.0.0.9"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("::1", "::1"),
    ],
)
def test_a_listener_is_found_with_its_process(bound: str, asked: str) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((bound, 0))
        listener.listen()
        port = listener.getsockname()[1]
        found = listening_sockets(asked, port)
        assert found == {os.fstat(listener.fileno()).st_ino}
        assert found <= sockets_of([os.getpid()])
        assert listener_at(asked, port).startswith(f"process {os.getpid()} (")
    assert listening_sockets(asked, port) == set()
    assert listener_at(asked, port) == ""


def test_a_listener_at_another_address_is_not_meant() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.9", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert listening_sockets("127.0.0.8", port) == set()


def test_a_process_that_is_gone_has_no_sockets() -> None:
    assert sockets_of([2**22]) == set()


async def test_a_listener_is_asked_while_the_event_loop_is_held_up(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        asking = asyncio.create_task(asyncio.to_thread(ask_listener, path, b"well?", 30))
        await asyncio.sleep(0)
        client, _ = listener.accept()  # holds up the event loop, as does the rest
        with client:
            assert client.recv(5) == b"well?"
            client.sendall(b"quite ")
            client.sendall(b"well")
    assert await asking == b"quite well"


@pytest.mark.parametrize("answers", [True, False])
def test_an_answer_that_is_there_counts_however_late_it_is_looked_for(
    tmp_path: Path, *, answers: bool
) -> None:
    path = tmp_path / "socket"
    looks = 0

    def clock() -> float:
        """Let the time pass between the question and the first look, while this thread is held."""
        nonlocal looks
        looks += 1
        if looks == 1:
            return 0
        if answers and looks == 2:
            with listener.accept()[0] as client:
                assert client.recv(5) == b"well?"
                client.sendall(b"quite well")
        return 31

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        if answers:
            assert ask_listener(path, b"well?", 30, clock=clock) == b"quite well"
        else:
            with pytest.raises(TimeoutError, match="no answer in 30 s"):
                ask_listener(path, b"well?", 30, clock=clock)


def test_who_says_nothing_or_never_ends_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(TimeoutError):
            ask_listener(path, b"well?", 0.01)
    with pytest.raises(ConnectionRefusedError):
        ask_listener(path, b"well?", 30)
