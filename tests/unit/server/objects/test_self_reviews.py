"""Self reviews of identity and rights: the answers go by the same rules as the middleware."""

from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import Api, ApiClock, serving
from tests.support.server.audit_logs import audit_log

from upwell.api.codec import RESOURCES
from upwell.policy.access.roles import Role, parse_grant
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.tokens import TokenRecord, Tokens, hash_of, new_token
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore

AUTHORIZATION = "/apis/authorization.k8s.io/v1"
TOKEN = new_token("ci")
GRANTS = ("builder@shop", "viewer@bank")
BARE = new_token("nothing")
AS_NOTHING = {"Authorization": f"Bearer {BARE}"}
"""Token that has no grant."""
AS_CI = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        audit = audit_log(tmp_path, clock)
        return AccessControl(Tokens(store, clock), audit, Role.VIEWER)

    async with serving(ServerLimits(), guard=guard) as served:
        grants = tuple(map(parse_grant, GRANTS))
        await served.store.create(TokenRecord("ci", hash_of(TOKEN), grants).as_secret())
        await served.store.create(TokenRecord("nothing", hash_of(BARE), ()).as_secret())
        yield served


async def ask(api: Api, path: str, kind: str, headers: dict[str, str], **spec: Any) -> Any:
    group = "/".join(path.split("/")[2:4])
    body = {"apiVersion": group, "kind": kind, **({"spec": spec} if spec else {})}
    answer = await api.send("POST", path, body, **headers)
    assert answer.status == 201, answer.text
    assert (answer.json["kind"], answer.json["apiVersion"]) == (kind, group)
    return answer.json["status"]


async def may(api: Api, headers: dict[str, str] = AS_CI, **spec: Any) -> Any:
    path = f"{AUTHORIZATION}/selfsubjectaccessreviews"
    return await ask(api, path, "SelfSubjectAccessReview", headers, **spec)


async def test_a_token_learns_whose_it_is(api: Api) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    user = (await ask(api, path, "SelfSubjectReview", AS_CI))["userInfo"]
    assert user == {
        "username": "ci",
        "groups": ["system:authenticated"],
        "extra": {"upwell.dev/grants": list(GRANTS)},
    }
    nobody = (await ask(api, path, "SelfSubjectReview", {}))["userInfo"]
    assert (nobody["username"], nobody["groups"]) == (
        "system:anonymous",
        ["system:unauthenticated"],
    )


@pytest.mark.parametrize(
    ("attributes", "allowed"),
    [
        ({"verb": "create", "resource": "builds", "namespace": "shop"}, True),
        ({"verb": "create", "resource": "builds", "namespace": "bank"}, False),
        ({"verb": "get", "resource": "builds", "subresource": "log", "namespace": "bank"}, True),
        ({"verb": "list", "resource": "builds"}, False),
        ({"verb": "get", "resource": "namespaces", "name": "shop"}, True),
        ({"verb": "get", "resource": "namespaces", "name": "other"}, False),
        ({"verb": "*", "resource": "*", "namespace": "shop"}, False),
        ({"verb": "delete", "resource": "projects", "name": "shop", "namespace": "bank"}, False),
        ({"verb": "get", "resource": "projects", "name": "shop", "namespace": "else"}, True),
    ],
)
async def test_what_is_said_to_be_allowed_is(
    api: Api, attributes: dict[str, str], *, allowed: bool
) -> None:
    status = await may(api, resourceAttributes=attributes)
    assert status["allowed"] is allowed
    assert ("needs role" in status.get("reason", "")) is not allowed


@pytest.mark.parametrize(
    ("verb", "resource"),
    [("impersonate", "users"), ("escalate", "roles"), ("bind", "clusterroles")],
)
async def test_nobody_may_what_the_server_never_does(api: Api, verb: str, resource: str) -> None:
    token = new_token("root")
    record = TokenRecord("root", hash_of(token), (parse_grant("admin@*"),))
    await api.store.create(record.as_secret())
    headers = {"Authorization": f"Bearer {token}"}
    assert (await may(api, headers, resourceAttributes={"verb": "*", "resource": "*"}))["allowed"]
    status = await may(api, headers, resourceAttributes={"verb": verb, "resource": resource})
    assert status["allowed"] is False
    assert "`upwell token create" in status["reason"]


PLURALS = (
    *("waves", "images", "clusterroles", "groups", "namespaces", "projects", "freezes"),
    *("clusteroperators", "resourcequotas", "configmaps"),
)


