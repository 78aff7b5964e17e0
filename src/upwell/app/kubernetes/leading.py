"""Loops that run while this replica leads, and what it tells of that."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from prometheus_client.metrics_core import Metric

from upwell.api.coordination.replicas import ReplicaPlace
from upwell.app.keys.certificate import ServerCertificate
from upwell.app.supervision import keep_running
from upwell.cluster.leader_client import LeaderClient
from upwell.controller.leader import LeaderElection, LeaderTerm
from upwell.controller.leader_thread import LeaderThread
from upwell.machine.components import Components
from upwell.server.asgi.mixed_tls import TLS_NAME
from upwell.server.asgi.tls import certificate_digest
from upwell.server.metrics.gauges import gauge
from upwell.server.metrics.metrics import Gauges
from upwell.store.fence import fenced_context

log = logging.getLogger(__name__)

_WATCH_SECONDS = 1.0
_RENEWAL_SECONDS = 10.0
"""Between two looks at a certificate that is renewed now and then."""
_LEADS = "Whether this replica reconciles (1), or another one does (0)."

type Loop = Callable[[], Coroutine[Any, Any, None]]


def leading(leader: LeaderThread, loops: Sequence[Loop]) -> Loop:
    """Return a loop that stands for election, and runs `loops` in each term, behind its fence."""

    async def lead(term: LeaderTerm) -> None:
        context = fenced_context(term)
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(keep_running(loop), context=context)

    return partial(leader.run, lead)


async def watch_election(election: LeaderElection, components: Components) -> None:
    """Report as component `leader-election` why this replica cannot stand for election."""
    component = components.add("leader-election")
    while True:
        if election.obstacle:
            if component.state.message != election.obstacle:
                log.warning("not reconciling", extra={"why": election.obstacle})
            component.fail("CannotLead", election.obstacle)
        else:
            component.recover()
        await asyncio.sleep(_WATCH_SECONDS)


async def tell_place(election: LeaderElection, url: str, certificate: ServerCertificate) -> None:
    """Have the Lease say where this replica answers, and by which certificate, while it leads.

    `url` is empty where nobody knows it.
    """
    chain = certificate.current.chain
    while url:
        is_secure = url.startswith("https:")
        digest = await asyncio.to_thread(certificate_digest, chain) if is_secure else ""
        election.place = ReplicaPlace(url, digest)
        if certificate.renewal is None:
            return  # its file may change before the server takes another one up
        await asyncio.sleep(_RENEWAL_SECONDS)


def leader_replica(election: LeaderElection) -> LeaderClient:
    """Return the leader as this replica asks it."""
    return LeaderClient(
        lambda: election.is_leader,
        lambda: election.leader,
        lambda: election.leader_place,
        TLS_NAME,
    )


@dataclass(frozen=True, slots=True)
class LeaderGauges:
    """Gauges of a replica: its own, and whether it leads."""

    own: Gauges
    election: LeaderElection

    async def __call__(self) -> Sequence[Metric]:
        """Return the gauges."""
        leads = gauge("upwell_leader", _LEADS, self.election.is_leader)
        return [leads, *await self.own()]
