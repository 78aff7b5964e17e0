"""Addresses of a stage: the one that it states, or the Service of one of its workloads."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from upwell.api.core import Service, ServicePort
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Pipeline, Stage
from upwell.api.route import Route
from upwell.policy.promotion.stages import names_workload, namespace_of
from upwell.policy.rollouts.settings import (
    WORKLOADS,
    Workload,
    instance_labels,
    is_test,
    template_of,
)
from upwell.policy.routing.port_protocols import HEADLESS
from upwell.policy.routing.selection import Members
from upwell.policy.routing.table import is_http, port_number_in, service_port, tcp_ports
from upwell.reconcilers.promotion.instances import StageInstances
from upwell.store.interface import Selector, Store


@dataclass(frozen=True, slots=True)
class ServedPort:
    """Port of a Service, and the workloads whose instances may be behind it."""

    service: Service
    port: ServicePort
    scheme: str
    """`http://`, `https://`, or empty for what is no HTTP."""
    workloads: Mapping[ObjectKey, Workload]


@dataclass(frozen=True, slots=True)
class Address:
    """The same place, seen from two sides; URL or host:port, empty when there is none."""

    inside: str = ""
    """For workloads, which find Services by name."""
    outside: str = ""
    """For this machine."""
    route: str = ""
    """URL of a Route, without the router's port: for who resolves its host."""
    served: ServedPort | None = None
    """The Service that it is the address of; None when the stage states its address itself."""


@dataclass(frozen=True, slots=True)
class CheckPlaces:
    """Places that a check asks, each a URL or host:port."""

    addresses: tuple[str, ...] = ()
    unready: str = ""
    """Reason why there is none yet."""
    awaited: bool = False
    """True if there is none yet and a workload wants instances: one comes."""
    instances: bool = False
    """True if the server has found them: addresses of instances, which no object names."""


async def check_places(instances: StageInstances, address: Address) -> CheckPlaces:
    """Return the places that the checks of a stage ask; raises WorkloadError.

    These are the ready instances of the Service, each at its own address: the router accepts
    connections at that of the Service whether an instance listens or not.
    """
    if address.served is None:
        return CheckPlaces((address.outside,) if address.outside else ())
    served = address.served
    near = await instances.of_namespace(served.service.namespace)
    members = Members(near, served.workloads).of(served.service)
    found = tuple(
        f"{served.scheme}{one.instance.address}:{number}"
        for one in members
        if one.instance.ready
        and one.instance.address
        and (number := port_number_in(served.port, one.template)) is not None
    )
    if found:
        return CheckPlaces(found, instances=True)
    awaited = any(_wants_instances(one, served.service) for one in served.workloads.values())
    return CheckPlaces((), f"no instance of {served.service.key} is ready", awaited)


def _wants_instances(workload: Workload, service: Service) -> bool:
    wanted = getattr(workload.spec, "replicas", 1) != 0 and not is_test(workload)
    return wanted and _selects_one(service, [workload])


async def stage_address(store: Store, pipeline: Pipeline, stage: Stage) -> Address:
    """Return the address of a stage; that of a Service with a Route comes first."""
    if stage.address:
        return Address(stage.address, stage.address)
    where = Selector(namespace=namespace_of(pipeline, stage))
    workloads = [
        workload
        for kind in WORKLOADS
        for workload in (await store.list(kind, where)).items
        if names_workload(pipeline, stage, workload) is not None
    ]
    services = [one for one in (await store.list(Service, where)).items if tcp_ports(one)]
    selecting = [service for service in services if _selects_one(service, workloads)]
    routes = (await store.list(Route, where)).items
    found = next(_served(selecting, routes, workloads), None)
    return _address(*found) if found is not None else Address()


def _selects_one(service: Service, workloads: Sequence[Workload]) -> bool:
    wanted = service.spec.selector.items()
    return bool(wanted) and any(
        wanted <= instance_labels(one, template_of(one)).items() for one in workloads
    )


def _served(
    services: Sequence[Service], routes: Sequence[Route], workloads: Sequence[Workload]
) -> Iterator[tuple[ServedPort, str]]:
    """Yield ports of Services, each with the URL of its Route; those that have one come first."""
    known = {workload.key: workload for workload in workloads}
    for route in routes:
        for service in services:
            port = service_port(route, service)
            if route.spec.to.name == service.name and port is not None:
                passed = route.spec.tls is not None and route.spec.tls.termination == "passthrough"
                scheme = "https://" if passed else "http://"
                yield ServedPort(service, port, scheme, known), _url(route)
    for service in services:
        port = tcp_ports(service)[0]
        yield ServedPort(service, port, "http://" if is_http(port) else "", known), ""


def _address(served: ServedPort, route: str) -> Address:
    service, port, scheme = served.service, served.port, served.scheme
    address = service.spec.cluster_ip
    # A Service without an address is its instances: these answer at their own port.
    headless = address == HEADLESS and isinstance(port.target_port, int)
    number = port.target_port if headless else port.port
    return Address(
        inside=f"{scheme}{service.name}.{service.namespace}:{number}",
        outside=f"{scheme}{address}:{port.port}" if address and address != HEADLESS else "",
        route=route,
        served=served,
    )


def _url(route: Route) -> str:
    scheme = "https" if route.spec.tls is not None else "http"
    return f"{scheme}://{route.spec.host}{route.spec.path}" if route.spec.host else ""
