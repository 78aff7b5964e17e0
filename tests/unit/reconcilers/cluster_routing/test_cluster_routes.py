"""Routes of a cluster: what serves each is made, changed and removed, and its status follows."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.clocks import ManualTime
from tests.support.cluster.routes import (
    INGRESS_NGINX,
    NAMESPACE,
    TLS,
    gateway,
    ingress_class,
    route,
    service,
)
from tests.support.kubernetes.refusals import answered

from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.core import Service
from upwell.api.meta import Condition, ObjectKey, Resource
from upwell.api.networking.gateway import (
    Gateway,
    HttpRoute,
    HttpRouteStatus,
    IngressClass,
    TlsRoute,
)
from upwell.api.networking.ingress import Ingress
from upwell.api.route import Route
from upwell.controller import ObjectCache, Result
from upwell.reconcilers.cluster_routing.reconciler import ClusterRoutes
from upwell.store.interface import Selector, StoreError
from upwell.store.kubernetes_errors import (
    KindNotServedError,
    StoreForbiddenError,
)
from upwell.store.memory import MemoryStore

START = datetime(2026, 5, 1, tzinfo=UTC)
KINDS = (Route, Service, IngressClass, Gateway, Ingress, HttpRoute, TlsRoute)


class GuardedStore(MemoryStore):
    """A store in memory, which may refuse new objects."""

    fault: StoreError | None = None
    has_tls_routes = True

    async def create[R: Resource](self, resource: R) -> R:
        if self.fault is not None and isinstance(resource, Ingress):
            raise self.fault
        if isinstance(resource, TlsRoute) and not self.has_tls_routes:
            raise KindNotServedError(TlsRoute.KIND)
        return await super().create(resource)


class RoutedCluster:
    """Routes of a cluster in memory."""

    def __init__(self) -> None:
        self.clock = ManualTime(START)
        self.store = GuardedStore(self.clock)
        self.cache = ObjectCache(self.store)
        self.routes = ClusterRoutes(self.cache, self.clock)

    async def reconcile(self, declared: Route) -> Result:
        await self.cache.ready(*KINDS)
        for kind in KINDS:
            self.cache.on_change(kind, lambda _before, _after: None)
        result = await self.routes.reconcile(declared.key)
        await self.cache.ready(*KINDS)
        return result

    async def admitted(self, declared: Route) -> Condition:
        """Reconcile, and return the condition that says whether the Route is served."""
        await self.reconcile(declared)
        found = find(await self.conditions(declared), "Admitted")
        assert found is not None
        return found

    async def conditions(self, declared: Route) -> tuple[Condition, ...]:
        stored = await self.store.get(Route, declared.namespace, declared.name)
        [entry] = [one for one in stored.status.ingress if one.router_name == "upwell"]
        return entry.conditions

    async def change(self, declared: Route) -> None:
        """Give the stored Route the spec of another."""
        stored = await self.store.get(Route, declared.namespace, declared.name)
        await self.store.update(stored.model_copy(update={"spec": declared.spec}))

    async def all[R: Resource](self, kind: type[R]) -> list[R]:
        return list((await self.store.list(kind, Selector(NAMESPACE))).items)


@pytest.fixture
async def cluster() -> RoutedCluster:
    made = RoutedCluster()
    await made.store.create(service())
    return made


async def test_a_route_is_served_by_an_ingress_and_admitted(cluster: RoutedCluster) -> None:
    await cluster.store.create(ingress_class())
    declared = await cluster.store.create(route())

    assert (await cluster.admitted(declared)).is_true
    [served] = await cluster.all(Ingress)
    assert [one.uid for one in served.metadata.owner_references] == [declared.uid]
    version = served.resource_version
    stored = await cluster.store.get(Route, NAMESPACE, "web")
    assert await cluster.reconcile(declared) == Result()
    assert (await cluster.all(Ingress))[0].resource_version == version
    assert await cluster.store.get(Route, NAMESPACE, "web") == stored


async def test_a_change_of_the_route_changes_the_ingress_and_keeps_what_others_added(
    cluster: RoutedCluster,
) -> None:
    await cluster.store.create(ingress_class())
    declared = await cluster.store.create(route())
    await cluster.reconcile(declared)
    [served] = await cluster.all(Ingress)
    await cluster.store.update(served.with_metadata(annotations={"issuer": "acme"}))

    await cluster.change(route(host="new.shop.example"))
    await cluster.reconcile(declared)

    [served] = await cluster.all(Ingress)
    assert served.spec.rules[0].host == "new.shop.example"
    assert served.annotations == {"issuer": "acme"}


async def test_a_field_that_a_person_has_set_stays_and_is_said(cluster: RoutedCluster) -> None:
    await cluster.store.create(ingress_class())
    declared = await cluster.store.create(route())
    await cluster.reconcile(declared)
    [served] = await cluster.all(Ingress)
    theirs = served.spec.model_copy(update={"ingress_class_name": "internal"})
    fields: dict[str, Any] = {"f:spec": {"f:ingressClassName": {}}}
    entry = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": fields}
    edited = served.model_copy(update={"spec": theirs}).with_metadata(managed_fields=(entry,))
    await cluster.store.update(edited)

    admitted = await cluster.admitted(declared)

    assert (admitted.status, admitted.reason) == ("False", "FieldConflict")
    assert "spec.ingressClassName, which field manager kubectl-edit has set" in admitted.message
    [served] = await cluster.all(Ingress)
    assert served.spec.ingress_class_name == "internal"


async def test_what_cannot_be_expressed_is_a_condition_that_names_the_field(
    cluster: RoutedCluster,
) -> None:
    await cluster.store.create(ingress_class())
    declared = await cluster.store.create(route())
    await cluster.reconcile(declared)

    await cluster.change(route(tls={"termination": "passthrough"}))
    admitted = await cluster.admitted(declared)

    assert (admitted.status, admitted.reason) == ("False", "NotExpressible")
    assert admitted.message.startswith("spec.tls.termination:")
    assert await cluster.all(Ingress) == []


async def test_a_field_without_which_it_is_served_is_another_condition(
    cluster: RoutedCluster,
) -> None:
    await cluster.store.create(ingress_class())
    declared = await cluster.store.create(route(tls={"termination": "edge"}))

    assert (await cluster.admitted(declared)).is_true
    expressed = find(await cluster.conditions(declared), "Expressed")
    assert expressed is not None
    assert expressed.status == "False"
    assert expressed.message.startswith("spec.tls.insecureEdgeTerminationPolicy")


async def test_a_gateways_answer_is_the_routes(cluster: RoutedCluster) -> None:
    await cluster.store.create(gateway())
    declared = await cluster.store.create(route())

    assert (await cluster.admitted(declared)).status == "Unknown"
    [served] = await cluster.all(HttpRoute)
    for status, reason in (("False", "NotAllowedByListeners"), ("True", "Accepted")):
        answer = {"type": "Accepted", "status": status, "reason": reason, "message": "because"}
        parents = decode_as(HttpRoute, {"status": {"parents": [{"conditions": [answer]}]}}).status
        assert isinstance(parents, HttpRouteStatus)
        [served] = await cluster.all(HttpRoute)
        await cluster.store.update_status(served.with_status(parents))
        admitted = await cluster.admitted(declared)
        expected = (status, reason) if status == "False" else ("True", "Admitted")
        assert (admitted.status, admitted.reason) == expected


async def test_a_redirect_goes_when_it_is_not_asked_for_any_more(cluster: RoutedCluster) -> None:
    await cluster.store.create(gateway())
    tls: dict[str, Any] = {"termination": "edge", "insecureEdgeTerminationPolicy": "Redirect"}
    declared = await cluster.store.create(route(tls=tls))
    await cluster.reconcile(declared)
    assert [one.name for one in await cluster.all(HttpRoute)] == ["web", "web-redirect"]

    await cluster.change(route())
    await cluster.reconcile(declared)

    assert [one.name for one in await cluster.all(HttpRoute)] == ["web"]


async def test_tls_that_is_passed_through_is_a_tls_route_where_the_cluster_has_these(
    cluster: RoutedCluster,
) -> None:
    await cluster.store.create(gateway("public", TLS))
    declared = await cluster.store.create(route(tls={"termination": "passthrough"}))
    cluster.store.has_tls_routes = False

    admitted = await cluster.admitted(declared)
    assert (admitted.status, admitted.reason) == ("False", "NotExpressible")
    assert "tlsroutes" in admitted.message

    cluster.store.has_tls_routes = True
    assert (await cluster.admitted(declared)).status == "Unknown"
    assert [one.name for one in await cluster.all(TlsRoute)] == ["web"]
    await cluster.store.create(ingress_class())
    await cluster.reconcile(declared)
    assert await cluster.all(TlsRoute) == []


async def test_an_ingress_gets_the_annotations_of_its_controller(cluster: RoutedCluster) -> None:
    await cluster.store.create(ingress_class(controller=INGRESS_NGINX))
    declared = await cluster.store.create(route())
    await cluster.reconcile(declared)

    await cluster.change(route(tls={"termination": "passthrough"}))
    assert (await cluster.admitted(declared)).is_true

    [served] = await cluster.all(Ingress)
    assert served.annotations == {"nginx.ingress.kubernetes.io/ssl-passthrough": "true"}
    version = served.resource_version
    await cluster.reconcile(declared)
    assert (await cluster.all(Ingress))[0].resource_version == version


async def test_an_ingress_of_somebody_else_is_left_alone(cluster: RoutedCluster) -> None:
    await cluster.store.create(ingress_class())
    foreign = decode_as(Ingress, {"metadata": {"name": "web", "namespace": NAMESPACE}})
    await cluster.store.create(foreign)
    declared = await cluster.store.create(route())

    admitted = await cluster.admitted(declared)

    assert (admitted.status, admitted.reason) == ("False", "NameTaken")
    assert (await cluster.all(Ingress))[0].spec.rules == ()


async def test_a_host_of_another_namespace_is_refused(cluster: RoutedCluster) -> None:
    await cluster.store.create(ingress_class())
    first = decode_as(
        Route,
        {"metadata": {"name": "a", "namespace": "bank"}, "spec": {"host": "*.shop.example"}},
    )
    first = await cluster.store.create(first)
    cluster.clock.now = START.replace(month=6)
    declared = await cluster.store.create(route())

    admitted = await cluster.admitted(declared)

    assert (admitted.status, admitted.reason) == ("False", "HostAlreadyClaimed")
    assert set(cluster.routes.contending(declared)) == {first.key, declared.key}


async def test_without_a_router_that_is_said(cluster: RoutedCluster) -> None:
    declared = await cluster.store.create(route())

    admitted = await cluster.admitted(declared)

    assert (admitted.status, admitted.reason) == ("False", "NoRouter")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (StoreForbiddenError("may not create ingresses"), "Forbidden"),
        (answered(500, 'failed calling webhook "routes"'), "Refused"),
        (answered(429, 'admission webhook "routes" denied the request'), "Refused"),
    ],
)
async def test_what_the_cluster_refuses_is_told_and_tried_again(
    cluster: RoutedCluster, fault: StoreError, reason: str
) -> None:
    await cluster.store.create(ingress_class())
    cluster.store.fault = fault
    declared = await cluster.store.create(route())

    result = await cluster.reconcile(declared)

    admitted = find(await cluster.conditions(declared), "Admitted")
    assert admitted is not None
    assert (admitted.reason, admitted.message) == (reason, str(fault))
    assert result.requeue_after is not None
    assert result.requeue_after <= 10


async def test_what_other_routers_say_stays(cluster: RoutedCluster) -> None:
    await cluster.store.create(ingress_class())
    declared = await cluster.store.create(route())
    other = {"ingress": [{"host": "web.shop.example", "routerName": "other", "conditions": []}]}
    status = decode_as(Route, {"status": other}).status
    await cluster.store.update_status(declared.with_status(status))

    await cluster.reconcile(declared)

    stored = await cluster.store.get(Route, NAMESPACE, "web")
    assert {one.router_name for one in stored.status.ingress} == {"upwell", "other"}


async def test_a_route_that_is_gone_asks_for_nothing(cluster: RoutedCluster) -> None:
    await cluster.cache.ready(*KINDS)

    assert await cluster.routes.reconcile(ObjectKey("Route", NAMESPACE, "web")) == Result()
