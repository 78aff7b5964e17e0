"""Conditions of Services, Routes and workloads on the table that was applied, or was not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from upwell.api.core import Service
from upwell.api.meta import Condition
from upwell.api.route import Route
from upwell.policy.rollouts.settings import Workload, template_of
from upwell.policy.rollouts.starts.published_ports import published_ports
from upwell.policy.routing.port_protocols import HEADLESS, unserved_message
from upwell.policy.routing.published import published_name
from upwell.policy.routing.reachability import ADMITTED, HOST_PORTS, READY
from upwell.policy.routing.table import (
    Admission,
    backend_name,
    host_port_name,
    host_ports,
    node_name,
    rule_name,
    tcp_ports,
)
from upwell.router.interface import RouterUnavailableError


@dataclass(frozen=True, slots=True)
class RoutingOutcome:
    """Outcome of the table at the router."""

    failures: Mapping[str, str] = field(default_factory=dict)
    """Name of a listener or rule -> why it is not served."""
    refusal: RouterUnavailableError | None = None
    """Error because of which the table is not in force at all."""

    def of_service(self, service: Service) -> Condition | None:
        """Return whether a Service answers; None for one that has no address to answer at."""
        if service.spec.cluster_ip == HEADLESS or not _has_ports(service):
            return None
        faults = list(self._service_faults(service))
        reason, _ = faults[0] if faults else ("Listening", "")
        return Condition(
            type=READY,
            status="False" if faults else "True",
            reason=reason,
            message="; ".join(message for _, message in faults),
            observed_generation=service.generation,
        )

    def of_route(self, route: Route, admission: Admission) -> Condition:
        """Return whether a Route is served; its own faults come first."""
        if admission.admitted and self.refusal is not None:
            admission = Admission(
                admitted=False, reason=self.refusal.reason, message=_refused(self.refusal)
            )
        elif rule_name(route) in self.failures:
            admission = Admission(
                admitted=False, reason="NotServed", message=self.failures[rule_name(route)]
            )
        return Condition(
            type=ADMITTED,
            status="True" if admission.admitted else "False",
            reason=admission.reason or "Admitted",
            message=admission.message,
            observed_generation=route.generation,
        )

    def of_workload(self, workload: Workload) -> Condition | None:
        """Return whether a workload's host ports answer; None for one that has none."""
        key = workload.key
        ports = {host_port_name(key, port): f"{port.host_port}" for port in host_ports(workload)}
        ports |= {
            published_name(key, port): f"{port}"
            for port in published_ports(template_of(workload).spec)
        }
        if not ports:
            return None
        faults = [
            f"host port {port} is not served: {self.failures[name]}"
            for name, port in ports.items()
            if name in self.failures
        ]
        if self.refusal is not None:
            faults.append(_refused(self.refusal))
        return Condition(
            type=HOST_PORTS,
            status="False" if faults else "True",
            reason="ListenerFailed" if faults else "Listening",
            message="; ".join(faults),
            observed_generation=workload.generation,
        )

    def _service_faults(self, service: Service) -> Iterator[tuple[str, str]]:
        """Yield reason and message of all that is not served."""
        if self.refusal is not None:
            yield self.refusal.reason, _refused(self.refusal)
        for port in tcp_ports(service):
            name = backend_name(service, port)
            if name in self.failures:
                at = f"{service.spec.cluster_ip}:{port.port}"
                yield "ListenerFailed", f"{at}: {self.failures[name]}"
            if node_name(name) in self.failures:
                message = f"nodePort {port.node_port}: {self.failures[node_name(name)]}"
                yield "ListenerFailed", message
        if message := unserved_message(service):
            yield "ProtocolNotServed", message


def _has_ports(service: Service) -> bool:
    return bool(service.spec.ports) and service.spec.type != "ExternalName"


def _refused(refusal: RouterUnavailableError) -> str:
    return f"{refusal}; it is tried again, and `upwell doctor` examines this machine"
