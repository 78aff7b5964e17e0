"""Rights that objects take of whoever writes them, and the author that the server keeps on them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.foreign_documents import config, hooked
from tests.support.server.granted_api import REGISTRY, GrantedApi, open_granted_api, path_of

from upwell.api.core import Namespace
from upwell.policy.access import roles

AUTHOR = "upwell.dev/author"
HOST_NETWORK = "upwell.dev/host-network"
MERGE = "application/merge-patch+json"
DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        yield api


def pipeline(**stage: Any) -> dict[str, Any]:
    workloads = [{"kind": "Deployment", "name": "web"}]
    return {
        "metadata": {"name": "app"},
        "spec": {
            "components": [{"name": "web", "from": {"kind": "ImageStreamTag", "name": "web:1"}}],
            "stages": [{"name": "dev", "workloads": workloads, **stage}],
        },
    }


def job_check(**test: Any) -> dict[str, Any]:
    return {"checks": [{"name": "steal", "job": {"image": "docker.io/library/busybox:1", **test}}]}


def secret_volume(name: str) -> dict[str, Any]:
    return {
        "spec": {
            "containers": [{"name": "test", "image": "docker.io/library/busybox:1"}],
            "volumes": [{"name": "s", "secret": {"secretName": name}}],
        }
    }


def deployment(image: str = "docker.io/library/nginx:1", **pod: Any) -> dict[str, Any]:
    labels = {"app": "web"}
    return {
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": image}], **pod},
            },
        },
    }


def build(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "app-1"},
        "spec": {
            "source": {"dockerfile": "FROM scratch\n"},
            "strategy": {"type": "Docker", "dockerStrategy": {}},
            **spec,
        },
    }


def named(document: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, **document}


PUSH_TO_B = "push repositories in namespace b"
KEY_OF_A_SECRET = [
    {"name": "K", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
]
HOOK = {
    "failurePolicy": "Abort",
    "execNewPod": {"command": ["x"], "containerName": "web", "env": KEY_OF_A_SECRET},
}
FOREIGN = {"kind": "ImageStreamTag", "name": "app:1", "namespace": "b"}
COMPONENT_OF_B = pipeline()
COMPONENT_OF_B["spec"]["components"] = [{"name": "web", "from": FOREIGN}]
STAGE_IN_B = pipeline(namespace="b", verification=job_check(template=secret_volume("key")))


def once(template: dict[str, Any]) -> dict[str, Any]:
    """Return the template as that of a Job."""
    return {**template, "spec": {**template["spec"], "restartPolicy": "Never"}}


@pytest.mark.parametrize(
    ("plural", "document", "right"),
    [
        ("pipelines", pipeline(namespace="b"), "patch deployments in namespace b"),
        ("pipelines", STAGE_IN_B, "create jobs in namespace b"),
        (
            "pipelines",
            pipeline(namespace="b", git={"repository": "https://git.test/ops"}),
            "get deployments in namespace b",
        ),
        (
            "pipelines",
            COMPONENT_OF_B,
            "get imagestreams in namespace b",
        ),
        ("builds", build(output={"to": FOREIGN}), "push repositories in namespace b"),
        (
            "buildconfigs",
            {"metadata": {"name": "app"}, "spec": build(output={"to": FOREIGN})["spec"]},
            "push repositories in namespace b",
        ),
        *(
            ("deploymentconfigs", named(hooked(params, moment, FOREIGN)), PUSH_TO_B)
            for params, moment in (
                ("rollingParams", "pre"),
                ("rollingParams", "post"),
                ("recreateParams", "mid"),
            )
        ),
        (
            "deploymentconfigs",
            named(config({"customParams": {"image": f"{REGISTRY}/b/app:1"}, "type": "Custom"})),
            "pull repositories in namespace b",
        ),
        (
            "deployments",
            deployment(f"{REGISTRY}/b/app@{DIGEST}"),
            "pull repositories in namespace b",
        ),
        (
            "jobs",
            {
                "metadata": {"name": "j"},
                "spec": {"template": once(deployment(f"{REGISTRY}/b/app:1")["spec"]["template"])},
            },
            "pull repositories in namespace b",
        ),
        (
            "releases",
            {
                "metadata": {"name": "app-1"},
                "spec": {
                    "pipeline": "app",
                    "number": 1,
                    "components": [{"name": "web", "image": f"{REGISTRY}/b/app@{DIGEST}"}],
                },
            },
            "pull repositories in namespace b",
        ),
        (
            "pipelines",
            pipeline(verification=job_check(image=f"{REGISTRY}/b/app:1")),
            "pull repositories in namespace b",
        ),
        (
            "imagestreams",
            {
                "metadata": {"name": "app"},
                "spec": {
                    "tags": [
                        {
                            "name": "1",
                            "from": {"kind": "DockerImage", "name": f"{REGISTRY}/b/app:1"},
                        }
                    ]
                },
            },
            "pull repositories in namespace b",
        ),
        (
            "imagestreamimports",
            {
                "metadata": {"name": "app"},
                "spec": {
                    "import": False,
                    "images": [{"from": {"kind": "DockerImage", "name": f"{REGISTRY}/b/app:1"}}],
                },
            },
            "pull repositories in namespace b",
        ),
    ],
)
async def test_naming_what_is_anothers_takes_the_right_there(
    granted: GrantedApi, plural: str, document: dict[str, Any], right: str
) -> None:
    own = [f"{role}@a" for role in ("builder", "deployer", "promoter", "ci", "secret-user")]
    await granted.grant("eve", *own)
    answer = await granted.create("eve", plural, "a", document)
    assert answer.status == 403, answer.text
    assert right in answer.json["message"]
    assert "b" not in {one.name for one in await namespaces(granted)}


async def namespaces(granted: GrantedApi) -> list[Any]:
    return list((await granted.api.store.list(Namespace)).items)


async def test_who_has_the_rights_there_may_name_it(granted: GrantedApi) -> None:
    await granted.grant("ops", "promoter@a", "deployer@b")
    answer = await granted.create("ops", "pipelines", "a", STAGE_IN_B)
    assert answer.status == 201, answer.text
    assert answer.json["metadata"]["annotations"][AUTHOR] == "ops"


async def test_another_check_of_a_foreign_stage_is_asked_for_again(granted: GrantedApi) -> None:
    await granted.create("admin", "pipelines", "a", STAGE_IN_B)
    await granted.grant("eve", "promoter@a")
    path = path_of("pipelines", "a", "app")
    spec = {"spec": pipeline(namespace="b", verification=job_check())["spec"]}
    changed = await granted.send("eve", "PATCH", path, spec, content_type=MERGE)
    assert changed.status == 403, changed.text
    held = {"metadata": {"annotations": {"stage-hold.upwell.dev/dev": "wait"}}}
    answer = await granted.send("eve", "PATCH", path, held, content_type=MERGE)
    assert answer.status == 200, answer.text
    assert answer.json["metadata"]["annotations"][AUTHOR] == "system:admin"


@pytest.mark.parametrize(
    ("plural", "document"),
    [
        ("builds", build(source={"dockerfile": "FROM scratch\n", "sourceSecret": {"name": "key"}})),
        ("builds", build(output={"pushSecret": {"name": "key"}})),
        (
            "subscriptions",
            {
                "metadata": {"name": "tell"},
                "spec": {"webhook": {"url": "https://x.test/", "headers": {"name": "key"}}},
            },
        ),
        (
            "pipelines",
            pipeline(
                verification={
                    "checks": [
                        {
                            "name": "m",
                            "metric": {
                                "server": "https://x.test",
                                "query": "up",
                                "condition": "> 0",
                                "secret": {"name": "key"},
                            },
                        }
                    ]
                },
                soakSeconds=60,
            ),
        ),
        ("deployments", deployment(volumes=secret_volume("key")["spec"]["volumes"])),
        ("deploymentconfigs", named(config({"rollingParams": {"pre": HOOK}}))),
        ("deploymentconfigs", named(config({"type": "Recreate", "recreateParams": {"mid": HOOK}}))),
        (
            "deploymentconfigs",
            named(config({"customParams": {"command": ["x"], "environment": KEY_OF_A_SECRET}})),
        ),
        ("deployments", deployment(imagePullSecrets=[{"name": "key"}])),
    ],
)
async def test_a_secret_takes_the_right_to_use_it(
    granted: GrantedApi, plural: str, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stripped = {
        role: tuple(rule for rule in rules if "use" not in rule.verbs)
        for role, rules in roles.RULES.items()
        if role not in {roles.Role.ADMIN, roles.Role.SECRET_USER}
    }
    monkeypatch.setattr(roles, "RULES", dict(roles.RULES) | stripped)
    await granted.grant("eve", "builder@a", "deployer@a", "promoter@a")
    answer = await granted.create("eve", plural, "a", document)
    assert answer.status == 403, answer.text
    assert "uses Secret a/key" in answer.json["message"]
    assert "needs role secret-user there" in answer.json["message"]
    await granted.grant("eve", "builder@a", "deployer@a", "promoter@a", "secret-user@a")
    assert (await granted.create("eve", plural, "a", document)).status == 201


async def test_a_client_neither_sets_nor_changes_the_author(granted: GrantedApi) -> None:
    await granted.grant("dan", "deployer@a")
    forged = deployment()
    forged["metadata"]["annotations"] = {AUTHOR: "system:admin"}
    created = await granted.create("dan", "deployments", "a", forged)
    assert created.json["metadata"]["annotations"][AUTHOR] == "dan"
    path = path_of("deployments", "a", "web")
    for text in ("system:admin", None):
        change = {"metadata": {"annotations": {AUTHOR: text}}, "spec": {"replicas": 1}}
        patched = await granted.send("dan", "PATCH", path, change, content_type=MERGE)
        assert patched.json["metadata"]["annotations"][AUTHOR] == "dan"
    live = (await granted.send("dan", "GET", path)).json
    live["metadata"]["annotations"].pop(AUTHOR)
    replaced = await granted.send("dan", "PUT", path, live)
    assert replaced.json["metadata"]["annotations"][AUTHOR] == "dan"
    applied = await granted.send(
        "admin",
        "PATCH",
        f"{path}?fieldManager=x&force=true",
        {"apiVersion": "apps/v1", "kind": "Deployment", **forged},
        content_type="application/apply-patch+yaml",
    )
    assert applied.status == 200, applied.text
    assert applied.json["metadata"]["annotations"][AUTHOR] == "dan"


async def test_the_author_changes_with_the_spec_and_not_with_the_scale(granted: GrantedApi) -> None:
    await granted.grant("dan", "deployer@a")
    await granted.create("admin", "deployments", "a", deployment())
    path = path_of("deployments", "a", "web")
    for part in ("scale", ""):
        where = path_of("deployments", "a", "web", part)
        change = {"spec": {"replicas": 3 if part else 4}}
        answer = await granted.send("dan", "PATCH", where, change, content_type=MERGE)
        assert answer.status == 200, answer.text
        found = (await granted.send("dan", "GET", path)).json
        expected = "system:admin" if part else "dan"
        assert found["metadata"]["annotations"][AUTHOR] == expected


async def test_who_may_change_less_than_it_takes_does_not_become_its_author(
    granted: GrantedApi,
) -> None:
    followed = {
        "from": FOREIGN,
        "fieldPath": 'spec.template.spec.containers[?(@.name=="web")].image',
    }
    document = deployment()
    triggers = {"image.openshift.io/triggers": json.dumps([followed])}
    document["metadata"]["annotations"] = triggers
    assert (await granted.create("admin", "deployments", "a", document)).status == 201
    await granted.grant("dan", "deployer@a")
    path = path_of("deployments", "a", "web")
    answer = await granted.send("dan", "PATCH", path, {"spec": {"replicas": 4}}, content_type=MERGE)
    assert answer.status == 200, answer.text
    assert answer.json["metadata"]["annotations"][AUTHOR] == "system:admin"


@pytest.mark.parametrize("plural", ["buildconfigs", "builds"])
async def test_the_machines_network_takes_the_right_to_use_it(
    granted: GrantedApi, plural: str
) -> None:
    await granted.grant("eve", "builder@a")
    document = build()
    document["metadata"]["annotations"] = {HOST_NETWORK: "true"}
    refused = await granted.create("eve", plural, "a", document)
    assert refused.status == 403, refused.text
    assert "use hostnetwork in namespace a needs role admin there" in refused.json["message"]
    document["metadata"]["annotations"] = {HOST_NETWORK: "false"}
    assert (await granted.create("eve", plural, "a", document)).status == 201


async def test_who_gives_a_build_the_machines_network_stands_for_what_it_does(
    granted: GrantedApi,
) -> None:
    await granted.grant("eve", "builder@a")
    await granted.create("eve", "buildconfigs", "a", build())
    path = path_of("buildconfigs", "a", "app-1")
    change = {"metadata": {"annotations": {HOST_NETWORK: "true"}}}
    refused = await granted.send("eve", "PATCH", path, change, content_type=MERGE)
    assert refused.status == 403, refused.text
    given = await granted.send("admin", "PATCH", path, change, content_type=MERGE)
    assert given.json["metadata"]["annotations"][AUTHOR] == "system:admin"
    other = {"spec": {"source": {"dockerfile": "FROM docker.io/library/other:1\n"}}}
    refused = await granted.send("eve", "PATCH", path, other, content_type=MERGE)
    assert refused.status == 403, refused.text
    labelled = {"metadata": {"labels": {"team": "web"}}}
    kept = await granted.send("eve", "PATCH", path, labelled, content_type=MERGE)
    assert kept.status == 200, kept.text
    assert kept.json["metadata"]["annotations"][AUTHOR] == "system:admin"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"purpose": "RollBack"}, "spec.purpose"),
        ({"purpose": "Verify"}, "spec.purpose"),
        ({"bypass": "now"}, "spec.bypass"),
        ({"hold": "rolled back by ada"}, "spec.hold"),
    ],
)
@pytest.mark.parametrize("who", ["eve", "admin"])
async def test_what_goes_past_a_gate_is_no_clients_to_write(
    granted: GrantedApi, who: str, spec: dict[str, str], field: str
) -> None:
    await granted.grant("eve", "promoter@a")
    document = {
        "metadata": {"name": "p"},
        "spec": {"pipeline": "app", "release": "app-1", "stage": "production", **spec},
    }
    answer = await granted.create(who, "promotions", "a", document)
    assert answer.status == 422, answer.text
    assert field in answer.json["message"]
    assert "`upwell " in answer.json["message"]


async def test_a_release_stays_in_its_pipeline(granted: GrantedApi) -> None:
    await granted.grant("eve", "promoter@a")
    document = {"metadata": {"name": "app-1"}, "spec": {"pipeline": "app", "number": 1}}
    assert (await granted.create("eve", "releases", "a", document)).status == 201
    label = {"metadata": {"labels": {"upwell.dev/pipeline": "other"}}}
    path = path_of("releases", "a", "app-1")
    answer = await granted.send("eve", "PATCH", path, label, content_type=MERGE)
    assert answer.json["metadata"]["labels"]["upwell.dev/pipeline"] == "app"
