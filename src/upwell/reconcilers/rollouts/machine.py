"""Ports that rollouts act through."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Network

from upwell.machine.disk import PressureCheck, no_pressure
from upwell.reconcilers.authority import UNASKED, Authority
from upwell.reconcilers.rollouts.loading import ApiAuthority, no_api_authority
from upwell.reconcilers.rollouts.traffic import Traffic
from upwell.router.interface import Router
from upwell.workload.interface import Runtime


async def no_service_network() -> None:
    """Say that instances reach no network of Services' addresses."""


@dataclass(frozen=True, slots=True)
class RolloutPorts:
    """Runtime of workloads, and the state of their traffic."""

    runtime: Runtime
    router: Router
    traffic: Traffic
    services: Callable[[], Awaitable[IPv4Network | None]] = no_service_network
    """Returns the network of Services' addresses that instances reach; None: only the machine does.

    Raises a WorkloadError while the runtime cannot be asked.
    """
    timeline: str = ""
    """The store's timeline; empty: the absence of an object from it proves nothing."""
    pressure: PressureCheck = no_pressure
    """Tells why there is no room for images: new revisions wait while there is any."""
    authority: Authority = UNASKED
    """Asks the author of what begins."""
    api_authority: ApiAuthority = no_api_authority
    """Returns the certificate by which the API is trusted, as PEM; empty: there is none."""
