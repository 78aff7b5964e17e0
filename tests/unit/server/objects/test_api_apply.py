import json

from tests.support.server.api_server import Api, ApiAnswer, config_map, deployment

from upwell.api.apps import Deployment
from upwell.policy.rollouts.image_ownership import pod_template

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
PATH = "/apis/apps/v1/namespaces/shop/deployments/web"
PINNED = "registry:5000/shop/web@sha256:" + "a" * 64


async def apply(api: Api, document: object, manager: str = "me", query: str = "") -> ApiAnswer:
    return await api.send("PATCH", f"{PATH}?fieldManager={manager}{query}", document, APPLY)


def partial(**spec: object) -> dict[str, object]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": spec,
    }


async def test_an_apply_creates_then_changes_then_rests(api: Api) -> None:
    created = await apply(api, deployment("web"))
    assert created.status == 201
    assert created.json["metadata"]["managedFields"][0]["manager"] == "me"
    changed = await apply(api, deployment("web", replicas=3))
    assert (changed.status, changed.json["metadata"]["generation"]) == (200, 2)
    api.clock.advance(hours=1)
    again = await apply(api, deployment("web", replicas=3))
    assert again.json == changed.json


async def test_a_conflict_names_the_field_and_its_manager(api: Api) -> None:
    await apply(api, deployment("web"))
    refused = await apply(api, partial(replicas=9), "other")
    assert (refused.status, refused.json["reason"]) == (409, "Conflict")
    assert refused.json["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "me"',
            "field": ".spec.replicas",
        }
    ]
    forced = await apply(api, partial(replicas=9), "other", "&force=true")
    assert forced.json["spec"]["replicas"] == 9


async def test_a_field_that_is_not_applied_any_more_goes(api: Api) -> None:
    await apply(api, deployment("web", minReadySeconds=5))
    assert "minReadySeconds" not in (await apply(api, deployment("web"))).json["spec"]


async def test_a_patch_takes_a_field_over(api: Api) -> None:
    await apply(api, deployment("web"))
    patch = {"spec": {"replicas": 5}}
    await api.send("PATCH", f"{PATH}?fieldManager=editor", patch, MERGE)
    refused = await apply(api, deployment("web"))
    assert refused.json["details"]["causes"][0]["message"] == 'conflict with "editor"'


async def test_the_manager_of_an_update_is_the_client_unless_it_says_otherwise(api: Api) -> None:
    path = "/api/v1/namespaces/shop/configmaps"
    created = await api.send("POST", path, config_map("one", a="1"), User_Agent="tool/1.0 (x)")
    assert created.json["metadata"]["managedFields"][0]["manager"] == "tool"


async def test_an_apply_needs_a_manager_and_no_managed_fields(api: Api) -> None:
    anonymous = await api.send("PATCH", PATH, deployment("web"), APPLY)
    assert "fieldManager: required" in anonymous.json["message"]
    claiming = deployment("web")
    claiming["metadata"]["managedFields"] = [{"manager": "x"}]
    assert (await apply(api, claiming)).status == 400
    assert (await apply(api, {"metadata": {"name": "web"}})).status == 400
    assert (await apply(api, deployment("web") | {"metadata": 5})).status == 400
    assert (await apply(api, b"a: [")).status == 400
    assert (await apply(api, b"a: 1\n---\nb: 1\n")).status == 400


async def test_what_a_default_changes_in_the_declaration_is_no_conflict(api: Api) -> None:
    path = "/apis/build.openshift.io/v1/namespaces/shop/buildconfigs"
    config = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "app"},
        "spec": {
            "strategy": {"sourceStrategy": {"from": {"name": "python:3"}}},
            "triggers": [{"type": "imageChange", "imageChange": {}}],
        },
    }
    created = await api.send("POST", path, config)
    assert created.json["spec"]["triggers"][0]["type"] == "ImageChange"
    answer = await api.send("PATCH", f"{path}/app?fieldManager=me", config, APPLY)
    assert (answer.status, answer.json["spec"]) == (200, created.json["spec"])


async def test_a_dry_apply_writes_nothing(api: Api) -> None:
    assert (await apply(api, deployment("web"), query="&dryRun=All")).status == 201
    assert (await api.get(PATH)).status == 404


async def test_an_image_that_a_trigger_resolved_survives_every_kind_of_write(api: Api) -> None:
    manifest = deployment("web", image=" ")
    manifest["metadata"]["annotations"] = {
        "image.openshift.io/triggers": json.dumps(
            [
                {
                    "from": {"kind": "ImageStreamTag", "name": "web:latest"},
                    "fieldPath": 'spec.template.spec.containers[?(@.name=="web")].image',
                }
            ]
        )
    }
    await apply(api, manifest)
    stored = await api.store.get(Deployment, "shop", "web")
    template = pod_template(stored)
    assert template is not None
    container = template.spec.containers[0].model_copy(update={"image": PINNED})
    pod = template.spec.model_copy(update={"containers": (container,)})
    template = template.model_copy(update={"spec": pod})
    spec = stored.spec.model_copy(update={"template": template})
    resolved = await api.store.update(stored.model_copy(update={"spec": spec}))

    strategic = "application/strategic-merge-patch+json"
    for answer in (
        await apply(api, manifest),
        await api.send("PATCH", f"{PATH}?fieldManager=me", manifest, strategic),
        await api.send("PUT", f"{PATH}?fieldManager=me", manifest),
    ):
        assert answer.status == 200, answer.text
        assert answer.json["spec"]["template"]["spec"]["containers"][0]["image"] == PINNED
        assert answer.json["metadata"]["generation"] == resolved.generation


async def test_nobody_owns_a_default_and_it_comes_back(api: Api) -> None:
    created = await api.send("POST", PATH.removesuffix("/web"), deployment("web"))
    assert created.json["spec"]["progressDeadlineSeconds"] == 600
    assert "progressDeadlineSeconds" not in str(created.json["metadata"]["managedFields"])
    slower = partial(progressDeadlineSeconds=900)
    assert (await apply(api, slower, "other")).json["spec"]["progressDeadlineSeconds"] == 900
    given_up = await apply(api, partial(paused=False), "other")
    assert given_up.json["spec"]["progressDeadlineSeconds"] == 600
