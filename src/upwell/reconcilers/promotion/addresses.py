"""Addresses of a stage: the one that it states, or the Service of one of its workloads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from upwell.api.core import Service, ServicePort
from upwell.api.pipeline import Pipeline, Stage
from upwell.api.route import Route
from upwell.policy.promotion.stages import names_workload, namespace_of
from upwell.policy.rollouts.settings import WORKLOADS, Workload, instance_labels, template_of
from upwell.policy.routing.port_protocols import HEADLESS
from upwell.policy.routing.table import is_http, service_port, tcp_ports
from upwell.store.interface import Selector, Store


@dataclass(frozen=True, slots=True)
class Address:
    """The same place, seen from two sides; URL or host:port, empty when there is none."""

    inside: str = ""
    """For workloads, which find Services by name."""
    outside: str = ""
    """For this machine."""
    route: str = ""
    """URL of a Route, without the router's port: for who resolves its host."""


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
    return next(_addresses(selecting, routes), Address())


def _selects_one(service: Service, workloads: Sequence[Workload]) -> bool:
    wanted = service.spec.selector.items()
    return bool(wanted) and any(
        wanted <= instance_labels(one, template_of(one)).items() for one in workloads
    )


def _addresses(services: Sequence[Service], routes: Sequence[Route]) -> Iterator[Address]:
    for route in routes:
        for service in services:
            port = service_port(route, service)
            if route.spec.to.name == service.name and port is not None:
                passed = route.spec.tls is not None and route.spec.tls.termination == "passthrough"
                yield _address(service, port, "https://" if passed else "http://", _url(route))
    for service in services:
        port = tcp_ports(service)[0]
        yield _address(service, port, "http://" if is_http(port) else "")


def _address(service: Service, port: ServicePort, scheme: str, route: str = "") -> Address:
    address = service.spec.cluster_ip
    # A Service without an address is its instances: these answer at their own port.
    headless = address == HEADLESS and isinstance(port.target_port, int)
    number = port.target_port if headless else port.port
    return Address(
        inside=f"{scheme}{service.name}.{service.namespace}:{number}",
        outside=f"{scheme}{address}:{port.port}" if address and address != HEADLESS else "",
        route=route,
    )


def _url(route: Route) -> str:
    scheme = "https" if route.spec.tls is not None else "http"
    return f"{scheme}://{route.spec.host}{route.spec.path}" if route.spec.host else ""
