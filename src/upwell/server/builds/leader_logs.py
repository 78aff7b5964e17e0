"""Logs of running builds at replicas that do not lead: they are the leader's, and read from it.

A replica has judged its client's right before it asks. What it sends on is a ticket for this one
log, which ends within a minute, and nothing of the client's: whoever gets it can do no more.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from upwell.api.builds.build import Build
from upwell.cluster.errors import ClusterError
from upwell.server.auth.signatures import Signatures
from upwell.server.http.errors import ApiError

PLACE = "/replica-logs/"
_PURPOSE = "replica log"
_TICKET_SECONDS = 60
_ALL = -1


class LeaderReplica(Protocol):
    """The replica that leads, as another one sees it."""

    def leads_here(self) -> bool:
        """Return True while this replica itself leads."""
        ...

    async def get(self, path: str) -> AsyncIterator[bytes]:
        """Return what the leader answers to a request for a path, piece by piece as it comes.

        Raises ClusterError here, and from the iterator where the answer ends before its end.
        """
        ...


@dataclass(frozen=True, slots=True)
class LogTicket:
    """Log that a replica asks the leader for."""

    namespace: str
    name: str
    uid: str
    follow: bool
    lines: int | None
    """The last lines; None: all."""


class LeaderLogs:
    """Asks the leader for logs, and opens the tickets by which other replicas ask."""

    def __init__(
        self, leader: LeaderReplica, signatures: Signatures, clock: Callable[[], float]
    ) -> None:
        """`clock` tells seconds since 1970; all replicas have the key of `signatures`."""
        self._leader = leader
        self._signatures = signatures
        self._clock = clock

    def is_elsewhere(self, build: Build) -> bool:
        """Return True if the log of a build is one that another replica writes."""
        return not build.status.phase.is_terminal and not self._leader.leads_here()

    async def read(self, build: Build, lines: int | None, *, follow: bool) -> AsyncIterator[bytes]:
        """Return the log from the leader; raises ApiError 503 where none answers.

        The iterator raises a ClusterError where the log ends before its end.
        """
        ticket = LogTicket(build.namespace, build.name, build.uid, follow, lines)
        query = "?follow=true" if follow else ""
        try:
            return await self._leader.get(f"{PLACE}{self._sign(ticket)}{query}")
        except ClusterError as error:
            raise ApiError(
                503, f"the log of running {build.key} is the leader's: {error}"
            ) from error

    def opened(self, ticket: str) -> LogTicket:
        """Return what another replica asks for; raises ApiError 404, or 503 where none leads here.

        It is never sent on: who asks has asked the wrong one, and looks again.
        """
        match self._signatures.open(_PURPOSE, ticket):
            case [str(namespace), str(name), str(uid), int(follow), int(lines), int(ends)] if (
                ends > self._clock()
            ):
                found = LogTicket(
                    namespace, name, uid, bool(follow), None if lines == _ALL else lines
                )
            case _:
                raise ApiError(404, "the ticket is none of a replica of this server, or has ended")
        if not self._leader.leads_here():
            raise ApiError(503, "this replica does not lead any more: ask for the log again")
        return found

    def _sign(self, ticket: LogTicket) -> str:
        lines = _ALL if ticket.lines is None else ticket.lines
        ends = int(self._clock()) + _TICKET_SECONDS
        claims = (ticket.namespace, ticket.name, ticket.uid, int(ticket.follow), lines, ends)
        return self._signatures.sign(_PURPOSE, claims)
