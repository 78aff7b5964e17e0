"""Computes the routing table from Services, Routes and the instances that are ready."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network

from upwell.api.core import Service, ServicePort
from upwell.api.meta import ObjectKey
from upwell.api.pod import Pod
from upwell.api.pod_template import ContainerPort, PodTemplate
from upwell.api.route import Route, RouteSpec, RouteTarget
from upwell.policy.rollouts.instance import key_of, stays_up_at
from upwell.policy.rollouts.settings import Workload, template_of
from upwell.policy.routing.addresses import LOOPBACK
from upwell.policy.routing.claims import (
    EVERY_ADDRESS,
    NODE_PORT_TYPES,
    Claim,
    Place,
    address_fault,
    created_text,
    is_inside,
    withheld,
)
from upwell.policy.routing.endpoints import without_endpoints
from upwell.policy.routing.hosts import effective_host, refused_hosts
from upwell.policy.routing.port_protocols import HEADLESS, SERVED
from upwell.policy.routing.published import withheld_ports
from upwell.policy.routing.selection import Member, Members, Selectors, selects_pod
from upwell.router.interface import (
    Backend,
    BackendServer,
    HttpRule,
    Listener,
    Plain,
    RoutingTable,
    Tls,
)
from upwell.workload.interface import Instance, ServiceName

_TERMINATIONS = ("edge", "passthrough", "reencrypt")


@dataclass(frozen=True, slots=True)
class RoutingState:
    """State that the table follows from."""

    services: Sequence[Service]
    routes: Sequence[Route]
    workloads: Mapping[ObjectKey, Workload]
    instances: Sequence[Instance]
    now: datetime
    draining: frozenset[str] = frozenset()
    network: IPv4Network = LOOPBACK
    """Network of the Services' addresses."""
    held: Mapping[Place, ObjectKey] = field(default_factory=dict)
    """Owners of places until now."""
    reserved: Collection[Place] = ()
    """Places of the server itself: nobody else listens there."""
    pods: Mapping[ObjectKey, Pod] = field(default_factory=dict)
    """Those that are stored."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Admission of a Route: served, or why not."""

    admitted: bool
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class InForce:
    """State of the router now."""

    serving: Mapping[str, ObjectKey] = field(default_factory=dict)
    """Instances that get requests, and whose they are."""
    quiet: frozenset[str] = frozenset()
    """Instances that were to drain and get no new requests."""
    backends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Instance -> the backends in which it has, or may still have, sessions."""
    routed: Mapping[ObjectKey, bool] = field(default_factory=dict)
    """Workload -> whether a Service selects it; absent while it is not known yet."""
    places: Mapping[Place, ObjectKey] = field(default_factory=dict)
    """Listeners that it has, each with its owner."""


@dataclass(frozen=True, slots=True)
class Routing:
    """The table, and what it means for rollouts and Routes."""

    table: RoutingTable
    in_force: InForce
    names: Sequence[ServiceName] = ()
    """By which instances find Services."""
    admissions: Mapping[ObjectKey, Admission] = field(default_factory=dict)
    withheld: Mapping[str, str] = field(default_factory=dict)
    """Listener that is not in the table -> why."""
    held: Mapping[Place, ObjectKey] = field(default_factory=dict)
    """Owners of places from now on."""
    empty: Mapping[ObjectKey, str] = field(default_factory=dict)
    """Service that should have a ready instance and has none -> why, and what to do."""
    until: datetime | None = None
    """Time at which another table follows from the same objects and instances."""

    def places(self, failures: Collection[str] = ()) -> Mapping[Place, ObjectKey]:
        """Return where the router listens, and for whom, when it cannot have some listeners."""
        listening = {
            (one.address, one.port) for one in self.table.listeners if one.name not in failures
        }
        return {place: owner for place, owner in self.held.items() if place in listening}


def backend_name(service: Service, port: ServicePort) -> str:
    """Return the name of a Service port's backend and listener."""
    return f"{service.namespace}:{service.name}:{port.port}"


def node_name(backend: str) -> str:
    """Return the name of the listener on a Service port's nodePort."""
    return f"{backend}:node"


def rule_name(route: Route) -> str:
    """Return the name of a Route's rule."""
    return f"{route.namespace}:{route.name}"


