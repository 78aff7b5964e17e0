"""Routes of an Ingress: as OpenShift makes them, kept equal, and nobody else's."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from tests.support.server.api_server import START

from upwell.api.codec import decode
from upwell.api.conditions import find
from upwell.api.core import Secret, Service
from upwell.api.meta import Condition, ObjectKey, Resource
from upwell.api.networking.ingress import Ingress
from upwell.api.route import Route, RouteIngress, RouteStatus
from upwell.api.values.author import author_of, with_author
from upwell.controller import ObjectCache
from upwell.policy.access.authority import needs
from upwell.policy.access.roles import Grant
from upwell.policy.routing.ingresses import MAX_ROUTES
from upwell.policy.routing.reachability import ADMITTED, unserved
from upwell.reconcilers.authority import UNASKED, Authority, GrantedAuthors
from upwell.reconcilers.routing.ingresses import IngressReconciler
from upwell.server.admission.quota import LimitedStore
from upwell.server.http.limits import ServerLimits
from upwell.store.interface import NotFoundError
from upwell.store.memory import MemoryStore

NONE: Mapping[str, str] = {}
KEY = ObjectKey("Ingress", "shop", "web")


def document(kind: str, name: str, version: str, **own: Any) -> Resource:
    metadata = {"name": name, "namespace": "shop", "labels": {"app": "web"}}
    return decode({"apiVersion": version, "kind": kind, "metadata": metadata} | own)


def ingress(*rules: dict[str, Any], annotations: Mapping[str, str] = NONE, **spec: Any) -> Resource:
    made = document("Ingress", "web", "networking.k8s.io/v1", spec={"rules": list(rules)} | spec)
    return made.with_metadata(annotations=dict(annotations))


def rule(host: str, path: str = "/", port: dict[str, Any] | None = None) -> dict[str, Any]:
    backend = {"service": {"name": "web", "port": port or {"number": 80}}}
    return {"host": host, "http": {"paths": [{"path": path, "backend": backend}]}}


class ServedIngress:
    """A namespace with a Service, and the reconciler of its Ingresses."""

    def __init__(self, authority: Authority = UNASKED) -> None:
        self.store = MemoryStore(lambda: START)
        cache = ObjectCache(self.store)
        self.reconciler = IngressReconciler(cache, lambda: START, authority)
        self.cache = cache

    async def apply(self, resource: Resource) -> None:
        try:
            old = await self.store.get(type(resource), resource.namespace, resource.name)
        except NotFoundError:
            await self.store.create(resource)
        else:
            await self.store.update(
                resource.with_metadata(uid=old.uid, resource_version=old.resource_version)
            )

    async def service(self, **port: Any) -> None:
        ports = [{"port": 80, "targetPort": 8080} | port]
        await self.apply(document("Service", "web", "v1", spec={"ports": ports}))

    async def certificate(self, kind: str = "kubernetes.io/tls") -> None:
        data = {"tls.crt": b64encode(b"CERT").decode(), "tls.key": b64encode(b"KEY").decode()}
        await self.apply(document("Secret", "cert", "v1", type=kind, data=data))

    async def routes(self) -> list[Route]:
        await self.reconciler.reconcile(KEY)
        return list((await self.store.list(Route)).items)

    async def condition(self) -> tuple[str, str, str]:
        await self.reconciler.reconcile(KEY)
        found = find((await self.store.get(Ingress, "shop", "web")).status.conditions, "Served")
        assert found is not None
        return found.status, found.reason, found.message


@pytest.fixture
async def shop() -> ServedIngress:
    served = ServedIngress()
    await served.service()
    return served


async def test_each_host_and_path_is_a_route(shop: ServedIngress) -> None:
    await shop.apply(ingress(rule("Shop.example"), rule("shop.example", "/api"), rule("b.example")))
    routes = await shop.routes()
    places = {(route.spec.host, route.spec.path) for route in routes}
    assert places == {("shop.example", ""), ("shop.example", "/api"), ("b.example", "")}
    assert {route.spec.to.name for route in routes} == {"web"}
    ports = [route.spec.port.target_port for route in routes if route.spec.port is not None]
    assert ports == [8080] * 3
    assert all(route.labels == {"app": "web"} for route in routes)
    assert all(route.metadata.owner_references[0].controller for route in routes)


@pytest.mark.parametrize(
    ("service", "port", "wanted"),
    [
        ({"name": "http"}, {"number": 80}, "http"),
        ({"name": "http"}, {"name": "http"}, "http"),
        ({"targetPort": "web"}, {"number": 80}, "web"),
        ({}, {"number": 80}, 8080),
    ],
)
async def test_a_port_is_named_as_a_route_names_it(
    service: dict[str, Any], port: dict[str, Any], wanted: int | str
) -> None:
    shop = ServedIngress()
    await shop.service(**service)
    await shop.apply(ingress(rule("shop.example", port=port)))
    (route,) = await shop.routes()
    assert route.spec.port is not None
    assert route.spec.port.target_port == wanted


async def test_routes_follow_the_ingress(shop: ServedIngress) -> None:
    await shop.apply(ingress(rule("a.example"), rule("b.example")))
    before = {route.spec.host: route for route in await shop.routes()}
    again = {route.spec.host: route for route in await shop.routes()}
    assert before == again, "the same again writes nothing"
    await shop.apply(ingress(rule("b.example"), rule("c.example")))
    after = {route.spec.host: route for route in await shop.routes()}
    assert after.keys() == {"b.example", "c.example"}
    assert after["b.example"] == before["b.example"]


async def test_tls_ends_at_the_router_with_the_certificate_of_the_secret(
    shop: ServedIngress,
) -> None:
    tls = [{"hosts": ["shop.example"], "secretName": "cert"}]
    await shop.apply(ingress(rule("shop.example"), rule("plain.example"), tls=tls))
    (plain,) = await shop.routes()
    assert (plain.spec.host, plain.spec.tls) == ("plain.example", None)
    status, _, message = await shop.condition()
    assert (status, "Secret shop/cert of type kubernetes.io/tls" in message) == ("False", True)
    await shop.certificate("Opaque")
    assert len(await shop.routes()) == 1
    await shop.store.delete(Secret, "shop", "cert")
    await shop.certificate()
    found = {route.spec.host: route.spec.tls for route in await shop.routes()}
    served = found["shop.example"]
    assert served is not None
    assert (served.termination, served.certificate, served.key) == ("edge", "CERT", "KEY")
    assert served.insecure_edge_termination_policy == "Redirect"
    assert (await shop.condition())[0] == "True"


async def test_passthrough_takes_no_certificate(shop: ServedIngress) -> None:
    annotations = {
        "route.openshift.io/termination": "passthrough",
        "haproxy.router.openshift.io/timeout": "5s",
        "nginx.ingress.kubernetes.io/rewrite-target": "/",
    }
    wanted = ingress(rule("shop.example"), tls=[{"secretName": "cert"}], annotations=annotations)
    await shop.apply(wanted)
    (route,) = await shop.routes()
    assert route.spec.tls is not None
    assert (route.spec.tls.termination, route.spec.tls.key) == ("passthrough", "")
    assert route.annotations["haproxy.router.openshift.io/timeout"] == "5s"
    assert "nginx.ingress.kubernetes.io/rewrite-target" not in route.annotations
    assert not [need for need in needs(wanted) if need.action.resource == "secrets"]


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (ingress(rule("")), "spec.rules[0] has no host"),
        (
            ingress({"host": "a.example", "http": {"paths": [{"backend": {}}]}}),
            "spec.rules[0].http.paths[0].backend names no service",
        ),
        (
            ingress(defaultBackend={"service": {"name": "web", "port": {"number": 80}}}),
            "spec.defaultBackend is not served",
        ),
        (
            ingress(*(rule(f"{n}.example") for n in range(MAX_ROUTES + 1))),
            f"more than {MAX_ROUTES} hosts and paths",
        ),
    ],
)
async def test_what_is_not_served_is_said(shop: ServedIngress, wanted: Resource, why: str) -> None:
    await shop.apply(wanted)
    status, reason, message = await shop.condition()
    assert (status, reason) == ("False", "NotServed")
    assert why in message
    assert len((await shop.store.list(Route)).items) <= MAX_ROUTES
    told = list(unserved([await shop.store.get(Ingress, "shop", "web")]))
    assert [str(one.key) for one in told] == ["Ingress shop/web"]


async def test_a_route_of_somebody_else_stays_theirs(shop: ServedIngress) -> None:
    await shop.apply(ingress(rule("shop.example")))
    (mine,) = await shop.routes()
    await shop.store.delete(Route, "shop", mine.name)
    theirs = document(
        "Route", mine.name, "route.openshift.io/v1", spec={"host": "x", "to": {"name": "y"}}
    )
    await shop.store.create(theirs)
    status, reason, message = await shop.condition()
    assert (status, reason) == ("False", "NameTaken")
    assert f"Route shop/{mine.name} is there" in message
    assert (await shop.store.get(Route, "shop", mine.name)).spec.host == "x"


async def test_a_namespace_has_no_more_routes_than_its_quota(shop: ServedIngress) -> None:
    hard = {"count/routes.route.openshift.io": "2"}
    await shop.store.create(document("ResourceQuota", "few", "v1", spec={"hard": hard}))
    limited = LimitedStore(shop.store, ServerLimits())
    shop.reconciler = IngressReconciler(shop.cache, lambda: START, UNASKED, limited.create)
    await shop.apply(ingress(*(rule(f"{n}.example") for n in range(5))))
    status, reason, message = await shop.condition()
    assert (status, reason) == ("False", "QuotaExceeded")
    assert "exceeded quota: few" in message
    assert len((await shop.store.list(Route)).items) == 2


async def test_a_service_that_comes_later_gives_the_port() -> None:
    shop = ServedIngress()
    await shop.apply(ingress(rule("shop.example")))
    (route,) = await shop.routes()
    assert route.spec.port is None
    await shop.service()
    await shop.cache.ready(Ingress, Service)
    service = await shop.store.get(Service, "shop", "web")
    assert list(shop.reconciler.of_needed(service)) == [KEY]
    (route,) = await shop.routes()
    assert route.spec.port is not None


async def test_an_ingress_is_looked_at_for_what_it_names_alone(shop: ServedIngress) -> None:
    await shop.apply(ingress(rule("a.example"), tls=[{"secretName": "cert"}]))
    await shop.certificate()
    other = document("Service", "other", "v1", spec={"ports": [{"port": 80}]})
    token = document("Secret", "token", "v1")
    await shop.cache.ready(Ingress, Service)
    certificate = await shop.store.get(Secret, "shop", "cert")
    assert list(shop.reconciler.of_needed(certificate)) == [KEY]
    assert [*shop.reconciler.of_needed(other), *shop.reconciler.of_needed(token)] == []


async def test_hosts_are_shown_once_they_are_admitted(shop: ServedIngress) -> None:
    await shop.apply(ingress(rule("a.example"), rule("b.example")))
    for route in await shop.routes():
        if route.spec.host == "a.example":
            admitted = Condition(type=ADMITTED, status="True", reason="Admitted")
            entry = RouteIngress(host="a", conditions=(admitted,))
            await shop.store.update_status(route.with_status(RouteStatus(ingress=(entry,))))
    await shop.reconciler.reconcile(KEY)
    status = (await shop.store.get(Ingress, "shop", "web")).status
    assert [one.hostname for one in status.load_balancer.ingress] == ["a.example"]


class Nobody:
    """Has no grants."""

    async def grants(self, author: str) -> tuple[Grant, ...]:
        del author
        return ()


async def test_a_certificate_takes_the_right_to_use_the_secret() -> None:
    tls = [{"secretName": "cert"}]
    wanted = with_author(ingress(rule("shop.example"), tls=tls), "mallory")
    (need,) = [one for one in needs(wanted) if one.action.resource == "secrets"]
    assert (need.action.verb, need.action.namespace, need.action.name) == ("use", "shop", "cert")
    shop = ServedIngress(Authority(GrantedAuthors(Nobody())))
    await shop.service()
    await shop.certificate()
    await shop.apply(wanted)
    assert await shop.routes() == []
    status, reason, message = await shop.condition()
    assert (status, reason) == ("False", "MissingRight")
    assert "mallory" in message


def test_a_whole_domain_takes_the_right_that_it_takes_of_a_route() -> None:
    taken = needs(ingress(rule("*.shop.example"), rule("shop.example")))
    (need,) = [one for one in taken if one.action.resource == "wildcardhosts"]
    assert "*.shop.example" in need.why


async def test_routes_have_the_author_of_the_ingress(shop: ServedIngress) -> None:
    await shop.apply(with_author(ingress(rule("shop.example")), "ann"))
    (route,) = await shop.routes()
    assert author_of(route) == "ann"
