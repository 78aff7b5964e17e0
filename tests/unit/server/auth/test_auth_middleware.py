"""The door of the API: tokens, denials, the registry's logins, limits, the audit log."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router
from tests.support.server.api_server import Api, ApiAnswer, ApiClock, config_map, serving
from tests.support.server.audit_logs import audit_log

from upwell.api.builds.build import Build, BuildPhase, BuildStatus
from upwell.api.core import Secret
from upwell.api.meta import ObjectMeta
from upwell.policy.access.roles import SYSTEM_NAMESPACE, Role, parse_grant
from upwell.server.asgi.connections import ConnectionLimits
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.middleware import AuthMiddleware
from upwell.server.auth.tokens import (
    RegistryTokens,
    TokenRecord,
    Tokens,
    hash_of,
    new_token,
    own_token,
    secret_name,
)
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore

DENIED = "audit-denied.log"
CORE = "/api/v1/namespaces"
BUILDS = "/apis/build.openshift.io/v1/namespaces"


async def _echo(request: Request) -> PlainTextResponse:
    user = request.scope["user"].username
    return PlainTextResponse(f"{user} {request.method} {request.url.query}", 200)


_METHODS = ["GET", "POST", "PUT", "DELETE"]
REGISTRY = [Mount("/v2", app=Router([Route("/{path:path}", _echo, methods=_METHODS)]))]


@dataclass
class GuardedApi:
    api: Api
    folder: Path
    seconds: list[float]

    async def token(self, name: str, *grants: str, expires: datetime | None = None) -> str:
        token = new_token(name)
        record = TokenRecord(name, hash_of(token), tuple(map(parse_grant, grants)), expires)
        await self.api.store.create(record.as_secret())
        return token

    async def send(self, token: str, method: str, path: str, body: Any = None) -> ApiAnswer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.api.send(method, path, body, **headers)

    async def login(self, token: str, method: str, path: str) -> ApiAnswer:
        basic = base64.b64encode(f"anyone:{token}".encode()).decode()
        return await self.api.send(method, path, Authorization=f"Basic {basic}")

    def audit(self, name: str = "audit.log") -> list[dict[str, Any]]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


ADMIN = new_token("admin")
BUILDS_OF = RegistryTokens()
LIMITS = ServerLimits(
    requests_per_second=1,
    requests_burst=20,
    anonymous_per_second=1,
    anonymous_burst=10,
    watches_per_client=1,
    body_seconds=1,
    recheck_seconds=0.01,
)


@pytest.fixture
def anonymous() -> Role | None:
    return None


@pytest.fixture
async def guarded(tmp_path: Path, anonymous: Role | None) -> AsyncIterator[GuardedApi]:
    seconds = [0.0]

    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        return AccessControl(
            Tokens(store, clock, [own_token(ADMIN)], BUILDS_OF),
            audit_log(tmp_path, clock),
            anonymous,
            clock=lambda: seconds[0],
        )

    async with serving(LIMITS, guard=guard, registry_routes=REGISTRY) as api:
        yield GuardedApi(api, tmp_path, seconds)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/version"])
async def test_health_and_version_need_no_token(guarded: GuardedApi, path: str) -> None:
    assert (await guarded.send("", "GET", path)).status == 200


@pytest.mark.parametrize("path", [f"{CORE}/shop/configmaps", "/api", "/apis", "/openapi/v2", "/x"])
async def test_all_else_does(guarded: GuardedApi, path: str) -> None:
    answer = await guarded.send("", "GET", path)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="upwell"'
    assert (answer.json["kind"], answer.json["reason"]) == ("Status", "Unauthorized")


OC = "oc/4.22.0 (linux/amd64) kubernetes/d1b12b6"
KUBECTL = "kubectl/v1.32.4 (linux/amd64) kubernetes/59526cd"


@pytest.mark.parametrize(
    ("agent", "scheme", "advice"),
    [
        (OC, "http", "log in over https://"),
        (KUBECTL, "http", "log in over https://"),
        (f"{KUBECTL[:7]}-1.32.exe{KUBECTL[7:]}", "http", "log in over https://"),
        (OC, "https", "`upwell token create` makes one"),
        ("upwell/1.0", "http", "UPWELL_TOKEN passes it"),
        ("octopus/1.0", "http", "UPWELL_TOKEN passes it"),
    ],
)
async def test_a_client_without_a_token_hears_what_it_can_do(
    guarded: GuardedApi, agent: str, scheme: str, advice: str
) -> None:
    headers = {"User-Agent": agent, "X-Forwarded-Proto": scheme}
    answer = await guarded.api.get(f"{CORE}/shop/configmaps", **headers)
    assert answer.status == 401
    assert answer.json["message"].startswith("no token was sent: ")
    assert advice in answer.json["message"]


@pytest.mark.parametrize(
    "token", ["wrong", "upwell_ci_wrong", "upwell_nobody_x", "upwell__", "ü", "x" * 5000]
)
async def test_a_wrong_token_is_worse_than_none(guarded: GuardedApi, token: str) -> None:
    await guarded.token("ci", "viewer@*")
    headers = {"Authorization": f"Bearer {token}"}
    async with guarded.api.session.get(guarded.api.url + "/apis", headers=headers) as answer:
        assert answer.status == 401
        assert "unknown or has expired" in await answer.text()


async def test_a_role_is_enough_for_what_it_allows(guarded: GuardedApi) -> None:
    token = await guarded.token("ci", "deployer@shop", "viewer@bank")
    created = await guarded.send(token, "POST", f"{CORE}/shop/configmaps", config_map("a"))
    assert created.status == 201
    assert (await guarded.send(token, "GET", f"{CORE}/bank/configmaps")).status == 200
    assert (await guarded.send(token, "GET", "/apis/apps/v1")).status == 200


async def test_a_denial_says_what_is_missing(guarded: GuardedApi) -> None:
    token = await guarded.token("ci", "viewer@prod")
    answer = await guarded.send(token, "POST", f"{BUILDS}/prod/builds", {})
    assert answer.status == 403
    assert answer.json["message"] == (
        "token ci may not create builds in namespace prod: needs role builder there"
    )
    assert answer.json["reason"] == "Forbidden"


async def test_nobody_says_of_their_route_that_it_was_served_for_anothers_host(
    guarded: GuardedApi,
) -> None:
    routes = "/apis/route.openshift.io/v1/namespaces/shop/routes"
    admitted = {"type": "Admitted", "status": "True", "reason": "Admitted"}
    served = {"host": "www.bank.test", "routerName": "upwell", "conditions": [admitted]}
    status = {"ingress": [served]}
    route = {
        "apiVersion": "route.openshift.io/v1",
        "kind": "Route",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"host": "www.bank.test", "to": {"kind": "Service", "name": "web"}},
        "status": status,
    }
    owner = await guarded.token("owner", "admin@shop")
    for step in (
        await guarded.send(owner, "POST", routes, route),
        await guarded.send(owner, "PUT", f"{routes}/web", route),
    ):
        assert step.status < 300, step.text
        assert "ingress" not in step.json.get("status", {}), "what clients say of it is left out"
    refused = await guarded.send(owner, "PUT", f"{routes}/web/status", route)
    assert refused.status == 403
    assert "needs role admin in all namespaces" in refused.text
    assert (await guarded.send(owner, "GET", f"{routes}/web/status")).status == 200
    assert (await guarded.send(ADMIN, "PUT", f"{routes}/web/status", route)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/secrets",
        f"{CORE}/upwell-system/secrets/token-ci",
        f"{CORE}/shop/secrets?watch=true",
        f"{CORE}/%73hop/secrets",
        f"{CORE}/shop/secrets/",
    ],
)
async def test_no_way_leads_a_viewer_to_secrets(guarded: GuardedApi, path: str) -> None:
    token = await guarded.token("ci", "viewer@*")
    assert (await guarded.send(token, "GET", path)).status == 403


async def test_a_token_ends_with_its_secret_or_its_time(guarded: GuardedApi) -> None:
    token = await guarded.token(
        "ci", "viewer@*", expires=datetime(2024, 5, 1, 13, 0, 0, tzinfo=UTC)
    )
    lasting = await guarded.token("cd", "viewer@*")
    assert (await guarded.send(token, "GET", "/apis")).status == 200
    guarded.api.clock.advance(hours=1)
    assert (await guarded.send(token, "GET", "/apis")).status == 401
    assert (await guarded.send(lasting, "GET", "/apis")).status == 200
    await guarded.api.store.delete(Secret, "upwell-system", "token-cd")
    assert (await guarded.send(lasting, "GET", "/apis")).status == 401


async def test_a_secret_of_another_type_is_no_token(guarded: GuardedApi) -> None:
    token = new_token("forged")
    record = TokenRecord("forged", hash_of(token), (parse_grant("admin@*"),))
    await guarded.api.store.create(record.as_secret().model_copy(update={"type": "Opaque"}))
    assert (await guarded.send(token, "GET", "/apis")).status == 401


async def test_a_registry_login_is_a_token_as_password(guarded: GuardedApi) -> None:
    token = await guarded.token("ci", "builder@shop")
    ping = await guarded.api.get("/v2/")
    assert (ping.status, ping.headers["WWW-Authenticate"]) == (401, 'Basic realm="upwell"')
    assert ping.json["errors"][0]["code"] == "UNAUTHORIZED"
    assert (await guarded.login(token, "GET", "/v2/")).text == "ci GET "
    assert (await guarded.login(token, "PUT", "/v2/shop/app/manifests/v1")).status == 200
    assert (await guarded.login(token, "GET", "/v2/upstream/public/x/y/manifests/v1")).status == 200
    assert (await guarded.login(token, "GET", "/v2/upstream/x/y/manifests/v1")).status == 403
    denied = await guarded.login(token, "PUT", "/v2/bank/app/manifests/v1")
    assert (denied.status, denied.json["errors"][0]["code"]) == (403, "DENIED")
    assert "needs role builder there" in denied.json["errors"][0]["message"]
    assert (await guarded.login(token, "GET", "/v2/_catalog")).status == 200  # of what it may pull


async def test_a_password_opens_the_registry_alone(guarded: GuardedApi) -> None:
    # Browsers send a password again by themselves, whoever wrote the page.
    token = await guarded.token("ci", "admin@*")
    assert (await guarded.login(token, "GET", "/v2/")).status == 200
    assert (await guarded.login(token, "GET", "/apis")).status == 401


async def test_blobs_are_mounted_only_from_what_may_be_pulled(guarded: GuardedApi) -> None:
    token = await guarded.token("ci", "builder@shop")
    uploads = "/v2/shop/app/blobs/uploads/"
    own = await guarded.login(token, "POST", f"{uploads}?mount=sha256:1&from=shop/base")
    assert own.text.endswith("mount=sha256:1&from=shop/base")
    foreign = await guarded.login(token, "POST", f"{uploads}?mount=sha256:1&from=bank/secret")
    assert foreign.text == "ci POST "
    copied = await guarded.login(token, "POST", f"{uploads}?mount=sha256:1&from=upstream/h/base")
    assert copied.text == "ci POST "


async def test_a_builds_token_reaches_its_repositories_alone(guarded: GuardedApi) -> None:
    with BUILDS_OF.of_build("shop/web-1", {"upstream/base", "bank/shared"}, "shop/b") as token:
        assert (await guarded.login(token, "GET", "/v2/")).text.startswith("system:build:shop/web")
        for method, path, status in (
            ("PUT", "shop/b/manifests/v", 200),
            ("GET", "shop/b/manifests/v", 200),
            ("GET", "upstream/base/manifests/v", 200),
            ("GET", "bank/shared/manifests/v", 200),
            ("PUT", "bank/shared/manifests/v", 403),
            ("GET", "bank/secret/manifests/v", 403),
            ("GET", "bank/shared-not/manifests/v", 403),
            ("GET", "upstream/other/manifests/v", 403),
            ("PUT", "shop/c/manifests/v", 403),
            ("DELETE", "shop/c/manifests/v", 403),
            ("GET", "_catalog", 200),
        ):
            assert (await guarded.login(token, method, f"/v2/{path}")).status == status, path
        uploads = "/v2/shop/b/blobs/uploads/?mount=sha256:1&from="
        own = await guarded.login(token, "POST", f"{uploads}upstream/base")
        assert own.text.endswith("from=upstream/base")
        assert (await guarded.login(token, "POST", f"{uploads}bank/secret")).text.endswith("POST ")
        assert (await guarded.send(token, "GET", "/apis")).status == 403
        assert (await guarded.send(token, "GET", f"{BUILDS}/shop/builds")).status == 403


async def test_a_builds_token_ends_with_the_build_and_comes_not_back(guarded: GuardedApi) -> None:
    path = "/v2/shop/b/manifests/v"
    with BUILDS_OF.of_build("shop/web-1", (), "shop/b") as first:
        assert (await guarded.login(first, "GET", path)).status == 200
    assert (await guarded.login(first, "GET", path)).status == 401
    with BUILDS_OF.of_build("shop/web-1", (), "shop/b") as second:
        assert (await guarded.login(first, "GET", path)).status == 401
        assert (await guarded.login(second, "GET", path)).status == 200
    with RegistryTokens().of_build("shop/web-1", (), "shop/b") as of_another_process:
        assert (await guarded.login(of_another_process, "GET", path)).status == 401


async def test_the_servers_own_token_pushes_to_one_namespace(guarded: GuardedApi) -> None:
    token = BUILDS_OF.to_push("shop")
    assert (await guarded.login(token, "PUT", "/v2/shop/b/manifests/v")).status == 200
    assert (await guarded.login(token, "GET", "/v2/bank/b/manifests/v")).status == 200
    assert (await guarded.login(token, "PUT", "/v2/bank/b/manifests/v")).status == 403


async def test_the_token_of_workloads_only_pulls(guarded: GuardedApi) -> None:
    token = BUILDS_OF.to_pull()
    assert (await guarded.login(token, "GET", "/v2/bank/b/manifests/v")).status == 200
    assert (await guarded.login(token, "PUT", "/v2/bank/b/manifests/v")).status == 403


async def test_a_builds_token_cannot_be_made_up(guarded: GuardedApi) -> None:
    token = BUILDS_OF.to_push("shop").replace(":shop_", ":bank_")
    assert (await guarded.login(token, "GET", "/v2/")).status == 401
    assert (await guarded.login(RegistryTokens().to_pull(), "GET", "/v2/")).status == 401


async def test_a_client_has_a_rate_of_its_own(guarded: GuardedApi) -> None:
    busy, calm = await guarded.token("busy", "viewer@*"), await guarded.token("calm", "viewer@*")
    codes = [(await guarded.send(busy, "GET", "/apis")).status for _ in range(21)]
    assert codes == [200] * 20 + [429]
    refused = await guarded.send(busy, "GET", "/apis")
    assert refused.headers["Retry-After"] == "1"
    assert refused.json["message"].startswith("token busy sends more than 1 requests per second")
    assert (await guarded.send(calm, "GET", "/apis")).status == 200
    guarded.seconds[0] += 1
    assert (await guarded.send(busy, "GET", "/apis")).status == 200


async def test_webhooks_are_open_and_bounded_by_address(guarded: GuardedApi) -> None:
    codes = [(await guarded.send("", "POST", "/webhooks/registry", {})).status for _ in range(11)]
    assert 429 not in codes[:10]
    assert codes[10] == 429
    assert (await guarded.send("", "GET", "/livez")).status == 200
    assert (await guarded.send(ADMIN, "GET", "/apis")).status == 200


async def test_a_client_has_so_many_watches(guarded: GuardedApi) -> None:
    token = await guarded.token("ci", "viewer@*")
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{guarded.api.url}/api/v1/configmaps?watch=true"
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as first:
        assert first.status == 200
        second = await guarded.send(token, "GET", "/api/v1/configmaps?watch=true")
        assert second.status == 429
        assert "token ci has 1 watches" in second.json["message"]
        assert "Retry-After" in second.headers


async def _until_ended(answer: aiohttp.ClientResponse) -> bytes:
    async with asyncio.timeout(30):
        return await answer.read()


async def test_a_token_has_so_many_connections_wherever_it_is_used(tmp_path: Path) -> None:
    """Its own that are idle give way; when all are in use it is told, and others are served."""

    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        return AccessControl(Tokens(store, clock, [own_token(ADMIN)]), audit_log(tmp_path, clock))

    one = ConnectionLimits(per_principal=1)
    path = "/api/v1/configmaps"
    async with serving(LIMITS, guard=guard, connections=one) as api:
        guarded = GuardedApi(api, tmp_path, [0.0])
        token = await guarded.token("ci", "viewer@*")
        other = await guarded.token("other", "viewer@*")
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(api.url, headers=headers) as first,
            aiohttp.ClientSession(api.url, headers=headers) as second,
        ):
            for session in (first, second):  # the first connection is idle, and gives way
                async with session.get(path) as answer:
                    assert answer.status == 200
            async with first.get(f"{path}?watch=true"), second.get(path) as refused:
                assert refused.status == 429
                assert "token ci uses 1 connections" in (await refused.json())["message"]
                assert (await guarded.send(other, "GET", path)).status == 200
                assert (await guarded.send(ADMIN, "GET", path)).status == 200


@pytest.mark.parametrize("path", ["/api/v1/configmaps?watch=true", "{builds}/log?follow=true"])
async def test_what_runs_ends_with_its_token(guarded: GuardedApi, path: str) -> None:
    made = await guarded.api.store.create(Build(metadata=ObjectMeta(name="b", namespace="shop")))
    await guarded.api.store.update_status(made.with_status(BuildStatus(phase=BuildPhase.RUNNING)))
    guarded.api.logs.sink(made.uid)(b"the build runs\n")
    token = await guarded.token("ci", "viewer@*")
    url = guarded.api.url + path.format(builds=f"{BUILDS}/shop/builds/b")
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
        assert answer.status == 200
        await guarded.api.store.delete(Secret, SYSTEM_NAMESPACE, secret_name("ci"))
        await _until_ended(answer)
    assert guarded.audit(DENIED)[-1]["code"] == 403


async def test_a_watch_ends_when_its_token_loses_the_right_to_it(guarded: GuardedApi) -> None:
    token = await guarded.token("ci", "viewer@*")
    url = f"{guarded.api.url}/api/v1/configmaps?watch=true"
    headers = {"Authorization": f"Bearer {token}"}

    async def grant(*grants: str) -> None:
        record = TokenRecord("ci", hash_of(token), tuple(map(parse_grant, grants)))
        await guarded.api.store.update(record.as_secret())

    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(url) as answer:
            await grant("builder@*")
            await guarded.send(ADMIN, "POST", f"{CORE}/shop/configmaps", config_map("a"))
            assert json.loads(await answer.content.readline())["type"] == "ADDED"
            await grant("builder@shop")
            await _until_ended(answer)
        async with session.get(url) as refused:  # its place among the watches is free again
            assert refused.status == 403


async def test_the_audit_log_says_who_did_what(guarded: GuardedApi) -> None:
    token = await guarded.token("ci", "deployer@shop")
    await guarded.send(token, "POST", f"{CORE}/shop/configmaps", config_map("a", key="hidden"))
    await guarded.send(token, "GET", f"{CORE}/shop/configmaps")
    await guarded.send(token, "GET", f"{CORE}/shop/secrets/s")
    await guarded.send(ADMIN, "GET", f"{CORE}/shop/secrets")
    seen = [
        (line["user"], line["verb"], line["resource"], line["name"], line["code"])
        for line in (*guarded.audit(), *guarded.audit(DENIED))
    ]
    assert seen == [
        ("ci", "create", "configmaps", "a", 201),
        ("system:admin", "list", "secrets", "", 200),
        ("ci", "get", "secrets", "s", 403),
    ]
    first = guarded.audit()[0]
    assert (first["source"], first["namespace"]) == ("127.0.0.1", "shop")
    assert first["time"] == "2024-05-01T12:00:00.000+00:00"
    text = (guarded.folder / "audit.log").read_text()
    assert "hidden" not in text
    assert token not in text
    assert (guarded.folder / "audit.log").stat().st_mode & 0o777 == 0o600


IMPERSONATIONS = ("Impersonate-User", "impersonate-group", "Impersonate-Uid", "Impersonate-Extra-a")


@pytest.mark.parametrize("header", IMPERSONATIONS)
async def test_nobody_acts_as_somebody_else(guarded: GuardedApi, header: str) -> None:
    login = {"Authorization": f"Bearer {ADMIN}", header: "viewer"}
    paths = (f"{CORE}/shop/configmaps", "/v2/shop/app/manifests/1", "/version", "/readyz", "/v2/")
    for path in paths:
        answer = await guarded.api.send("GET", path, **login)
        assert answer.status == 403, path
        assert "impersonation (--as, Impersonate-User) is not supported" in answer.text
        assert "upwell token create" in answer.text
    assert (await guarded.api.get("/apis", **login)).status == 200, "the same for everybody"
    written = await guarded.api.send("POST", f"{CORE}/shop/configmaps", config_map("a"), **login)
    assert (written.status, written.json["reason"]) == (403, "Forbidden")
    assert (await guarded.send(ADMIN, "GET", f"{CORE}/shop/configmaps/a")).status == 404
    denied = guarded.audit(DENIED)
    assert len(denied) == len(paths) + 1
    assert {(line["user"], line["code"]) for line in denied} == {("system:admin", 403)}


async def test_the_secret_of_a_build_webhook_is_not_audited(guarded: GuardedApi) -> None:
    path = f"{BUILDS}/shop/buildconfigs/app/webhooks/verysecret/generic"
    await guarded.send("", "POST", path, {})
    (line,) = guarded.audit(DENIED)
    assert (line["name"], line["subresource"]) == ("app", "webhooks")
    assert "verysecret" not in (guarded.folder / DENIED).read_text()


async def test_a_million_refusals_push_out_nothing_else(guarded: GuardedApi) -> None:
    await guarded.send(ADMIN, "POST", f"{CORE}/shop/configmaps", config_map("a"))
    wide = "%F0%9F%92%A3" * 200
    for _ in range(50):
        await guarded.send("wrong", "DELETE", f"{CORE}/shop/configmaps/{wide}")
    assert [line["name"] for line in guarded.audit()] == ["a"]
    assert len(guarded.audit(DENIED)) == 50


async def test_a_change_is_in_the_log_before_it_is_answered(guarded: GuardedApi) -> None:
    path = f"{CORE}/shop/configmaps"
    await guarded.send(ADMIN, "POST", path, config_map("a"))
    assert [line["name"] for line in guarded.audit()] == ["a"]
    changed = config_map("a") | {"metadata": {"name": "a", "labels": {"team": "x"}}}
    await guarded.send(ADMIN, "PUT", f"{path}/a", changed)
    assert {"path": "metadata.labels.team", "new": '"x"'} in guarded.audit()[-1]["changes"]


async def test_nothing_changes_that_cannot_be_recorded(guarded: GuardedApi) -> None:
    path = f"{CORE}/shop/configmaps"
    await guarded.send(ADMIN, "POST", path, config_map("a"))
    (guarded.folder / "audit.log").rename(guarded.folder / "kept.log")
    (guarded.folder / "audit.log").mkdir()
    unrecorded = await guarded.send(ADMIN, "DELETE", f"{path}/a")
    assert unrecorded.status == 500, "the first one finds it out"
    assert "the audit log has no line of it" in unrecorded.text
    refused = await guarded.send(ADMIN, "POST", path, config_map("b"))
    assert refused.status == 503
    assert "audit.log cannot be written" in refused.text
    assert (await guarded.send(ADMIN, "GET", path)).status == 200, "reading goes on"
    assert "b" not in (await guarded.send(ADMIN, "GET", path)).text.partition("items")[2]

    (guarded.folder / "audit.log").rmdir()
    assert (await guarded.send(ADMIN, "POST", path, config_map("b"))).status == 201
    assert [line["name"] for line in guarded.audit()] == ["b"]


class TestAnonymousViewers:
    @pytest.fixture
    def anonymous(self) -> Role | None:
        return Role.VIEWER

    async def test_everyone_may_look_and_nothing_else(self, guarded: GuardedApi) -> None:
        assert (await guarded.send("", "GET", f"{CORE}/shop/configmaps")).status == 200
        assert (await guarded.send("", "GET", f"{CORE}/shop/secrets")).status == 401
        created = await guarded.send("", "POST", f"{CORE}/shop/configmaps", config_map("a"))
        assert created.status == 401


async def test_a_websocket_goes_through_the_same_door(tmp_path: Path) -> None:
    store, clock = MemoryStore(ApiClock()), ApiClock()
    served: list[str] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        served.append(scope["user"].username)
        await send({"type": "websocket.accept"})

    control = AccessControl(
        Tokens(store, clock, [own_token(ADMIN)]),
        audit_log(tmp_path, clock),
    )
    gate = AuthMiddleware(app, control, LIMITS)

    async def knock(token: str, path: str) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        headers = [(b"authorization", f"Bearer {token}".encode())]
        scope = {"type": "websocket", "path": path, "headers": headers, "query_string": b""}
        await gate(scope, receive, send)
        return sent

    exec_path = "/apis/apps/v1/namespaces/shop/deployments/web/exec"
    (refused,) = await knock("wrong", exec_path)
    assert (refused["type"], refused["code"]) == ("websocket.close", 1008)
    assert served == []
    assert await knock(ADMIN, exec_path) == [{"type": "websocket.accept"}]
    assert served == ["system:admin"]
    for name, code in ((DENIED, 401), ("audit.log", 101)):
        (line,) = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        assert (line["code"], line["subresource"]) == (code, "exec")


async def test_a_websocket_is_closed_when_its_token_is_gone(tmp_path: Path) -> None:
    store, clock = MemoryStore(ApiClock()), ApiClock()
    token = new_token("ci")
    record = TokenRecord("ci", hash_of(token), (parse_grant("admin@*"),))
    await store.create(record.as_secret())
    stopped: list[str] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await store.delete(Secret, SYSTEM_NAMESPACE, secret_name("ci"))
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append("ci")

    control = AccessControl(Tokens(store, clock), audit_log(tmp_path, clock))
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    path = "/apis/apps/v1/namespaces/shop/deployments/web/exec"
    headers = [(b"authorization", f"Bearer {token}".encode())]
    scope = {"type": "websocket", "path": path, "headers": headers, "query_string": b""}
    async with asyncio.timeout(30):
        await AuthMiddleware(app, control, LIMITS)(scope, receive, send)
    assert stopped == ["ci"]
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert (sent[1]["code"], sent[1]["reason"]) == (1008, "the token does not allow this any more")


async def test_following_a_tag_of_another_namespace_needs_the_right_to_read_it(
    guarded: GuardedApi,
) -> None:
    token = await guarded.token("ci", "builder@shop")
    streams = "/apis/image.openshift.io/v1/namespaces/shop"
    source = {"kind": "ImageStreamTag", "name": "base:1", "namespace": "vendor"}
    metadata = {"name": "base", "labels": {"team": "shop"}}
    document = {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": metadata,
        "spec": {"tags": [{"name": "1", "from": source}]},
    }
    refused = await guarded.send(token, "POST", f"{streams}/imagestreams", document)
    assert (refused.status, refused.json["reason"]) == (403, "Forbidden")
    assert refused.json["message"] == (
        "token ci may not write ImageStream shop/base: it takes images from ImageStream"
        " vendor/base, and get imagestreams in namespace vendor needs role viewer there"
    )
    tag = {"tag": {"from": source}}
    assert (
        await guarded.send(token, "PUT", f"{streams}/imagestreamtags/base:1", tag)
    ).status == 403

    assert (await guarded.send(ADMIN, "POST", f"{streams}/imagestreams", document)).status == 201
    metadata["labels"] = {"team": "other"}
    changed = await guarded.send(token, "PUT", f"{streams}/imagestreams/base", document)
    assert changed.status == 200, "what an admin has let in stays"
    both = await guarded.token("both", "builder@shop", "viewer@vendor")
    assert (await guarded.send(both, "PUT", f"{streams}/imagestreamtags/own:1", tag)).status == 200


async def test_the_own_users_token_is_replaced_while_the_server_runs(tmp_path: Path) -> None:
    path, new = "/apis/upwell.dev/v1alpha1/admintokenrotations", new_token("admin")
    body = {"apiVersion": "upwell.dev/v1alpha1", "kind": "AdminTokenRotation"}

    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        tokens = Tokens(store, clock, [own_token(ADMIN)])

        async def rotate() -> None:
            tokens.replace_own(new)

        return AccessControl(tokens, audit_log(tmp_path, clock), rotate_admin=rotate)

    async with serving(LIMITS, guard=guard) as api:
        guarded = GuardedApi(api, tmp_path, [0.0])
        viewer = await guarded.token("viewer", "viewer@*")
        assert (await guarded.send(viewer, "POST", path, body)).status == 403
        answer = await guarded.send(ADMIN, "POST", path, body)
        assert answer.status == 201
        assert new not in answer.text
        assert (await guarded.send(ADMIN, "GET", f"{CORE}/shop/secrets")).status == 401
        assert (await guarded.send(new, "GET", f"{CORE}/shop/secrets")).status == 200
