"""LimitRanges at admission: defaults and bounds as Kubernetes has them, by the field's path."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.server.api_server import Api, serving

from upwell.server.http.limits import ServerLimits

SHOP = "/api/v1/namespaces/shop"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
STATEFUL = "/apis/apps/v1/namespaces/shop/statefulsets"
CONFIGS = "/apis/build.openshift.io/v1/namespaces/shop/buildconfigs"
MERGE = "application/merge-patch+json"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(ServerLimits()) as running:
        yield running


async def limit(api: Api, *items: dict[str, Any], name: str = "sizes") -> None:
    answer = await api.send(
        "POST", f"{SHOP}/limitranges", {"metadata": {"name": name}, "spec": {"limits": items}}
    )
    assert answer.status == 201, answer.text


def workload(*containers: dict[str, Any], **pod: Any) -> dict[str, Any]:
    labels = {"app": "web"}
    named = [
        {"name": f"c{at}", "image": "docker.io/library/nginx:1", "resources": one}
        for at, one in enumerate(containers)
    ]
    return {
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": named, **pod}},
        },
    }


def resources(answer: Any) -> list[dict[str, Any]]:
    pod = answer.json["spec"]["template"]["spec"]
    return [one["resources"] for one in pod["containers"]]


async def test_a_container_that_states_none_gets_the_defaults(api: Api) -> None:
    await limit(
        api,
        {
            "type": "Container",
            "default": {"memory": "256Mi"},
            "defaultRequest": {"cpu": "100m"},
            "max": {"cpu": 2},
        },
    )
    answer = await api.send("POST", DEPLOYMENTS, workload({}, {"limits": {"memory": "64Mi"}}))
    assert answer.status == 201, answer.text
    assert resources(answer) == [
        {"limits": {"memory": "256Mi", "cpu": 2}, "requests": {"memory": "256Mi", "cpu": "100m"}},
        {"limits": {"memory": "64Mi", "cpu": 2}, "requests": {"memory": "64Mi", "cpu": "100m"}},
    ]


async def test_what_is_stored_stays_until_its_template_changes(api: Api) -> None:
    first = await api.send("POST", DEPLOYMENTS, workload({"limits": {"memory": "8Gi"}}))
    assert first.status == 201, first.text
    await limit(api, {"type": "Container", "max": {"memory": "1Gi"}})

    scaled = await api.send(
        "PATCH", f"{DEPLOYMENTS}/web", {"spec": {"replicas": 3}}, content_type=MERGE
    )
    assert scaled.status == 200, scaled.text
    assert scaled.json["metadata"]["generation"] == 2
    assert resources(scaled) == [{"limits": {"memory": "8Gi"}}]

    changed = await api.send("PUT", f"{DEPLOYMENTS}/web", workload({"limits": {"memory": "9Gi"}}))
    assert changed.status == 403
    message = changed.json["message"]
    assert "spec.template.spec.containers[0].resources.limits[memory]" in message
    assert "9663676416 is more than 1073741824 (LimitRange sizes, Container)" in message


async def test_applying_the_same_again_changes_nothing(api: Api) -> None:
    await limit(api, {"type": "Container", "default": {"memory": "256Mi"}})
    await api.send("POST", DEPLOYMENTS, workload({}))
    again = await api.send("PUT", f"{DEPLOYMENTS}/web", workload({}))
    assert again.status == 200, again.text
    assert again.json["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("item", "containers", "said"),
    [
        (
            {"type": "Container", "min": {"cpu": "100m"}},
            [{"requests": {"cpu": "50m"}}],
            "containers[0].resources.requests[cpu]: 0.05 is less than 0.1",
        ),
        (
            {"type": "Container", "maxLimitRequestRatio": {"memory": 2}},
            [{"limits": {"memory": "3Gi"}, "requests": {"memory": "1Gi"}}],
            "containers[0].resources.limits[memory]: is more than 2 times the request",
        ),
        (
            {"type": "Pod", "max": {"memory": "1Gi"}},
            [{"limits": {"memory": "700Mi"}}, {"limits": {"memory": "700Mi"}}],
            "spec.template.spec.limits[memory]: 1468006400 is more than 1073741824",
        ),
        (
            {"type": "Pod", "max": {"memory": "1Gi"}},
            [{"limits": {"memory": "1Mi"}}, {}],
            "spec.template.spec.limits[memory]: required, at most 1073741824",
        ),
    ],
)
async def test_what_is_not_within_bounds_is_refused_by_its_path(
    api: Api, item: dict[str, Any], containers: list[dict[str, Any]], said: str
) -> None:
    await limit(api, item)
    answer = await api.send("POST", DEPLOYMENTS, workload(*containers))
    assert answer.status == 403
    assert said in answer.json["message"]
    template = workload(*containers, restartPolicy="Never")["spec"]["template"]
    job = {"metadata": {"name": "j"}, "spec": {"template": template}}
    path = "/apis/batch/v1/namespaces/shop/jobs"
    assert (await api.send("POST", path, job)).status == 403


async def test_init_containers_count_where_they_take_more(api: Api) -> None:
    await limit(api, {"type": "Pod", "max": {"memory": "1Gi"}})
    first = {"name": "i", "image": "x.test/i", "resources": {"limits": {"memory": "2Gi"}}}
    document = workload({"limits": {"memory": "1Mi"}}, initContainers=[first])
    answer = await api.send("POST", DEPLOYMENTS, document)
    assert answer.status == 403
    assert "2147483648 is more than 1073741824" in answer.json["message"]


async def test_claims_have_bounds(api: Api) -> None:
    await limit(api, {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}})
    document = workload({})
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    claim = {"metadata": {"name": "d"}, "spec": asked}
    document["spec"]["volumeClaimTemplates"] = [claim]
    answer = await api.send("POST", STATEFUL, document)
    assert answer.status == 403
    assert "spec.volumeClaimTemplates[0].spec.resources.requests[storage]" in answer.json["message"]


async def test_a_build_is_a_pod_with_one_container(api: Api) -> None:
    await limit(
        api,
        {"type": "Container", "default": {"memory": "1Gi"}},
        {"type": "Pod", "max": {"memory": "2Gi"}},
    )
    config: dict[str, Any] = {
        "metadata": {"name": "app"},
        "spec": {"source": {"dockerfile": "FROM scratch\n"}, "strategy": {"dockerStrategy": {}}},
    }
    made = await api.send("POST", CONFIGS, config)
    assert made.status == 201, made.text
    assert made.json["spec"]["resources"]["limits"] == {"memory": "1Gi"}
    config["spec"]["resources"] = {"limits": {"memory": "4Gi"}}
    answer = await api.send("PUT", f"{CONFIGS}/app", config)
    assert answer.status == 403
    assert "spec.resources.limits[memory]: 4294967296 is more than" in answer.json["message"]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"type": "Node"}, "spec.limits[0].type: 'Node' is none of"),
        ({"type": "Pod", "max": {"cpu": "much"}}, "spec.limits[0].max[cpu]"),
        ({"type": "Pod", "default": {"cpu": 1}}, "only type Container has defaults"),
        (
            {"type": "Container", "max": {"cpu": 1}, "default": {"cpu": 2}},
            "spec.limits[0].default[cpu]: is more than the maximum",
        ),
    ],
)
async def test_a_limit_range_that_means_nothing_is_refused(
    api: Api, item: dict[str, Any], said: str
) -> None:
    document = {"metadata": {"name": "sizes"}, "spec": {"limits": [item]}}
    answer = await api.send("POST", f"{SHOP}/limitranges", document)
    assert answer.status == 422
    assert said in answer.json["message"]


async def test_a_sidecar_counts_beside_the_containers_of_its_pod(api: Api) -> None:
    await limit(api, {"type": "Pod", "max": {"memory": "1Gi"}})
    stated = {"limits": {"memory": "768Mi"}}
    before: dict[str, Any] = {"name": "before", "image": "web:1", "resources": stated}
    sidecar = before | {"restartPolicy": "Always"}

    refused = await api.send("POST", DEPLOYMENTS, workload(stated, initContainers=[sidecar]))
    assert (refused.status, "1610612736 is more than" in refused.text) == (403, True), refused.text
    taken = await api.send("POST", DEPLOYMENTS, workload(stated, initContainers=[before]))
    assert taken.status == 201, taken.text


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"type": "openshift.io/Image", "max": {"memory": "1Gi"}}, "max[memory]"),
        ({"type": "openshift.io/Image", "min": {"storage": "1Mi"}}, "min[storage]"),
        ({"type": "openshift.io/ImageStream", "max": {"storage": "1Gi"}}, "max[storage]"),
        ({"type": "PersistentVolumeClaim", "max": {"cpu": 1}}, "max[cpu]"),
        (
            {"type": "PersistentVolumeClaim", "maxLimitRequestRatio": {"storage": 2}},
            "maxLimitRequestRatio[storage]",
        ),
    ],
)
async def test_a_bound_that_holds_for_nothing_is_warned_of(
    api: Api, item: dict[str, Any], path: str
) -> None:
    document = {"metadata": {"name": "sizes"}, "spec": {"limits": [item]}}
    answer = await api.send("POST", f"{SHOP}/limitranges", document)
    assert answer.status == 201, answer.text
    said = f"spec.limits[0].{path} limits nothing: type {item['type']} has no such bound"
    assert [said] == [one.split('"')[1] for one in answer.warnings if "limits nothing" in one]


async def test_a_bound_that_holds_is_not_warned_of(api: Api) -> None:
    items = [
        {"type": "Container", "max": {"cpu": 1, "example.com/device": 1}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}, "min": {"storage": 1}},
        {"type": "openshift.io/Image", "max": {"storage": "1Gi"}},
        {
            "type": "openshift.io/ImageStream",
            "max": {"openshift.io/images": 9, "openshift.io/image-tags": 9},
        },
    ]
    document = {"metadata": {"name": "sizes"}, "spec": {"limits": items}}
    answer = await api.send("POST", f"{SHOP}/limitranges", document)
    assert (answer.status, list(answer.warnings)) == (201, [])
