"""Connections that are kept for the next request to their origin."""

import asyncio

from upwell.outbound.dialing import Dialer
from upwell.outbound.http.connection import HttpConnection
from upwell.outbound.http.errors import NoConnectionError
from upwell.outbound.http.messages import HttpOrigin

_READ_BYTES = 256 * 1024
"""At most so many are read at once, as asyncio does."""


class ConnectionPool:
    """Gives out at most `limit` connections at once, and keeps as many at rest.

    `connect` are the seconds for a connection with its TLS, `rest` those that it waits for the
    next request.
    """

    def __init__(self, dialer: Dialer, limit: int, connect: float, rest: float) -> None:
        self._dialer = dialer
        self._limit = limit
        self._connect_seconds = connect
        self._rest_seconds = rest
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._slots = asyncio.Semaphore(limit)
        self._busy: set[HttpConnection] = set()
        self._resting: dict[HttpOrigin, list[HttpConnection]] = {}
        self._resting_count = 0

    async def aclose(self) -> None:
        """End every connection."""
        resting = [connection for kept in self._resting.values() for connection in kept]
        every = (*self._busy, *resting)
        for connection in every:
            connection.close()
        for connection in every:
            await connection.wait_closed()

    async def take(
        self, origin: HttpOrigin, deadline: float, *, new: bool = False
    ) -> HttpConnection:
        """Return a connection that has rested, or a new one; `deadline` in the loop's time.

        Raises NoConnectionError, TimeoutError, or UnicodeError for what is no name.
        """
        if self._slots.locked():
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        else:
            await self._slots.acquire()
        try:
            connection = None if new else self._rested(origin)
            if connection is None:
                connection = await self._connected(origin, deadline)
        except BaseException:
            self._slots.release()
            raise
        self._busy.add(connection)
        return connection

    def give_back(self, connection: HttpConnection) -> None:
        """Keep a connection for the next request if it is good for one, else end it."""
        if connection not in self._busy:
            return
        self._busy.remove(connection)
        self._slots.release()
        if connection.is_reusable and self._resting_count < self._limit:
            self._resting.setdefault(connection.origin, []).append(connection)
            self._resting_count += 1
            connection.rest(self._rest_seconds)
        else:
            connection.close()

    def _rested(self, origin: HttpOrigin) -> HttpConnection | None:
        # The last first, so that those which are too many end.
        return self._leave_rest(kept[-1]) if (kept := self._resting.get(origin)) else None

    def _leave_rest(self, connection: HttpConnection) -> HttpConnection:
        kept = self._resting[connection.origin]
        kept.remove(connection)
        if not kept:
            del self._resting[connection.origin]
        self._resting_count -= 1
        return connection

    async def _connected(self, origin: HttpOrigin, deadline: float) -> HttpConnection:
        seconds = asyncio.get_running_loop().time() + self._connect_seconds
        try:
            async with asyncio.timeout_at(min(deadline, seconds)):
                return await self._dialer.connect(
                    lambda: HttpConnection(origin, self._gone, self._buffer),
                    *(origin.host, origin.port, origin.tls),
                )
        except TimeoutError:
            raise
        except OSError as error:
            raise NoConnectionError(origin.host, origin.port, error) from error

    def _gone(self, connection: HttpConnection) -> None:
        if connection in self._busy:
            self._busy.remove(connection)
            self._slots.release()
        elif connection in self._resting.get(connection.origin, ()):
            self._leave_rest(connection)
