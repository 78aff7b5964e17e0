"""Short turns of the event loop, whatever number of sockets is ready, and its own in each."""

import asyncio
import itertools
import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from upwell.machine.sockets.event_loop import FairSelector, create_event_loop, let_strangers_wait


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


@contextmanager
def _busy_listener(count: int) -> Iterator[tuple[socket.socket, list[socket.socket]]]:
    """Yield a listener, and connections at it that have something to read."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=count))
        taken = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(listener.getsockname()))
            taken.append(stack.enter_context(listener.accept()[0]))
            client.send(b"a")
        yield listener, taken


def _with_strangers(
    stack: ExitStack, count: int, clock: Callable[[], float] = lambda: 0.0
) -> tuple[FairSelector, list[socket.socket]]:
    """Return a selector, and strangers' sockets that are registered with it and stay ready."""
    selector = stack.enter_context(FairSelector(clock))
    listener, taken = stack.enter_context(_busy_listener(count))
    selector.count_as_strangers(listener.getsockname()[1])
    for one in taken:
        selector.register(one, selectors.EVENT_READ)
    return selector, taken


def test_own_sockets_are_in_every_turn_however_many_strangers_are_ready() -> None:
    with ExitStack() as stack:
        selector, taken = _with_strangers(stack, 300)
        ours, theirs = (stack.enter_context(one) for one in socket.socketpair())
        theirs.send(b"a")
        selector.register(ours, selectors.EVENT_READ)
        turns = [{key.fd for key, _ in selector.select(0)} for _ in range(5)]
        assert all(ours.fileno() in turn and 1 < len(turn) <= 65 + 64 for turn in turns)
        assert set.union(*turns) == {one.fileno() for one in (*taken, ours)}
        selector.unregister(ours)
        for one in taken:
            selector.modify(one, selectors.EVENT_WRITE)
            selector.unregister(one)
        assert selector.select(0.01) == []


def test_a_number_that_was_a_stranger_s_is_its_next_owner_s() -> None:
    with ExitStack() as stack:
        selector, taken = _with_strangers(stack, 100)
        number = taken[50].fileno()
        taken[50].close()
        selector.unregister(number)
        ours, theirs = (stack.enter_context(one) for one in socket.socketpair())
        assert ours.fileno() == number
        theirs.send(b"a")
        selector.register(ours, selectors.EVENT_READ)
        assert all(number in {key.fd for key, _ in selector.select(0)} for _ in range(5))


def test_a_long_turn_is_followed_by_shorter_ones_until_there_is_time_again() -> None:
    with ExitStack() as stack:
        now, length = itertools.count().__next__, 1.0
        selector, _ = _with_strangers(stack, 100, lambda: now() * length)  # of each turn
        long = [len(selector.select(0)) for _ in range(8)]
        assert long == sorted(long, reverse=True)
        assert 1 <= long[-1] < long[0] <= 64
        length = 0.0
        assert [len(selector.select(0)) for _ in range(8)][-1] == 64


def test_the_server_s_own_questions_are_answered_among_strangers_that_are_always_ready() -> None:
    """A question of three steps takes as many turns, not as many rounds of all strangers."""
    turns = 0

    async def ask(listener: socket.socket, taken: list[socket.socket]) -> int:
        nonlocal turns
        loop = asyncio.get_running_loop()
        let_strangers_wait(listener)
        for one in taken:
            loop.add_reader(one, lambda: None)  # nobody reads: all stay ready

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            counting = asyncio.create_task(count())
            for _ in range(10):
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"ready?\n")
                assert await reader.read() == b"ready?\n"
                writer.close()
            counting.cancel()
        for one in taken:
            loop.remove_reader(one)
        return turns

    with (
        _busy_listener(2000) as (listener, taken),
        asyncio.Runner(loop_factory=create_event_loop) as runner,
    ):
        assert runner.run(ask(listener, taken)) < 10 * 25


def test_a_stream_has_the_least_of_a_turn_until_it_is_closed() -> None:
    with ExitStack() as stack:
        selector = stack.enter_context(FairSelector(lambda: 0.0))
        streams = [stack.enter_context(pair) for pair in _ready_pairs(100)]
        for one in streams:
            selector.register(one, selectors.EVENT_READ)
            selector.count_as_stream(one.fileno())
        ours = stack.enter_context(_ready_pairs(1)[0])
        selector.register(ours, selectors.EVENT_READ)
        turns = [{key.fd for key, _ in selector.select(0)} for _ in range(10)]
        assert all(ours.fileno() in turn and 1 < len(turn) <= 17 for turn in turns)
        assert set.union(*turns) == {one.fileno() for one in (*streams, ours)}
        number = streams[50].fileno()
        streams[50].close()
        selector.unregister(number)
        following = stack.enter_context(_ready_pairs(1)[0])
        assert following.fileno() == number
        selector.register(following, selectors.EVENT_READ)
        assert all(number in {key.fd for key, _ in selector.select(0)} for _ in range(10))


def _ready_pairs(count: int) -> list[socket.socket]:
    """Return sockets that have something to read, for ever."""
    ready = []
    for _ in range(count):
        ours, theirs = socket.socketpair()
        theirs.send(b"a")
        theirs.detach()
        ready.append(ours)
    return ready
