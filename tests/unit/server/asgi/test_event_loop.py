"""Short turns of the event loop, whatever number of sockets is ready."""

import asyncio
import selectors
import socket
from contextlib import ExitStack

from upwell.server.asgi.event_loop import FairSelector, create_event_loop


def test_a_turn_takes_few_of_many_ready_sockets_and_each_has_its_own() -> None:
    with FairSelector() as selector, ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(200)]
        for ours, theirs in pairs:
            stack.enter_context(ours)
            stack.enter_context(theirs)
            selector.register(ours, selectors.EVENT_READ)
            theirs.send(b"a")  # which nobody reads: all stay ready
        turns = [{key.fd for key, _ in selector.select(0)} for _ in range(4)]
        assert all(0 < len(turn) <= 64 for turn in turns)
        assert set.union(*turns) == {ours.fileno() for ours, _ in pairs}


def test_no_socket_is_waited_for_longer_than_wanted() -> None:
    with FairSelector() as selector:
        assert selector.select(0.01) == []


def test_what_is_under_way_goes_on_between_the_sockets() -> None:
    """Steps that follow one another take as many turns, and few sockets each."""
    handled = 0

    def handle(ours: socket.socket) -> None:
        nonlocal handled
        handled += 1
        assert ours.recv(1) == b"a"

    async def steps() -> int:
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            for ours, theirs in [socket.socketpair() for _ in range(300)]:
                stack.enter_context(ours)
                stack.enter_context(theirs)
                loop.add_reader(ours, handle, ours)
                stack.callback(loop.remove_reader, ours)
                theirs.send(b"a")
            for _ in range(3):
                await asyncio.sleep(0)
            return handled

    with asyncio.Runner(loop_factory=create_event_loop) as runner:
        assert 0 < runner.run(steps()) <= 3 * 64
