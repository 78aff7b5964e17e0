"""Requests of a replica to the one that leads, at the place that its Lease names.

Only who may write that Lease can name another place: the administrators of the cluster, as of the
server's namespace. The leader is known by the certificate that it names there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp

from upwell.api.coordination.replicas import ReplicaPlace
from upwell.cluster.errors import ClusterUnavailableError

_OK = 200
_BEGIN_SECONDS = 10.0
"""For the head of an answer; a body takes as long as something happens."""
_MOST_BYTES = 64 * 1024**2
"""Of one answer: a log is far smaller."""
_MOST_FAULT = 4096


@dataclass(frozen=True, slots=True)
class LeaderClient:
    """Client of the leader; the functions tell of the election, as this replica sees it."""

    leads_here: Callable[[], bool]
    leader: Callable[[], str]
    """Returns the identity of the leader; empty: none is known."""
    place: Callable[[], ReplicaPlace | None]
    """Returns where it answers; None: it does not say."""
    server_name: str
    """Name by which a server knows a request for itself, at any address."""
    look_seconds: float = 5.0
    """Time between two looks at who leads, while nothing comes."""

    async def get(self, path: str) -> AsyncIterator[bytes]:
        """Return the leader's answer to a request for a path, as it comes.

        Raises ClusterUnavailableError, here and from the iterator.
        """
        leader, place = self.leader(), self.place()
        if not leader or self.leads_here():
            raise ClusterUnavailableError("no replica leads at this moment")
        if place is None:
            raise ClusterUnavailableError(
                f"{leader} leads, and its Lease does not say where it answers: start it with"
                " --replica-address"
            )
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_BEGIN_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        try:
            answer = await self._begun(session, place, path)
        except BaseException:
            await session.close()
            raise
        return self._pieces(session, answer, leader)

    async def _begun(
        self, session: aiohttp.ClientSession, place: ReplicaPlace, path: str
    ) -> aiohttp.ClientResponse:
        pin = aiohttp.Fingerprint(bytes.fromhex(place.certificate)) if place.certificate else True
        try:
            async with asyncio.timeout(_BEGIN_SECONDS):
                answer = await session.get(
                    f"{place.url}{path}",
                    headers={"Host": self.server_name, "Accept-Encoding": "identity"},
                    ssl=pin,
                    server_hostname=self.server_name if place.certificate else None,
                    allow_redirects=False,
                )
                if answer.status == _OK:
                    return answer
                said = (await answer.content.read(_MOST_FAULT)).decode("utf-8", "replace")
                answer.close()
        except aiohttp.ServerFingerprintMismatch as error:
            raise ClusterUnavailableError(
                f"{place.url} answers by another certificate than the Lease names"
            ) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = str(error) or "it has not answered in time"
            raise ClusterUnavailableError(f"{place.url} does not answer: {why}") from error
        raise ClusterUnavailableError(f"{place.url} answered {answer.status}: {said}")

    async def _pieces(
        self, session: aiohttp.ClientSession, answer: aiohttp.ClientResponse, leader: str
    ) -> AsyncIterator[bytes]:
        size = 0
        try:
            while True:
                try:
                    async with asyncio.timeout(self.look_seconds):
                        piece = await answer.content.readany()
                except TimeoutError as error:
                    if self.leader() == leader:
                        continue
                    raise ClusterUnavailableError(f"{leader} does not lead any more") from error
                except (aiohttp.ClientError, OSError) as error:
                    raise ClusterUnavailableError(f"{leader} answers no more") from error
                if not piece:
                    return
                size += len(piece)
                if size > _MOST_BYTES:
                    raise ClusterUnavailableError(f"{leader} sends more than a log has")
                yield piece
        finally:
            answer.close()
            await session.close()
