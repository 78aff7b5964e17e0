"""The server's event loop: asyncio's own, in short turns, and this process's own sockets first.

In one turn asyncio runs what all ready sockets have asked for. With thousands of strangers' sockets
that is a long time, and the answer to one request takes several turns. Here a turn takes few of
them; the kernel tells of the others next, and begins with those that it has not told of yet
(epoll(7)). So whatever is under way goes on between them. The sockets on which this process itself
has asked (the runtime, the router, a container whether it is ready, a registry) are in every turn:
else thousands of strangers would wait between a question and its answer, which would be taken for
late. Streams without end, as of a log, have the least of each turn.
"""

import asyncio
import os
import select
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from functools import partial

_TURN_SECONDS = 0.01
"""Of the processor: a turn that takes more is followed by one with fewer sockets of others."""


class _Rank(Enum):
    """Owners of sockets, by the turns that these have."""

    OWN = auto()
    STRANGERS = auto()
    STREAMS = auto()


_MOST = (
    {_Rank.OWN: 64, _Rank.STRANGERS: 64, _Rank.STREAMS: 16},
    {_Rank.OWN: 64, _Rank.STRANGERS: 32, _Rank.STREAMS: 8},
    {_Rank.OWN: 64, _Rank.STRANGERS: 16, _Rank.STREAMS: 4},
)
"""Sockets in one turn: after short ones, and fewer after each long one."""


class _RankedPoll:
    """An epoll of each rank, as EpollSelector uses one: the others are in that of own sockets."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.ports: set[int] = set()
        """Ports of this process at which strangers come."""
        self.streams: dict[int, int] = {}
        """Descriptor -> inode of the socket that was meant."""
        self._clock = clock
        self._polls = {rank: select.epoll() for rank in _Rank}
        own = self._polls[_Rank.OWN]
        self._gates = {self._polls[rank].fileno(): rank for rank in _Rank if rank is not _Rank.OWN}
        for gate in self._gates:
            own.register(gate, select.EPOLLIN)
        self._ranks: dict[int, _Rank] = {}
        """Ranks of the followed descriptors, but for own ones."""
        self._fewer = 0
        """Index in `_MOST`: the number of halvings, which short turns take back."""
        self._began = clock()
        self.fileno = own.fileno

    def register(self, descriptor: int, events: int) -> None:
        """Follow a descriptor."""
        rank = self._rank(descriptor)
        self._polls[rank].register(descriptor, events)
        if rank is not _Rank.OWN:
            self._ranks[descriptor] = rank

    def modify(self, descriptor: int, events: int) -> None:
        """Follow other events of a descriptor."""
        self._polls[self._ranks.get(descriptor, _Rank.OWN)].modify(descriptor, events)

    def unregister(self, descriptor: int) -> None:
        """Follow it no longer; raises OSError when it is closed."""
        self._polls[self._ranks.pop(descriptor, _Rank.OWN)].unregister(descriptor)

    def poll(self, timeout: float, _most: int) -> list[tuple[int, int]]:
        """Wait for events."""
        self._adapt(self._clock() - self._began)
        most = _MOST[self._fewer]
        found, ready = [], []
        for event in self._polls[_Rank.OWN].poll(timeout, most[_Rank.OWN]):
            rank = self._gates.get(event[0])
            if rank is None:
                found.append(event)
            else:
                ready.append(rank)
        for rank in ready:
            found += self._polls[rank].poll(0, most[rank])
        self._began = self._clock()
        return found

    def close(self) -> None:
        """Close all."""
        for poll in self._polls.values():
            poll.close()

    def _rank(self, descriptor: int) -> _Rank:
        if self.ports and _own_port(descriptor) in self.ports:
            return _Rank.STRANGERS
        meant = self.streams.get(descriptor)
        if meant is None:
            return _Rank.OWN
        if meant == _inode(descriptor):
            return _Rank.STREAMS
        del self.streams[descriptor]  # the number is another one's by now
        return _Rank.OWN

    def _adapt(self, seconds: float) -> None:
        """Take fewer of others after a long turn, and more after a short one."""
        if seconds > _TURN_SECONDS:
            self._fewer = min(self._fewer + 1, len(_MOST) - 1)
        elif self._fewer and seconds < _TURN_SECONDS / 2:
            self._fewer -= 1


class FairSelector(selectors.EpollSelector):
    """Selector of short turns."""

    _selector: _RankedPoll

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._selector_cls = partial(_RankedPoll, clock)
        super().__init__()

    def count_as_strangers(self, port: int) -> None:
        """Count what is registered from now on with this port of its own as strangers'."""
        self._selector.ports.add(port)

    def count_as_stream(self, descriptor: int) -> None:
        """Count a socket as an endless stream from now on, until it is closed."""
        self._selector.streams[descriptor] = _inode(descriptor)
        if (key := self.get_map().get(descriptor)) is not None:
            self.unregister(descriptor)
            self.register(descriptor, key.events, key.data)


class FairEventLoop(asyncio.SelectorEventLoop):
    """Event loop of short turns."""

    def __init__(self) -> None:
        self.sockets = FairSelector()
        super().__init__(self.sockets)


def let_strangers_wait(listener: socket.socket) -> None:
    """Give the sockets of this process precedence over those that `listener` takes.

    Of an event loop that knows no such difference, nothing changes.
    """
    loop = asyncio.get_running_loop()
    address = listener.getsockname()
    if isinstance(loop, FairEventLoop) and isinstance(address, tuple):
        loop.sockets.count_as_strangers(address[1])


def let_stream_wait(transport: asyncio.BaseTransport) -> None:
    """Give all other sockets precedence over one that may have something without end.

    Of an event loop that knows no such difference, nothing changes.
    """
    loop = asyncio.get_running_loop()
    stream = transport.get_extra_info("socket")
    if isinstance(loop, FairEventLoop) and stream is not None and stream.fileno() >= 0:
        loop.sockets.count_as_stream(stream.fileno())


def create_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop of short turns."""
    return FairEventLoop()


def _own_port(descriptor: int) -> int:
    """Return the port at which a socket of this process is; 0 of all that has none."""
    try:
        # Whatever it is: its kind is not asked for, and getsockname(2) tells its address.
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=descriptor)
    except OSError:
        return 0
    try:
        address = found.getsockname()
    except OSError:
        return 0
    finally:
        found.detach()
    return address[1] if isinstance(address, tuple) else 0


def _inode(descriptor: int) -> int:
    with suppress(OSError):
        return os.fstat(descriptor).st_ino
    return 0
