"""Routes of a real API server: an Ingress that it takes, and an HTTPRoute where it has those."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from tests.support.cluster.routes import (
    HTTP,
    HTTPS,
    NAMESPACE,
    TLS,
    gateway,
    ingress_class,
    route,
    service,
)
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.namespaces import given_namespace, leave_empty
from tests.support.kubernetes.quotas import no_more_of
from tests.support.workload.waiting import eventually

from upwell.api.conditions import find
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.networking.gateway import GATEWAY_GROUP, Gateway, HttpRoute, IngressClass
from upwell.api.networking.ingress import Ingress
from upwell.api.route import Route
from upwell.controller import ObjectCache
from upwell.reconcilers.cluster_routing.reconciler import cluster_route_controller
from upwell.store.clusters.store import ClusterStore
from upwell.store.interface import NotFoundError
from upwell.store.kubernetes import KubernetesStore


def now() -> datetime:
    return datetime.now(UTC)


def definition(kind: type[Resource]) -> dict[str, object]:
    """Return a definition of a kind of the Gateway API that takes whatever it is given."""
    names = {"kind": kind.KIND.kind, "plural": kind.KIND.plural, "singular": kind.KIND.singular}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": kind.KIND.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    approved = {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.KIND.resource, "annotations": approved},
        "spec": {
            "group": GATEWAY_GROUP,
            "scope": "Namespaced",
            "names": names,
            "versions": [version],
        },
    }


@pytest.fixture
async def store(cluster: KitCluster) -> AsyncIterator[KubernetesStore]:
    """Give a client of a cluster with the Gateway API, whose Routes are kept."""
    for kind in (Gateway, HttpRoute):
        cluster.kubectl("apply", "-f", "-", given=json.dumps(definition(kind)))
        cluster.until_established(f"crd/{kind.KIND.resource}")
    async with cluster.client() as store:
        for namespace in (NAMESPACE, "infra"):
            await given_namespace(store, namespace)
        await store.create(service())
        cache = ObjectCache(ClusterStore(store, frozenset()))
        controller = cluster_route_controller(cache, now, lambda namespace: namespace == NAMESPACE)
        running = [asyncio.create_task(run()) for run in (cache.run, controller.run)]
        yield store
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        made: tuple[tuple[type[Resource], str, str], ...] = (
            (IngressClass, "", "nginx"),
            (Gateway, "infra", "public"),
            (HttpRoute, NAMESPACE, "web"),
        )
        for one, namespace, name in made:
            with suppress(NotFoundError):
                await store.delete(one, namespace, name)
        await leave_empty(store, NAMESPACE)
    for kind in (Gateway, HttpRoute):
        cluster.kubectl("delete", f"crd/{kind.KIND.resource}")


async def admitted(store: KubernetesStore) -> str:
    """Return how the Route stands: status and reason of its condition."""
    found = await store.get(Route, NAMESPACE, "web")
    for entry in found.status.ingress:
        if (condition := find(entry.conditions, "Admitted")) is not None:
            return f"{condition.status} {condition.reason}"
    return ""


async def test_a_route_is_an_ingress_and_moves_to_a_gateway(
    store: KubernetesStore, cluster: KitCluster
) -> None:
    unstored = ObjectMeta(name="web", namespace=NAMESPACE)
    await store.create(route().model_copy(update={"metadata": unstored}))
    await eventually(lambda: admitted(store), lambda found: found == "False NoRouter")

    await store.create(ingress_class(controller="example/any"))
    await eventually(lambda: admitted(store), lambda found: found == "True Admitted")
    served = await store.get(Ingress, NAMESPACE, "web")
    assert served.metadata.owner_references[0].kind == "Route"
    assert served.spec.rules[0].host == "web.shop.example"

    patch = json.dumps({"spec": {"ingressClassName": "internal"}})
    ingress = ("-n", NAMESPACE, "ingress", "web")
    cluster.kubectl("patch", *ingress, "--type=merge", "-p", patch)
    await eventually(lambda: admitted(store), lambda found: found == "False FieldConflict")
    cluster.kubectl("delete", *ingress)
    await eventually(lambda: admitted(store), lambda found: found == "True Admitted")

    await store.create(gateway("public", HTTP, HTTPS, TLS))
    await store.delete(IngressClass, "", "nginx")
    await eventually(lambda: admitted(store), lambda found: found == "Unknown Pending")
    attached = await store.get(HttpRoute, NAMESPACE, "web")
    assert attached.spec["hostnames"] == ["web.shop.example"]
    with pytest.raises(NotFoundError):
        await store.get(Ingress, NAMESPACE, "web")

    passed = json.dumps({"spec": {"tls": {"termination": "passthrough"}}})
    cluster.kubectl(
        *("-n", NAMESPACE, "patch", Route.KIND.resource, "web"), "--type=merge", "-p", passed
    )
    await eventually(lambda: admitted(store), lambda found: found == "False NotExpressible")
    [entry] = (await store.get(Route, NAMESPACE, "web")).status.ingress
    said = find(entry.conditions, "Admitted")
    assert said is not None
    assert "the server does not serve tlsroutes.gateway.networking.k8s.io" in said.message


@on_demand(
    "tests/unit/reconcilers/cluster_routing/test_cluster_routes.py"
    "::test_what_the_cluster_refuses_is_told_and_tried_again"
)
async def test_a_quota_on_ingresses_is_told_and_the_route_served_once_it_is_gone(
    store: KubernetesStore, cluster: KitCluster
) -> None:
    await store.create(ingress_class(controller="example/any"))
    with no_more_of(cluster, NAMESPACE, "count/ingresses.networking.k8s.io"):
        unstored = ObjectMeta(name="web", namespace=NAMESPACE)
        await store.create(route().model_copy(update={"metadata": unstored}))
        await eventually(lambda: admitted(store), lambda found: found == "False Forbidden")
        [entry] = (await store.get(Route, NAMESPACE, "web")).status.ingress
        said = find(entry.conditions, "Admitted")
        assert said is not None
        assert "exceeded quota: few" in said.message
    await eventually(lambda: admitted(store), lambda found: found == "True Admitted")