@pytest.mark.parametrize(("method", "verb"), [("GET", "list"), ("POST", "create")])
async def test_a_namespace_in_the_question_counts_where_it_counts_in_the_request(
    api: Api, method: str, verb: str
) -> None:
    token = new_token("both")
    grants = tuple(map(parse_grant, ("builder@shop", "deployer@shop", "admin@bank")))
    await api.store.create(TokenRecord("both", hash_of(token), grants).as_secret())
    headers = {"Authorization": f"Bearer {token}"}
    kinds = [resource.KIND for resource in RESOURCES if resource.KIND.plural in PLURALS]
    assert len(kinds) == len(PLURALS)
    for kind, namespace in product(kinds, ("shop", "bank")):
        about = {"verb": verb, "resource": kind.plural, "namespace": namespace}
        allowed = (await may(api, headers, resourceAttributes=about))["allowed"]
        below = f"namespaces/{namespace}/" if kind.namespaced else ""
        root = f"/apis/{kind.api_version}" if kind.group else "/api/v1"
        answer = await api.send(method, f"{root}/{below}{kind.plural}", {}, **headers)
        assert (answer.status != 403) is allowed, (kind.plural, namespace, answer.text)


@pytest.mark.parametrize(("path", "allowed"), [("/version", True), ("/metrics", False)])
async def test_paths_are_asked_for_too(api: Api, path: str, *, allowed: bool) -> None:
    status = await may(api, nonResourceAttributes={"verb": "get", "path": path})
    assert status["allowed"] is allowed


async def test_a_question_about_nothing_is_refused(api: Api) -> None:
    answer = await api.send("POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", {}, **AS_CI)
    assert answer.status == 422
    assert answer.json["details"]["causes"][0]["field"] == "spec"


async def test_the_rules_of_a_namespace_are_listed(api: Api) -> None:
    path = f"{AUTHORIZATION}/selfsubjectrulesreviews"
    status = await ask(api, path, "SelfSubjectRulesReview", AS_CI, namespace="shop")
    verbs = {
        resource: set(rule["verbs"])
        for rule in status["resourceRules"]
        for resource in rule["resources"]
        if resource in {"builds", "buildconfigs/instantiate", "secrets"}
    }
    assert verbs["buildconfigs/instantiate"] >= {"create"}
    assert "delete" in verbs["builds"]
    assert verbs["secrets"] == {"use"}
    resources = {name for rule in status["resourceRules"] for name in rule["resources"]}
    assert resources >= {"builds", "namespaces", "projects", "clusteroperators"}
    assert not resources & {"waves", "freezes", "clusterroles", "groups"}
    lists = {
        name
        for rule in status["resourceRules"]
        for name in rule["resources"]
        if "list" in rule["verbs"]
    }
    assert lists >= {"builds", "projects", "clusteroperators"}
    assert not lists & {"namespaces", "images"}
    elsewhere = await ask(api, path, "SelfSubjectRulesReview", AS_CI, namespace="else")
    assert elsewhere["resourceRules"] == []


async def test_reviews_are_neither_kept_nor_audited(api: Api, tmp_path: Path) -> None:
    await may(api, resourceAttributes={"verb": "get", "resource": "builds"})
    listed = await api.get(f"{AUTHORIZATION}/selfsubjectaccessreviews", **AS_CI)
    assert listed.status == 403
    lines = (tmp_path / "audit-denied.log").read_text()
    assert "create" not in lines
    assert not (tmp_path / "audit.log").exists()


async def test_who_has_no_grant_may_ask_about_themselves_and_nothing_else(api: Api) -> None:
    """As Kubernetes lets everybody who is authenticated: system:basic-user, system:discovery."""
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    user = (await ask(api, path, "SelfSubjectReview", AS_NOTHING))["userInfo"]
    assert user["username"] == "nothing"
    about = {"verb": "create", "resource": "selfsubjectaccessreviews"}
    assert (await may(api, AS_NOTHING, resourceAttributes=about))["allowed"]
    version = {"verb": "get", "path": "/version"}
    assert (await may(api, AS_NOTHING, nonResourceAttributes=version))["allowed"]
    builds = {"verb": "get", "resource": "builds", "namespace": "shop"}
    assert not (await may(api, AS_NOTHING, resourceAttributes=builds))["allowed"]
    rules = f"{AUTHORIZATION}/selfsubjectrulesreviews"
    found = await ask(api, rules, "SelfSubjectRulesReview", AS_NOTHING, namespace="shop")
    assert found["resourceRules"] == []

    assert (await api.get("/apis", **AS_NOTHING)).status == 200
    for refused in ("/api/v1/namespaces", "/apis/build.openshift.io/v1/namespaces/shop/builds"):
        assert (await api.get(refused, **AS_NOTHING)).status == 403
    other = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert (await api.send("POST", other, {}, **AS_NOTHING)).status == 403
