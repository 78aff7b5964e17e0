"""Pod Security Admission by the API: what a namespace enforces, warns of, and leaves as it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import Api, deployment
from tests.support.server.granted_api import open_granted_api, path_of

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Namespace
from upwell.api.meta import ObjectMeta

NAMESPACES = "/api/v1/namespaces"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
PRIVILEGED = {"privileged": True}


def secured(context: dict[str, Any], replicas: int = 1) -> dict[str, Any]:
    made = deployment("web", replicas=replicas)
    made["spec"]["template"]["spec"]["containers"][0]["securityContext"] = context
    return made


async def label(api: Api, **profiles: str) -> int:
    labels = {f"pod-security.kubernetes.io/{mode}": one for mode, one in profiles.items()}
    made = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "labels": labels},
    }
    return (await api.send("POST", NAMESPACES, made)).status


@pytest.mark.parametrize(
    ("context", "field"),
    [
        ({"runAsUser": "root"}, "runAsUser"),
        ({"windowsOptions": {}}, "windowsOptions"),
        ({"seccompProfile": {"type": "Localhost"}}, "seccompProfile.type"),
        ({"dropAll": True}, "dropAll"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_with_its_path(
    api: Api, context: dict[str, Any], field: str
) -> None:
    answer = await api.send("POST", DEPLOYMENTS, secured(context))

    assert answer.status == 422
    [cause] = answer.json["details"]["causes"]
    path = f"spec.template.spec.containers[0].securityContext.{field}"
    assert cause["field"] == path


@pytest.mark.parametrize("field", ["hostPID", "hostIPC"])
async def test_what_is_the_machines_alone_is_refused_and_stays_where_it_was_stored(
    api: Api, field: str
) -> None:
    made = secured({})
    made["spec"]["template"]["spec"][field] = True
    answer = await api.send("POST", DEPLOYMENTS, made)
    assert answer.status == 422
    [cause] = answer.json["details"]["causes"]
    assert cause["field"] == f"spec.template.spec.{field}"
    assert "remove the field" in cause["message"]

    stored = {**made, "metadata": {**made["metadata"], "namespace": "shop"}}
    await api.store.create(decode_as(Deployment, stored))
    answer = await api.send("PUT", f"{DEPLOYMENTS}/web", {**made, "spec": {**made["spec"]}})
    assert answer.status == 200, answer.text
    made["spec"]["template"]["spec"][field] = False
    assert (await api.send("PUT", f"{DEPLOYMENTS}/web", made)).status == 200


async def test_an_enforced_profile_holds_for_administrators_too(api: Api) -> None:
    assert await label(api, enforce="baseline") == 201
    answer = await api.send("POST", DEPLOYMENTS, secured(PRIVILEGED))

    assert answer.status == 403
    assert "containers[0].securityContext.privileged" in answer.json["message"]
    assert "pod-security.kubernetes.io/enforce" in answer.json["message"]
    assert (await api.send("POST", DEPLOYMENTS, secured({}))).status == 201
    changed = await api.send("PUT", f"{DEPLOYMENTS}/web", secured(PRIVILEGED))
    assert changed.status == 403


async def test_without_a_label_an_administrator_may(api: Api) -> None:
    assert (await api.send("POST", DEPLOYMENTS, secured(PRIVILEGED))).status == 201


async def test_a_profile_that_comes_later_leaves_what_is_stored(api: Api) -> None:
    assert (await api.send("POST", DEPLOYMENTS, secured(PRIVILEGED))).status == 201
    patch = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    merge = "application/merge-patch+json"
    assert (await api.send("PATCH", f"{NAMESPACES}/shop", patch, merge)).status == 200

    scaled = await api.send("PUT", f"{DEPLOYMENTS}/web", secured(PRIVILEGED, replicas=3))
    assert scaled.status == 200
    assert (await api.send("PUT", f"{DEPLOYMENTS}/web", secured({}))).status == 403


async def test_a_namespace_may_warn_alone(api: Api) -> None:
    assert await label(api, warn="restricted") == 201
    answer = await api.send("POST", DEPLOYMENTS, secured({}))

    assert answer.status == 201
    warnings = " ".join(answer.warnings)
    assert "would violate profile restricted" in warnings
    assert "runAsNonRoot" in warnings


async def test_a_label_that_names_no_profile_is_refused(api: Api) -> None:
    assert await label(api, enforce="strict") == 422


async def test_what_an_audited_profile_forbids_stands_in_the_line_of_the_write(
    tmp_path: Path,
) -> None:
    labels = {"pod-security.kubernetes.io/audit": "restricted"}
    async with open_granted_api(tmp_path) as granted:
        namespace = Namespace(metadata=ObjectMeta(name="shop", labels=labels))
        await granted.api.store.create(namespace)
        made = secured({"runAsUser": 0})
        answer = await granted.create("admin", "deployments", "shop", made)
        assert answer.status == 201, answer.text
        assert not answer.warnings
        path = path_of("deployments", "shop", "web")
        relabelled = {"metadata": {"labels": {"a": "b"}}}
        merge = "application/merge-patch+json"
        answer = await granted.send("admin", "PATCH", path, relabelled, content_type=merge)
        assert answer.status == 200, answer.text
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    created, patched = [line for line in lines if line.get("resource") == "deployments"]
    found = created["annotations"]["pod-security.kubernetes.io/audit-violations"]
    assert "would violate profile restricted" in found
    assert "containers[0].securityContext.runAsUser" in found
    assert "annotations" not in patched
