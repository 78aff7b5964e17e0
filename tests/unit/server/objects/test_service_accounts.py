"""ServiceAccounts: who gives them grants, who gets their tokens, and when these end."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.server.api_server import START, ApiAnswer
from tests.support.server.audit_logs import audit_lines
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

from upwell.api.core import Secret, ServiceAccount
from upwell.api.values.author import with_author
from upwell.policy.access.roles import Grant, parse_grant
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.own_jwt import OwnJwts
from upwell.server.auth.principals import Principal
from upwell.server.auth.service_accounts import InstanceName, WantedAccountToken

GRANTS = "upwell.dev/grants"
MERGE = "application/merge-patch+json"
ME = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        yield api


def account(*grants: str, name: str = "ci") -> dict[str, Any]:
    annotations = {GRANTS: " ".join(grants)} if grants else {}
    return {"metadata": {"name": name, "annotations": annotations}}


async def make(granted: GrantedApi, who: str, *grants: str, name: str = "ci") -> ApiAnswer:
    return await granted.create(who, "serviceaccounts", "shop", account(*grants, name=name))


async def ask(granted: GrantedApi, who: str, name: str = "ci", **spec: Any) -> ApiAnswer:
    path = path_of("serviceaccounts", "shop", name, "token")
    return await granted.send(who, "POST", path, {"spec": spec})


async def take(granted: GrantedApi, who: str, name: str = "ci", **spec: Any) -> str:
    """Have a token made; it is `account` from then on."""
    answer = await ask(granted, who, name, **spec)
    assert answer.status == 201, answer.text
    granted.tokens["account"] = answer.json["status"]["token"]
    return granted.tokens["account"]


async def looks(granted: GrantedApi, namespace: str = "shop", plural: str = "builds") -> int:
    return (await granted.send("account", "GET", path_of(plural, namespace))).status


async def test_an_account_does_what_its_grants_say(granted: GrantedApi) -> None:
    assert (await make(granted, "admin", "builder@shop", "viewer@bank,vendor")).status == 201
    await take(granted, "admin")
    assert await looks(granted) == 200
    assert await looks(granted, "vendor") == 200
    assert await looks(granted, "other") == 403
    me = await granted.send("account", "POST", ME, {})
    user = me.json["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:shop:ci"
    assert user["groups"] == [
        "system:authenticated",
        "system:serviceaccounts",
        "system:serviceaccounts:shop",
    ]
    written = await granted.create("account", "imagestreams", "shop", {"metadata": {"name": "web"}})
    assert written.json["metadata"]["annotations"]["upwell.dev/author"] == user["username"]


async def test_an_account_without_grants_may_do_nothing(granted: GrantedApi) -> None:
    await make(granted, "admin")
    await take(granted, "admin")
    assert await looks(granted) == 403


@pytest.mark.parametrize("given_grant", ["admin@shop", "viewer@bank", "viewer@*", "viewer@shop"])
async def test_only_an_admin_of_a_namespace_gives_grants_there(
    granted: GrantedApi, given_grant: str
) -> None:
    await granted.grant("dora", "deployer@shop", "builder@shop")
    refused = await make(granted, "dora", given_grant)
    assert refused.status == 403
    assert f"gives {given_grant}" in refused.text
    assert (await make(granted, "dora")).status == 201
    path = path_of("serviceaccounts", "shop", "ci")
    patch = {"metadata": {"annotations": {GRANTS: given_grant}}}
    again = await granted.send("dora", "PATCH", path, patch, content_type=MERGE)
    assert again.status == 403
    await granted.grant("ada", "admin@shop")
    allowed = await granted.send("ada", "PATCH", path, patch, content_type=MERGE)
    assert allowed.status == (200 if given_grant.endswith("@shop") else 403)


async def test_a_neighbour_who_changes_an_account_gives_it_nothing(granted: GrantedApi) -> None:
    await granted.grant("ada", "admin@shop")
    await granted.grant("dora", "deployer@shop")
    await make(granted, "ada", "builder@shop")
    path = path_of("serviceaccounts", "shop", "ci")
    patch = {"imagePullSecrets": [{"name": "pull"}]}
    assert (await granted.send("dora", "PATCH", path, patch, content_type=MERGE)).status == 200
    kept = await granted.api.store.get(ServiceAccount, "shop", "ci")
    assert kept.annotations["upwell.dev/author"] == "ada"


async def test_nobody_gets_a_token_of_an_account_that_may_do_more(granted: GrantedApi) -> None:
    await granted.grant("dora", "deployer@shop")
    await granted.grant("vera", "viewer@shop")
    await make(granted, "admin", "viewer@shop", "deployer@shop", name="mild")
    await make(granted, "admin", "viewer@shop", "viewer@bank", name="wide")
    await make(granted, "admin", "promoter@shop", name="strong")
    assert (await ask(granted, "dora", "mild")).status == 201
    assert "it has viewer@bank" in (await ask(granted, "dora", "wide")).text
    assert "it has promoter@shop" in (await ask(granted, "dora", "strong")).text
    for name in ("wide", "strong"):
        assert (await ask(granted, "dora", name)).status == 403
    assert (await ask(granted, "vera", "mild")).status == 403


async def test_what_the_author_of_an_account_loses_it_loses_at_once(granted: GrantedApi) -> None:
    await granted.grant("ada", "admin@shop,bank")
    await make(granted, "ada", "builder@shop", "viewer@bank")
    await take(granted, "ada")
    await granted.grant("ada", "admin@bank")
    assert (await looks(granted), await looks(granted, "bank")) == (403, 200)
    await granted.revoke("ada")
    assert (await looks(granted), await looks(granted, "bank")) == (403, 403)


async def test_accounts_that_gave_each_other_grants_have_none(granted: GrantedApi) -> None:
    await make(granted, "admin", "admin@shop", name="one")
    granted.tokens["one"] = await take(granted, "admin", "one")
    await make(granted, "one", "admin@shop", name="two")
    granted.tokens["two"] = await take(granted, "admin", "two")
    path = path_of("serviceaccounts", "shop", "one")
    patch = {"metadata": {"annotations": {GRANTS: "viewer@shop admin@shop"}}}
    assert (await granted.send("two", "PATCH", path, patch, content_type=MERGE)).status == 200
    for who in ("one", "two"):
        assert (await granted.send(who, "GET", path)).status == 403


async def test_a_token_ends_with_its_time(granted: GrantedApi) -> None:
    await make(granted, "admin", "viewer@shop")
    answer = await ask(granted, "admin", expirationSeconds=600)
    await take(granted, "admin", expirationSeconds=600)
    assert answer.json["status"]["expirationTimestamp"] == "2024-05-01T12:10:00Z"
    granted.api.clock.advance(seconds=599)
    assert await looks(granted) == 200
    granted.api.clock.advance(seconds=1)
    assert await looks(granted) == 401


@pytest.mark.parametrize(("asked", "got"), [(None, 3600), (86400 * 365, 86400), (10**18, 86400)])
async def test_a_token_is_valid_for_an_hour_and_a_day_at_most(
    granted: GrantedApi, asked: int | None, got: int
) -> None:
    await make(granted, "admin", "viewer@shop")
    spec: dict[str, Any] = {} if asked is None else {"expirationSeconds": asked}
    answer = await ask(granted, "admin", **spec)
    end = START + timedelta(seconds=got)
    assert answer.json["status"]["expirationTimestamp"] == end.isoformat().replace("+00:00", "Z")


async def test_a_token_ends_no_later_than_that_which_asked_for_it(granted: GrantedApi) -> None:
    await make(granted, "admin", "deployer@shop")
    granted.tokens["first"] = await take(granted, "admin", expirationSeconds=1200)
    granted.api.clock.advance(seconds=1000)
    answer = await ask(granted, "first", expirationSeconds=86400)
    assert answer.json["status"]["expirationTimestamp"] == "2024-05-01T12:20:00Z"


async def test_tokens_of_an_account_that_was_made_again_are_dead(granted: GrantedApi) -> None:
    await make(granted, "admin", "viewer@shop")
    await take(granted, "admin")
    await granted.send("admin", "DELETE", path_of("serviceaccounts", "shop", "ci"))
    assert await looks(granted) == 401
    await make(granted, "admin", "viewer@shop")
    assert await looks(granted) == 401


async def test_a_token_ends_with_the_secret_that_it_is_bound_to(granted: GrantedApi) -> None:
    await make(granted, "admin", "viewer@shop")
    await granted.create("admin", "secrets", "shop", {"metadata": {"name": "run-7"}})
    secret = await granted.api.store.get(Secret, "shop", "run-7")
    bound = {"kind": "Secret", "apiVersion": "v1", "name": "run-7"}
    await take(granted, "admin", boundObjectRef=bound | {"uid": secret.uid})
    assert await looks(granted) == 200
    await granted.send("admin", "DELETE", path_of("secrets", "shop", "run-7"))
    assert await looks(granted) == 401
    assert (await ask(granted, "admin", boundObjectRef=bound)).status == 422
    pod = await ask(granted, "admin", boundObjectRef={"kind": "Pod", "name": "web-0"})
    assert (pod.status, "spec.boundObjectRef.kind" in pod.text) == (422, True)


async def test_a_token_ends_with_the_instance_that_it_is_bound_to(granted: GrantedApi) -> None:
    await make(granted, "admin", "viewer@shop")
    accounts = granted.access.tokens.accounts
    there = {("web-0", "4711")}
    found = await granted.api.store.get(ServiceAccount, "shop", "ci")
    wanted = WantedAccountToken(found, instance=InstanceName("web-0", "4711"))
    granted.tokens["account"] = accounts.issue(wanted).token
    assert await looks(granted) == 401
    accounts.end_with(lambda name, uid: (name, uid) in there)
    assert await looks(granted) == 200
    there.clear()
    assert await looks(granted) == 401


def template(account: str, **pod: Any) -> dict[str, Any]:
    """Return a Deployment whose containers get a token of an account."""
    source = {"serviceAccountToken": {"path": "token"}}
    spec = {
        "serviceAccountName": account,
        "containers": [{"name": "web", "image": "web:1"}],
        "volumes": [{"name": "token", "projected": {"sources": [source]}}],
        **pod,
    }
    labels = {"labels": {"app": "web"}}
    described = {
        "selector": {"matchLabels": labels["labels"]},
        "template": {"metadata": labels, "spec": spec},
    }
    return {"metadata": {"name": "web"}, "spec": described}


@pytest.mark.parametrize("pod", [{}, {"volumes": [], "automountServiceAccountToken": True}])
async def test_nobody_has_something_run_as_an_account_that_may_do_more(
    granted: GrantedApi, pod: dict[str, Any]
) -> None:
    await granted.grant("dora", "deployer@shop")
    await make(granted, "admin", "viewer@shop", name="mild")
    await make(granted, "admin", "promoter@shop", name="strong")
    refused = await granted.create("dora", "deployments", "shop", template("strong", **pod))
    assert refused.status == 403
    assert "strong has promoter@shop" in refused.text
    assert (
        await granted.create("dora", "deployments", "shop", template("mild", **pod))
    ).status == 201


async def test_who_may_do_less_changes_nothing_that_runs_as_an_account(granted: GrantedApi) -> None:
    await granted.grant("dora", "deployer@shop")
    await make(granted, "admin", "promoter@shop", name="strong")
    assert (await granted.create("admin", "deployments", "shop", template("strong"))).status == 201
    path = path_of("deployments", "shop", "web")
    scaled = await granted.send(
        "dora", "PATCH", path, {"spec": {"replicas": 3}}, content_type=MERGE
    )
    assert scaled.status == 200
    assert scaled.json["metadata"]["annotations"]["upwell.dev/author"] == "system:admin"
    containers = [{"name": "web", "image": "evil:1"}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    changed = await granted.send("dora", "PATCH", path, patch, content_type=MERGE)
    assert (changed.status, "strong has promoter@shop" in changed.text) == (403, True)


async def test_a_check_with_a_token_is_changed_by_nobody_who_may_do_less(
    granted: GrantedApi,
) -> None:
    await granted.grant("petra", "pipeline-editor@shop")
    await make(granted, "admin", "promoter@shop", name="strong")

    def pipeline(**check: Any) -> dict[str, Any]:
        job = {"template": template("strong")["spec"]["template"], **check}
        stage = {
            "name": "dev",
            "workloads": [{"kind": "Deployment", "name": "web"}],
            "verification": {"checks": [{"name": "smoke", "job": job}]},
        }
        component = {"name": "web", "from": {"kind": "ImageStreamTag", "name": "web:1"}}
        return {"spec": {"components": [component], "stages": [stage]}}

    document = {"metadata": {"name": "web"}, **pipeline()}
    assert (await granted.create("admin", "pipelines", "shop", document)).status == 201
    path = path_of("pipelines", "shop", "web")
    for check in (
        {"command": ["cat", "/token"]},
        {"args": ["/token"]},
        {"image": "evil:1"},
        {"component": "web"},
        {"artifacts": ["/token"]},
    ):
        body = pipeline(**check)
        changed = await granted.send("petra", "PATCH", path, body, content_type=MERGE)
        assert (changed.status, check) == (403, check), changed.text
    body = {"metadata": {"labels": {"team": "web"}}}
    assert (await granted.send("petra", "PATCH", path, body, content_type=MERGE)).status == 200


async def test_a_token_in_what_runs_takes_the_right_to_ask_for_one(granted: GrantedApi) -> None:
    await granted.grant("petra", "pipeline-editor@shop")
    await granted.grant("paul", "pipeline-editor@shop", "deployer@shop")
    job = template("mild")["spec"]["template"]
    check = {"name": "smoke", "job": {"template": job}}
    stage = {
        "name": "dev",
        "workloads": [{"kind": "Deployment", "name": "web"}],
        "verification": {"checks": [check]},
    }
    source = {"kind": "ImageStreamTag", "name": "web:1"}
    spec = {"components": [{"name": "web", "from": source}], "stages": [stage]}
    document = {"metadata": {"name": "web"}, "spec": spec}
    refused = await granted.create("petra", "pipelines", "shop", document)
    assert refused.status == 403
    assert (await granted.create("paul", "pipelines", "shop", document)).status == 201


@pytest.mark.parametrize(
    ("pod", "path"),
    [
        ({"automountServiceAccountToken": "yes"}, "spec.automountServiceAccountToken"),
        (
            {
                "volumes": [
                    {
                        "name": "v",
                        "projected": {
                            "sources": [
                                {"serviceAccountToken": {"path": f"t{at}"}} for at in range(33)
                            ]
                        },
                    }
                ]
            },
            "spec.volumes",
        ),
        (
            {"volumes": [{"name": "v", "downwardAPI": {"items": [{"path": "x"}]}}]},
            "spec.volumes[0].downwardAPI.items[0].fieldRef",
        ),
        (
            {
                "volumes": [
                    {
                        "name": "v",
                        "projected": {
                            "sources": [
                                {"serviceAccountToken": {"path": "t", "expirationSeconds": 60}}
                            ]
                        },
                    }
                ]
            },
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds",
        ),
    ],
)
async def test_what_cannot_be_honoured_of_such_a_volume_is_told_with_its_path(
    granted: GrantedApi, pod: dict[str, Any], path: str
) -> None:
    answer = await granted.create("admin", "deployments", "shop", template("mild", **pod))
    assert (answer.status, f"spec.template.{path}" in answer.text) == (422, True), answer.text


async def test_a_token_for_others_is_refused_here(granted: GrantedApi) -> None:
    await make(granted, "admin", "viewer@shop")
    await take(granted, "admin", audiences=["vault"])
    assert await looks(granted) == 401
    await take(granted, "admin", audiences=["vault", "upwell"])
    assert await looks(granted) == 200


@pytest.mark.parametrize(
    "spec",
    [
        {"expirationSeconds": 59},
        {"expirationSeconds": -1},
        {"audiences": [""]},
        {"audiences": ["a"] * 9},
        {"audiences": ["a" * 257]},
        {"expirationSeconds": "1h"},
    ],
)
async def test_a_request_that_cannot_be_met_is_refused(
    granted: GrantedApi, spec: dict[str, Any]
) -> None:
    await make(granted, "admin", "viewer@shop")
    assert (await ask(granted, "admin", **spec)).status == 422


async def test_a_token_has_its_line_in_the_audit_log_and_is_not_in_it(
    granted: GrantedApi, tmp_path: Path
) -> None:
    await make(granted, "admin", "viewer@shop")
    token = await take(granted, "admin")
    (line,) = [one for one in audit_lines(tmp_path) if one.get("subresource") == "token"]
    assert (line["verb"], line["resource"], line["name"]) == ("create", "serviceaccounts", "ci")
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["jti"] in line["reason"]
    assert token not in json.dumps(audit_lines(tmp_path))


@pytest.mark.parametrize(
    "grants", ["root@shop", "viewer", "admin@upwell-system", "viewer@shop " * 65, "v" * 8193]
)
async def test_grants_that_are_none_are_refused_with_their_path(
    granted: GrantedApi, grants: str
) -> None:
    refused = await make(granted, "admin", grants)
    assert refused.status == 422
    assert "metadata.annotations[upwell.dev/grants]" in refused.text


class SignedIn:
    """One person, who is an admin of shop while a test says so. Implements People."""

    def __init__(self) -> None:
        self.rights = (parse_grant("admin@shop"),)

    def owns(self, name: str) -> bool:
        return name == "oidc:ann"

    async def principal(self, token: str) -> Principal | None:
        return Principal("oidc:ann", self.rights) if token == "upwell_oidc:ann" else None

    async def grants(self, name: str) -> tuple[Grant, ...]:
        return self.rights if self.owns(name) else ()


async def test_people_who_sign_in_give_grants_too(granted: GrantedApi) -> None:
    people = SignedIn()
    # Replaces the access control of the fixture for accounts, as the server makes it with people.
    AccessControl(granted.access.tokens, granted.access.audit, people=people)
    await make(granted, "admin", "builder@shop")
    await take(granted, "admin")
    store = granted.api.store
    made = await store.get(ServiceAccount, "shop", "ci")
    await store.update(with_author(made, "oidc:ann"))
    assert await looks(granted) == 200
    people.rights = (parse_grant("viewer@shop"),)
    assert await looks(granted) == 403


def _parts(token: str) -> list[str]:
    return token.split(".")


def _text(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_a_forged_token_is_nobodys(granted: GrantedApi) -> None:
    await make(granted, "admin", "viewer@shop")
    header, payload, mac = _parts(await take(granted, "admin"))
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    later = _text(claims | {"exp": claims["exp"] + 10**6})
    forged = [
        f"{header}.{later}.{mac}",
        f"{header}.{payload}.",
        f"{_text({'alg': 'none', 'typ': 'JWT'})}.{payload}.",
        f"{_text({'alg': 'none', 'typ': 'JWT'})}.{payload}.{mac}",
        OwnJwts(b"another key".ljust(32)).sign(claims),
        f"{header}.{payload}.{mac[:-2]}",
        f".{payload}.{mac}",
        "..",
        f"{header}.{payload}.{mac}" + "A" * 5000,
    ]
    for token in forged:
        granted.tokens["account"] = token
        assert (await looks(granted), token) == (401, token)


@given(st.text(max_size=300), st.binary(min_size=32, max_size=32))
def test_no_text_opens_without_the_key(text: str, key: bytes) -> None:
    jwts = OwnJwts(key + b"!")
    assert jwts.open(text) is None
    signed = OwnJwts(key).sign({"text": text})
    assert jwts.open(signed) is None
    assert OwnJwts(key).open(signed) == {"text": text}