def host_port_name(workload: ObjectKey, port: ContainerPort) -> str:
    """Return the name of the backend and listener of a workload's host port."""
    at = "" if port.host_ip in {None, "", EVERY_ADDRESS} else f"{port.host_ip}:"
    return f"{workload.namespace}:{workload.kind}:{workload.name}:{at}{port.host_port or 0}"


def host_ports(workload: Workload) -> list[ContainerPort]:
    """Return the ports of a workload's containers that it has on the machine itself."""
    containers = template_of(workload).spec.containers
    ports = [port for container in containers for port in container.ports]
    return [port for port in ports if port.host_port and port.protocol == SERVED]


def tcp_ports(service: Service) -> list[ServicePort]:
    """Return the ports that a router of TCP and HTTP can serve."""
    if service.spec.type == "ExternalName":
        return []
    return [port for port in service.spec.ports if port.protocol == SERVED]


def compute(state: RoutingState) -> Routing:
    """Return the whole table; equal state gives an equal table, in the same order."""
    selected = Members(state.instances, state.workloads, state.pods)
    members = {service.key: selected.of(service) for service in state.services}
    backends = [
        Backend(backend_name(service, port), _endpoints(port, members[service.key], state))
        for service in state.services
        for port in tcp_ports(service)
    ]
    ports = list(_host_ports(state))
    backends += [Backend(host_port.name, host_port.endpoints) for host_port in ports]
    listeners, faults, held = _listeners(state, ports)
    faults = {**faults, **withheld_ports(state.workloads, state.instances, state.network)}
    admissions = _admissions(state)
    services = {(one.namespace, one.name): one for one in state.services}
    rules = [
        HttpRule(
            rule_name(route),
            effective_host(route),
            route.spec.path,
            _targets(route, services),
            _tls(route),
        )
        for route in state.routes
        if admissions[route.key].admitted
    ]
    table = RoutingTable(tuple(backends), tuple(rules), listeners)
    in_force = _in_force(state, backends, members, ports)
    names = _names(state, members)
    silent = [
        service
        for service in state.services
        if not any(one.instance.ready for one in members[service.key])
        and not any(selects_pod(service, pod) for pod in state.pods.values())
    ]
    empty = without_endpoints(silent, state.workloads)
    return Routing(table, in_force, names, admissions, faults, held, empty, _until(state))


def _until(state: RoutingState) -> datetime | None:
    """Return when the next instance that nothing probes has stayed up."""
    times = [at for one in state.instances if (at := stays_up_at(one)) is not None]
    return min((at for at in times if at > state.now), default=None)


def _names(state: RoutingState, members: Mapping[ObjectKey, Sequence[Member]]) -> list[ServiceName]:
    """Return the names of Services; one without an address is its instances."""
    found: list[ServiceName] = []
    for service in state.services:
        address = service.spec.cluster_ip
        addresses = [address] if address and is_inside(address, state.network) else []
        if address == HEADLESS:
            instances = [one.instance for one in members[service.key]]
            addresses = [one.address for one in _answering(instances, state)]
        found += [ServiceName(service.namespace, service.name, one) for one in addresses]
    return found


@dataclass(frozen=True, slots=True)
class _HostPort:
    """A port of the machine itself that leads to the instances of one workload."""

    name: str
    workload: Workload
    address: str
    number: int
    endpoints: tuple[BackendServer, ...]


def _listeners(
    state: RoutingState, ports: Iterable[_HostPort]
) -> tuple[tuple[Listener, ...], Mapping[str, str], Mapping[Place, ObjectKey]]:
    """Return where the router listens, where it does not and why, and who has which place."""
    wanted: list[tuple[Listener, Service | Workload]] = []
    faults: dict[str, str] = {}
    for service in state.services:
        fault = address_fault(service, state.network)
        for listener in _service_listeners(service):
            if fault and listener.name == listener.backend:  # at its own address
                faults[listener.name] = fault
            else:
                wanted.append((listener, service))
    for port in ports:
        listener = Listener(port.name, port.address, port.number, port.name)
        wanted.append((listener, port.workload))
    claims = [
        Claim(listener.name, (listener.address, listener.port), owner.key, created_text(owner))
        for listener, owner in wanted
    ]
    refused, held = withheld(claims, state.held, state.reserved, state.network)
    faults |= refused
    listeners = tuple(listener for listener, _ in wanted if listener.name not in faults)
    return listeners, faults, held


