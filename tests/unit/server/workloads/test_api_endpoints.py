"""Endpoints and EndpointSlices: what of a Service answers, as Kubernetes' clients ask for it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.server.api_server import START, Api, deployment, next_event, serving

from upwell.oci import Digest
from upwell.server.http.limits import ServerLimits
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

CORE = "/api/v1/namespaces/shop"
ENDPOINTS = f"{CORE}/endpoints"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def instance(name: str, address: str, owner: Owner, **changes: Any) -> Instance:
    made = Instance(
        name=name,
        owner=owner,
        revision="rev1",
        state=State.RUNNING,
        ready=True,
        ready_since=START,
        started_at=START,
        address=address,
        images={"web": Digest.of(b"an image")},
    )
    return replace(made, **changes)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(ServerLimits()) as served:
        web = deployment("web")
        web["spec"]["template"]["metadata"] = {"labels": {"app": "web"}}
        (container,) = web["spec"]["template"]["spec"]["containers"]
        container["ports"] = [{"name": "http", "containerPort": 8080}]
        await served.send("POST", "/apis/apps/v1/namespaces/shop/deployments", web)
        pod = {
            "metadata": {"name": "extra", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]},
        }
        await served.send("POST", f"{CORE}/pods", pod)
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
        service = {"metadata": {"name": "web"}, "spec": spec}
        await served.send("POST", f"{CORE}/services", service)
        owner = Owner("Deployment", "shop", "web")
        served.runtime.shown = [
            instance("web-0", "10.0.0.1", owner),
            instance("web-1", "10.0.0.2", owner, ready=False),
            instance("upwell-x", "10.0.0.3", Owner("Pod", "shop", "extra")),
            instance("web-2", "", owner, state=State.PULLING, ready=False),
        ]
        yield served


async def test_a_service_has_the_addresses_of_its_instances(api: Api) -> None:
    found = (await api.get(f"{ENDPOINTS}/web")).json
    shown = {
        (subset["ports"][0]["port"] if subset["ports"] else None): (
            [one["ip"] for one in subset["addresses"]],
            [one["ip"] for one in subset["notReadyAddresses"]],
        )
        for subset in found["subsets"]
    }
    assert shown[8080] == (["10.0.0.1"], ["10.0.0.2"])
    assert found["subsets"][-1]["addresses"][0]["targetRef"]["kind"] == "Pod"
    rows = (await api.get(ENDPOINTS, Accept=TABLE)).json["rows"]
    assert rows[0]["cells"][:2] == ["web", "10.0.0.1:8080"]
    assert (await api.get(f"{ENDPOINTS}/none")).status == 404


async def test_slices_name_their_service_and_the_pods(api: Api) -> None:
    found = (await api.get(f"{SLICES}?labelSelector=kubernetes.io%2Fservice-name%3Dweb")).json
    endpoints = [one for piece in found["items"] for one in piece["endpoints"]]
    assert {
        one["targetRef"]["name"]: (one["addresses"], one["conditions"]["ready"])
        for one in endpoints
    } == {
        "web-0": (["10.0.0.1"], True),
        "web-1": (["10.0.0.2"], False),
        "extra": (["10.0.0.3"], True),
    }


async def test_a_watch_is_told_when_an_instance_turns_ready(api: Api) -> None:
    async with api.stream(f"{ENDPOINTS}?watch=1") as stream:
        assert (await next_event(stream))["type"] == "ADDED"
        api.runtime.shown = [replace(one, ready=True) for one in api.runtime.shown]
        api.runtime.tell(Owner("Deployment", "shop", "web"))
        changed = await next_event(stream)
    assert changed["type"] == "MODIFIED"
    assert (await api.send("DELETE", f"{ENDPOINTS}/web")).status == 405
