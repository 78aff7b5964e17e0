"""The server's event loop: asyncio's own, in short turns.

In one turn asyncio runs what all ready sockets have asked for. With thousands of strangers' sockets
that is a long time, and the answer to one request takes several turns. Here a turn takes few
sockets; the kernel tells of the others next, and begins with those that it has not told of yet
(epoll(7)). So whatever is under way goes on between them.
"""

import asyncio
import select
import selectors

_EVENTS = 64
"""Sockets of one turn: some milliseconds."""


class _FewAtOnce:
    """An epoll that tells of few sockets at once, as EpollSelector uses it."""

    def __init__(self) -> None:
        epoll = select.epoll()
        self.register, self.modify, self.unregister = epoll.register, epoll.modify, epoll.unregister
        self.fileno, self.close = epoll.fileno, epoll.close
        self._poll = epoll.poll

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """Wait for events."""
        return self._poll(timeout, min(most, _EVENTS))


class FairSelector(selectors.EpollSelector):
    """Selector of short turns."""

    _selector_cls = _FewAtOnce


def create_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop of short turns."""
    return asyncio.SelectorEventLoop(FairSelector())
