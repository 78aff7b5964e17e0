"""Ports that rollouts act through."""

from dataclasses import dataclass
from ipaddress import IPv4Network

from upwell.machine.disk import PressureCheck, no_pressure
from upwell.reconcilers.rollouts.traffic import Traffic
from upwell.workload.interface import Router, Runtime


@dataclass(frozen=True, slots=True)
class RolloutPorts:
    """Runtime of workloads, and the state of their traffic."""

    runtime: Runtime
    router: Router
    traffic: Traffic
    services: IPv4Network | None = None
    """Network of Services' addresses that instances reach; None: only the machine does."""
    timeline: str = ""
    """The store's timeline; empty: the absence of an object from it proves nothing."""
    pressure: PressureCheck = no_pressure
    """Tells why there is no room for images: new revisions wait while there is any."""