def _service_listeners(service: Service) -> Iterator[Listener]:
    """Yield where a Service answers: at its own address, and at node ports on every address."""
    for port in tcp_ports(service):
        name, http = backend_name(service, port), is_http(port)
        if service.spec.cluster_ip and service.spec.cluster_ip != HEADLESS:
            yield Listener(name, service.spec.cluster_ip, port.port, name, http)
        if port.node_port and service.spec.type in NODE_PORT_TYPES:
            yield Listener(node_name(name), EVERY_ADDRESS, port.node_port, name, http)


def is_http(port: ServicePort) -> bool:
    """Return True if a Service port says that it speaks HTTP: by its protocol, or by its name."""
    if port.app_protocol:
        return port.app_protocol.lower() == "http"
    return port.name == "http" or port.name.startswith("http-")


def _host_ports(state: RoutingState) -> Iterator[_HostPort]:
    """Yield the host ports of all workloads: through the router, so that rollouts lose nothing."""
    owned: dict[ObjectKey, list[Instance]] = defaultdict(list)
    for instance in sorted(state.instances, key=lambda one: one.name):
        if not instance.role:
            owned[key_of(instance.owner)].append(instance)
    for key, workload in sorted(state.workloads.items()):
        for port in host_ports(workload):
            endpoints = tuple(
                BackendServer(
                    one.name, one.address, port.container_port, one.name in state.draining
                )
                for one in _answering(owned.get(key, ()), state)
            )
            number = port.host_port or 0
            address = port.host_ip or EVERY_ADDRESS
            yield _HostPort(host_port_name(key, port), workload, address, number, endpoints)


def _endpoints(
    port: ServicePort, members: Sequence[Member], state: RoutingState
) -> tuple[BackendServer, ...]:
    endpoints: list[BackendServer] = []
    answering = {one.name for one in _answering([one.instance for one in members], state)}
    for member in members:
        instance = member.instance
        number = port_number_in(port, member.template)
        if instance.name in answering and number is not None:
            draining = instance.name in state.draining
            endpoints.append(BackendServer(instance.name, instance.address, number, draining))
    return tuple(endpoints)


def _answering(instances: Iterable[Instance], state: RoutingState) -> list[Instance]:
    """Return the instances that requests may go to.

    One that nothing probes is "ready" when it merely runs: while others answer it has to stay up
    first, so that one which ends at once costs no request.
    """
    ready = [one for one in instances if one.ready and one.address]
    times = {one.name: stays_up_at(one) for one in ready}
    fresh = {name for name, at in times.items() if at is not None and at > state.now}
    if all(one.name in fresh or one.name in state.draining for one in ready):
        return ready
    return [one for one in ready if one.name not in fresh or one.name in state.draining]


def port_number_in(port: ServicePort, template: PodTemplate) -> int | None:
    """Return the port of instances of a template that a Service's port leads to."""
    target = port.port if port.target_port is None else port.target_port
    if isinstance(target, int):
        return target
    for container in template.spec.containers:
        for known in container.ports:
            if known.name == target:
                return known.container_port
    return int(target) if target.isascii() and target.isdigit() else None


def _in_force(
    state: RoutingState,
    backends: Sequence[Backend],
    members: Mapping[ObjectKey, Sequence[Member]],
    ports: Iterable[_HostPort],
) -> InForce:
    owners = {one.name: key_of(one.owner) for one in state.instances}
    serving = {
        endpoint.name: owners[endpoint.name]
        for backend in backends
        for endpoint in backend.endpoints
        if not endpoint.draining
    }
    selectors = Selectors(state.services)
    where: dict[str, tuple[str, ...]] = {}
    for host_port in ports:
        for endpoint in host_port.endpoints:
            where[endpoint.name] = (*where.get(endpoint.name, ()), host_port.name)
    for service in state.services:
        names = tuple(backend_name(service, port) for port in tcp_ports(service))
        for member in members[service.key]:
            # Named even when it is no endpoint any more: its last sessions may still run.
            where[member.instance.name] = (*where.get(member.instance.name, ()), *names)
    return InForce(
        serving=serving,
        quiet=state.draining - serving.keys(),
        backends=where,
        routed={key: selectors.match(one) for key, one in state.workloads.items()},
    )


