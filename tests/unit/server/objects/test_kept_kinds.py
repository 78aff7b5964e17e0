"""Kinds that nothing here acts on: kept, shown, deleted; and said to whoever writes them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.granted_api import GrantedApi, open_granted_api

from upwell.api.kept import AUTOSCALER, KEPT
from upwell.api.meta import Kind

RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings"
AUTOSCALED = {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 2}
OPENSHIFT = "/apis/authorization.openshift.io/v1/namespaces/shop/rolebindings"


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        await api.grant("dora", "deployer@shop")
        yield api


def path(kind: Kind, name: str = "") -> str:
    place = "/namespaces/shop" if kind.namespaced else ""
    group = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
    return f"{group}{place}/{kind.plural}" + (f"/{name}" if name else "")


@pytest.mark.parametrize("kind", [one.KIND for one in KEPT], ids=str)
async def test_it_is_kept_as_it_is_written_and_said(granted: GrantedApi, kind: Kind) -> None:
    spec = {"any": [{"thing": 1}], **(AUTOSCALED if kind.kind == AUTOSCALER else {})}
    own: dict[str, Any] = {"spec": spec, "value": 7, "status": {"is": "kept"}}
    made = await granted.send("admin", "POST", path(kind), {"metadata": {"name": "x"}} | own)
    assert made.status == 201, made.text
    (warning,) = made.warnings
    assert f"a {kind.kind} is kept and has no effect: " in warning
    found = (await granted.send("admin", "GET", path(kind, "x"))).json
    assert {name: found[name] for name in own} == own
    assert (await granted.send("admin", "DELETE", path(kind, "x"))).status == 200


@pytest.mark.parametrize(
    ("who", "advice"),
    [
        (
            {"subjects": [{"kind": "ServiceAccount", "name": "bot"}]},
            'annotate ServiceAccount shop/bot with upwell.dev/grants="builder@shop deployer@shop"',
        ),
        (
            {"userNames": ["system:serviceaccount:ci:bot"]},
            'annotate ServiceAccount ci/bot with upwell.dev/grants="builder@shop deployer@shop"',
        ),
        (
            {"subjects": [{"kind": "User", "name": "ann"}]},
            "edit is `--grant builder@shop --grant deployer@shop` of `upwell token create`",
        ),
        ({"subjects": "ann", "userNames": [1]}, "of `upwell token create`"),
    ],
)
async def test_a_binding_gives_nothing_and_says_what_does(
    granted: GrantedApi, who: dict[str, Any], advice: str
) -> None:
    account = {"metadata": {"name": "bot"}}
    await granted.send("admin", "POST", "/api/v1/namespaces/shop/serviceaccounts", account)
    binding = {"metadata": {"name": "edit"}, "roleRef": {"name": "edit"}} | who
    made = await granted.send("dora", "POST", RBAC, binding)
    assert made.status == 201, made.text
    assert advice in made.warnings[0].replace("\\", "")
    token = await granted.send(
        "admin", "POST", "/api/v1/namespaces/shop/serviceaccounts/bot/token", {}
    )
    granted.tokens["bot"] = token.json["status"]["token"]
    assert (await granted.send("bot", "GET", "/api/v1/namespaces/shop/configmaps")).status == 403


@pytest.mark.parametrize("version", ["v1", "authorization.openshift.io/v1"])
async def test_a_binding_of_openshift_is_the_same_object(granted: GrantedApi, version: str) -> None:
    binding = {"apiVersion": version, "kind": "RoleBinding", "metadata": {"name": "edit"}}
    made = await granted.send("dora", "POST", OPENSHIFT, binding | {"roleRef": {"name": "x"}})
    assert made.status == 201, made.text
    assert "rights are grants of tokens" in made.warnings[0]
    assert (await granted.send("dora", "GET", f"{RBAC}/edit")).status == 200
    groups = (await granted.send("dora", "GET", "/apis")).json["groups"]
    assert "authorization.openshift.io" in [group["name"] for group in groups]
    listed = (await granted.send("dora", "GET", "/apis/authorization.openshift.io/v1")).json
    assert "rolebindings" in [one["name"] for one in listed["resources"]]


@pytest.mark.parametrize(
    ("name", "code"), [("jenkins_edit", 201), ("system:view", 201), ("a%2Fb", 422), ("..", 422)]
)
async def test_a_binding_has_the_names_that_they_have(
    granted: GrantedApi, name: str, code: int
) -> None:
    made = await granted.send("dora", "POST", RBAC, {"metadata": {"name": name}})
    assert made.status == code, made.text


async def test_an_older_version_of_it_is_the_same(granted: GrantedApi) -> None:
    kind = next(one.KIND for one in KEPT if one.KIND.kind == "HorizontalPodAutoscaler")
    scaler = {"apiVersion": "autoscaling/v1", "kind": kind.kind, "metadata": {"name": "web"}}
    made = await granted.send("dora", "POST", path(kind), scaler | {"spec": AUTOSCALED})
    assert made.status == 201, made.text


async def test_those_of_no_namespace_take_a_grant_for_all(granted: GrantedApi) -> None:
    kind = next(one.KIND for one in KEPT if one.KIND.kind == "PriorityClass")
    refused = await granted.send("dora", "POST", path(kind), {"metadata": {"name": "high"}})
    assert refused.status == 403
