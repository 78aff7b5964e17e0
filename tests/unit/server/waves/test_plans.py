"""ImpactPlans at the API: what a client may not read is counted, and not named."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import ApiAnswer
from tests.support.server.granted_api import GrantedApi, open_granted_api

from upwell.api.codec import decode
from upwell.api.meta import ObjectMeta
from upwell.api.waves.wave import Wave, WaveSpec

IMAGE = "vendor.test/debian:11"
WAVE = Wave(
    metadata=ObjectMeta(name="debian-11"),
    spec=WaveSpec(image=IMAGE, digest=f"sha256:{'a' * 64}"),
)


def config(namespace: str, name: str, base: str) -> dict[str, Any]:
    source, _, tag = base.partition("/")
    taken = {"kind": "ImageStreamTag", "namespace": source, "name": tag}
    return {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "strategy": {"dockerStrategy": {"from": taken}},
            "output": {"to": {"kind": "ImageStreamTag", "name": f"{name}:latest"}},
            "triggers": [{"type": "ImageChange", "imageChange": {}}],
        },
    }


def deployment(namespace: str, name: str, source: str, tag: str) -> dict[str, Any]:
    followed = {
        "from": {"kind": "ImageStreamTag", "namespace": source, "name": tag},
        "fieldPath": 'spec.template.spec.containers[?(@.name=="app")].image',
    }
    triggers = json.dumps([followed])
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "annotations": {"image.openshift.io/triggers": triggers},
        },
        "spec": {"template": {"spec": {"containers": [{"name": "app", "image": " "}]}}},
    }


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    """Serve a base, what `vault` builds on it, and what `shop` runs of that."""
    tag = {
        "name": "11",
        "from": {"kind": "DockerImage", "name": IMAGE},
        "importPolicy": {"scheduled": True},
    }
    base = {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"namespace": "base", "name": "debian"},
        "spec": {"tags": [tag]},
    }
    objects = (
        base,
        config("vault", "safe", "base/debian:11"),
        deployment("shop", "web", "vault", "safe:latest"),
        deployment("vault", "key", "vault", "safe:latest"),
    )
    async with open_granted_api(tmp_path) as served:
        for one in objects:
            await served.api.store.create(decode(one))
        await served.api.store.create(WAVE)
        await served.grant("ada", "viewer@shop,base")
        await served.grant("grace", "viewer@*")
        await served.grant("joan", "viewer@vault")
        yield served


async def ask(served: GrantedApi, who: str, namespace: str = "shop", **spec: Any) -> ApiAnswer:
    path = f"/apis/upwell.dev/v1alpha1/namespaces/{namespace}/impactplans"
    return await served.send(who, "POST", path, {"spec": spec})


def named(answer: ApiAnswer) -> list[str]:
    return [one["name"] for one in answer.json["status"]["steps"]]


async def test_all_is_named_to_who_may_read_all(served: GrantedApi) -> None:
    answer = await ask(served, "grace", image=IMAGE)
    assert answer.status == 201
    assert named(answer) == [
        "base/debian:11",
        "BuildConfig vault/safe",
        "vault/safe:latest",
        "Deployment shop/web",
        "Deployment vault/key",
    ]
    assert answer.json["status"]["hidden"] == {"builds": 0, "workloads": 0, "tags": 0}


async def test_what_names_the_image_by_its_digest_is_in_plans_but_not_of_a_wave(
    served: GrantedApi,
) -> None:
    containers = [{"name": "app", "image": f"{IMAGE}@sha256:{'b' * 64}"}]
    tool = deployment("shop", "tool", "base", "debian:11")
    tool["metadata"]["annotations"] = {}
    tool["spec"]["template"]["spec"]["containers"] = containers
    await served.api.store.create(decode(tool))
    plan = named(await ask(served, "grace", image=IMAGE))
    wave = named(await ask(served, "grace", wave=WAVE.name))
    assert {*plan} - {*wave} == {"Deployment shop/tool"}


async def test_what_a_client_may_not_read_is_counted_and_its_own_hangs_on_what_it_may(
    served: GrantedApi,
) -> None:
    answer = await ask(served, "ada", image=IMAGE)
    status = answer.json["status"]
    assert named(answer) == ["base/debian:11", "Deployment shop/web"]
    assert status["hidden"] == {"builds": 1, "workloads": 1, "tags": 1}
    assert status["summary"]["builds"] == 1
    assert status["summary"]["workloads"] == 2
    [source] = status["steps"][1]["from"]
    assert (source["name"], source["hidden"], source["automatic"]) == ("base/debian:11", True, True)
    assert "vault" not in answer.text


async def test_a_plan_that_is_too_long_says_how_much_is_left_out(
    served: GrantedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.policy.waves.plan.MOST_STEPS", 2)
    answer = await ask(served, "grace", image=IMAGE)
    assert named(answer) == ["base/debian:11", "BuildConfig vault/safe"]
    assert answer.json["status"]["leftOut"] == 3
    assert answer.json["status"]["summary"]["workloads"] == 2


async def test_a_tag_that_a_client_may_not_read_is_as_one_that_is_not_there(
    served: GrantedApi,
) -> None:
    hidden, missing = [
        (await ask(served, "ada", image=image)).json["status"]
        for image in ("vault/safe:latest", "vault/none:latest")
    ]
    assert hidden == missing
    assert not hidden.get("images")
    assert (await ask(served, "joan", "vault", image="safe")).json["status"]["images"] == [
        "vault/safe:latest"
    ]


async def test_a_plan_is_asked_for_where_one_has_a_role_and_of_a_wave_with_one_everywhere(
    served: GrantedApi,
) -> None:
    assert (await ask(served, "ada", "vault", image=IMAGE)).status == 403
    assert (await ask(served, "ada", wave=WAVE.name)).status == 403
    answer = await ask(served, "grace", wave=WAVE.name)
    assert (answer.status, answer.json["status"]["digest"]) == (201, WAVE.spec.digest)
    assert (await ask(served, "grace", wave="other")).status == 404


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({}, "spec.image"),
        ({"image": IMAGE, "wave": "debian-11"}, "spec.image"),
        ({"image": IMAGE, "digest": "latest"}, "spec.digest"),
        ({"wave": "debian-11", "digest": WAVE.spec.digest}, "spec.digest"),
        ({"image": "x" * 1001}, "spec.image"),
        ({"image": IMAGE, "buildsAtOnce": 0}, "spec.buildsAtOnce"),
    ],
)
async def test_what_is_wrong_with_a_question_is_told(
    served: GrantedApi, spec: dict[str, Any], fault: str
) -> None:
    answer = await ask(served, "grace", **spec)
    assert answer.status == 422
    assert fault in answer.text