def _admissions(state: RoutingState) -> dict[ObjectKey, Admission]:
    """Decide which Routes are served: those that have their host, and lead somewhere."""
    services = {(one.namespace, one.name): one for one in state.services}
    refused = refused_hosts(state.routes)
    return {
        route.key: Admission(admitted=False, reason=refusal.reason, message=refusal.message)
        if (refusal := refused.get(route.key))
        else _serveable(route, services)
        for route in state.routes
    }


def _serveable(route: Route, services: Mapping[tuple[str, str], Service]) -> Admission:
    for target in wanted_targets(route):
        service = services.get((route.namespace, target.name))
        if service is None:
            return Admission(
                admitted=False,
                reason="ServiceNotFound",
                message=f"Service {route.namespace}/{target.name} does not exist; create it",
            )
        if service_port(route, service) is None:
            wanted = f" {route.spec.port.target_port!r}" if route.spec.port else ""
            return Admission(
                admitted=False,
                reason="PortNotFound",
                message=f"Service {target.name} has no TCP port{wanted}; correct spec.port",
            )
    fault = next(_tls_faults(route.spec), "")
    if fault:
        return Admission(admitted=False, reason="InvalidTLS", message=fault)
    return Admission(admitted=True)


def _tls_faults(spec: RouteSpec) -> Iterator[str]:
    """Yield why a Route's TLS cannot be served as it stands."""
    tls = spec.tls
    if tls is None:
        return
    policy = tls.insecure_edge_termination_policy
    if tls.termination not in _TERMINATIONS:
        known = f"this router knows {', '.join(_TERMINATIONS)}"
        yield f"tls.termination {tls.termination!r} is not served: {known}"
    if tls.termination == "reencrypt" and not tls.destination_ca_certificate.strip():
        how = "give the authority whose certificates the Service's containers have"
        yield f"reencrypt needs tls.destinationCACertificate: {how}"
    if policy not in {None, "", *Plain}:
        yield f"tls.insecureEdgeTerminationPolicy {policy!r} is none of {', '.join(Plain)}"
    if tls.termination == "passthrough" and spec.path.strip("/"):
        yield "spec.path cannot be seen in what is passed through: remove it, or use edge"
    if tls.termination == "passthrough" and policy == Plain.ALLOW:
        yield "tls.insecureEdgeTerminationPolicy Allow has no meaning for passthrough"
    if bool(tls.certificate) != bool(tls.key):
        yield "tls.certificate and tls.key belong together: give both or neither"


def _tls(route: Route) -> Tls | None:
    tls = route.spec.tls
    if tls is None:
        return None
    parts = [part.strip() for part in (tls.certificate, tls.ca_certificate, tls.key) if part]
    return Tls(
        passthrough=tls.termination == "passthrough",
        plain=Plain(tls.insecure_edge_termination_policy or Plain.REFUSE),
        certificate="\n".join([*parts, ""]) if tls.certificate else "",
        destination_authority=(
            tls.destination_ca_certificate.strip() if tls.termination == "reencrypt" else ""
        ),
    )


def wanted_targets(route: Route) -> tuple[RouteTarget, ...]:
    """Return the Services that a Route leads to, by their names."""
    return (route.spec.to, *route.spec.alternate_backends)


def _targets(
    route: Route, services: Mapping[tuple[str, str], Service]
) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for target in wanted_targets(route):
        service = services[route.namespace, target.name]
        port = service_port(route, service)
        if port is not None:
            found.append((backend_name(service, port), target.weight))
    return tuple(found)


def service_port(route: Route, service: Service) -> ServicePort | None:
    """Return the port that the Route means: by its name, its target, or its number."""
    ports = tcp_ports(service)
    if route.spec.port is None:
        return ports[0] if ports else None
    wanted = route.spec.port.target_port
    for port in ports:
        if wanted in {port.name, port.target_port}:
            return port
    return next((port for port in ports if str(port.port) == str(wanted)), None)
