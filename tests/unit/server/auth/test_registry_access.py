"""Tokens that registry clients get for their login, for some repositories and minutes."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.support.server.api_server import Api, ApiAnswer, ApiClock, serving
from tests.support.server.audit_logs import audit_lines, audit_log

from upwell.audit.log import AuditFiles
from upwell.policy.access.roles import Role, parse_grant
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.registry_access import LIFETIME, RegistryAccessTokens
from upwell.server.auth.tokens import RegistryTokens, TokenRecord, Tokens, hash_of, new_token
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore

MANIFEST = "manifests/v1"


async def _served(_request: Request) -> Response:
    return Response(status_code=200)


@dataclass
class TokenClient:
    api: Api
    login: str
    seconds: list[float]

    async def token(self, *scopes: str, login: str = "") -> str:
        basic = base64.b64encode(f"ann:{login or self.login}".encode()).decode()
        query = urlencode([("service", "upwell"), *(("scope", scope) for scope in scopes)])
        answer = await self.api.send("GET", f"/v2/auth?{query}", Authorization=f"Basic {basic}")
        assert answer.status == 200, answer.text
        return str(answer.json["token"])

    async def ask(self, token: str, method: str, path: str) -> ApiAnswer:
        return await self.api.send(method, path, Authorization=f"Bearer {token}")


@pytest.fixture(params=[None])
async def client(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[TokenClient]:
    """A client of a server that gives those without a login no role, or the parameter's."""
    login, seconds = new_token("ann"), [0.0]
    record = TokenRecord("ann", hash_of(login), (parse_grant("builder@shop"),))

    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        return AccessControl(
            Tokens(store, clock, (), RegistryTokens()),
            audit_log(tmp_path, clock),
            registry_tokens=RegistryAccessTokens(lambda: seconds[0]),
            anonymous=request.param,
        )

    route = Route("/v2/{path:path}", _served, methods=["GET", "PUT", "DELETE"])
    async with serving(ServerLimits(), guard=guard, registry_routes=[route]) as api:
        await api.store.create(record.as_secret())
        yield TokenClient(api, login, seconds)


async def test_a_token_gives_what_was_asked_for_and_no_more_than_the_login(
    client: TokenClient,
) -> None:
    token = await client.token("repository:shop/app:pull", "repository:bank/app:pull,push")
    for method, path, status in (
        ("GET", "/v2/", 200),
        ("GET", f"/v2/shop/app/{MANIFEST}", 200),
        ("PUT", f"/v2/shop/app/{MANIFEST}", 401),  # the login has the right: another token will do
        ("GET", f"/v2/shop/web/{MANIFEST}", 401),
        ("GET", f"/v2/bank/app/{MANIFEST}", 403),
        ("PUT", f"/v2/bank/app/{MANIFEST}", 403),
        ("GET", "/apis", 401),
        ("GET", "/v2/auth", 401),
    ):
        assert (await client.ask(token, method, path)).status == status, (method, path)


@pytest.mark.parametrize("client", [Role.VIEWER], indirect=True)
async def test_who_has_no_login_gets_what_everyone_may_do_and_who_has_one_may_push(
    client: TokenClient,
) -> None:
    """As containers/image and distribution's clients do: they log in if this path asks for it."""
    api = client.api
    async with api.session.get(f"{api.url}/v2/") as answer:
        assert answer.status == 401
        [challenge] = answer.headers.getall("WWW-Authenticate")
    assert challenge == f'Bearer realm="{api.url}/v2/auth",service="upwell"'

    scope = "scope=repository:shop/app:pull,push"
    anonymous = (await api.send("GET", f"/v2/auth?service=upwell&{scope}")).json["token"]
    own = await client.token("repository:shop/app:pull,push")
    for token, method, path, status in (
        (anonymous, "GET", "/v2/", 200),
        (anonymous, "GET", f"/v2/shop/app/{MANIFEST}", 200),
        (anonymous, "GET", f"/v2/bank/app/{MANIFEST}", 401),  # the token is for another one
        (anonymous, "PUT", f"/v2/shop/app/{MANIFEST}", 403),
        (anonymous, "GET", "/api/v1/namespaces/shop/configmaps", 401),
        (own, "PUT", f"/v2/shop/app/{MANIFEST}", 200),
    ):
        assert (await client.ask(token, method, path)).status == status, (method, path)
    assert (await api.send("GET", f"/v2/shop/app/{MANIFEST}")).status == 200  # without any


async def test_challenges_say_where_and_for_what(client: TokenClient) -> None:
    path = f"/v2/shop/app/{MANIFEST}"
    async with client.api.session.put(client.api.url + path) as answer:
        basic, bearer = answer.headers.getall("WWW-Authenticate")
    assert basic == 'Basic realm="upwell"'
    scope = 'service="upwell",scope="repository:shop/app:pull,push"'
    assert bearer == f'Bearer realm="{client.api.url}/v2/auth",{scope}'
    token = await client.token("repository:shop/app:pull")
    login = {"Authorization": f"Bearer {token}"}
    async with client.api.session.put(client.api.url + path, headers=login) as answer:
        assert 'error="insufficient_scope"' in answer.headers.getall("WWW-Authenticate")[1]


async def test_a_proxy_with_tls_keeps_the_login_off_the_plain_port(client: TokenClient) -> None:
    url, path = client.api.url, f"/v2/shop/app/{MANIFEST}"
    secure = url.replace("http://", "https://", 1)
    for told, address in (("https", secure), ("HTTPS", secure), ("http", url), ("ftp", url)):
        headers = {"X-Forwarded-Proto": told}
        async with client.api.session.get(url + path, headers=headers) as answer:
            bearer = answer.headers.getall("WWW-Authenticate")[1]
        assert bearer.startswith(f'Bearer realm="{address}/v2/auth",'), told


async def test_it_ends_by_time_and_with_the_login(client: TokenClient) -> None:
    path = f"/v2/shop/app/{MANIFEST}"
    token = await client.token("repository:shop/app:*")
    assert (await client.ask(token, "DELETE", path)).status == 200
    client.seconds[0] = LIFETIME
    assert (await client.ask(token, "GET", path)).status == 401
    token = await client.token("repository:shop/app:pull")
    for wrong in (token[:-9] + "AAAAAAAA=", "upwell-registry_", "upwell-registry_ü"):
        assert (await client.ask(wrong.encode().decode("latin-1"), "GET", path)).status == 401
    kept = TokenRecord("ann", hash_of(client.login), ()).as_secret()
    await client.api.store.delete(type(kept), kept.namespace, kept.name)
    assert (await client.ask(token, "GET", path)).status == 401


async def test_a_login_in_a_form_will_do(client: TokenClient) -> None:
    url, scope = client.api.url + "/v2/auth", "repository:shop/app:pull repository:bank/app:pull"
    form = {"grant_type": "password", "username": "ann", "scope": scope, "access_type": "offline"}
    async with client.api.session.post(url, data={**form, "password": client.login}) as answer:
        found = await answer.json()
    assert (found["scope"], found["expires_in"]) == ("repository:shop/app:pull", LIFETIME)
    again = {"grant_type": "refresh_token", "refresh_token": found["refresh_token"]}
    async with client.api.session.post(url, data={**again, "scope": scope}) as answer:
        token = (await answer.json())["access_token"]
    assert (await client.ask(token, "GET", f"/v2/shop/app/{MANIFEST}")).status == 200
    for wrong in ("", "upwell_ann_wrong", token):
        async with client.api.session.post(url, data={**form, "password": wrong}) as answer:
            assert answer.status == 401


def lines(folder: Path) -> list[tuple[str, int, dict[str, str]]]:
    return [
        (line["user"], line["code"], line.get("annotations", {}))
        for line in audit_lines(folder)
        if line["resource"] == "registrytokens"
    ]


async def test_a_token_has_a_line_once_in_its_time_and_what_is_refused_always(
    client: TokenClient, tmp_path: Path
) -> None:
    given = ("ann", 200, {"upwell.dev/scope": "repository:shop/app:pull"})
    for _ in range(3):
        await client.token("repository:shop/app:pull")
    assert lines(tmp_path) == [given]
    for _ in range(2):
        await client.token("repository:shop/app:pull", "repository:bank/app:pull,push")
    refused = {"upwell.dev/scope-refused": "repository:bank/app:pull,push"}
    denied = ("ann", 200, {**given[2], **refused})
    assert lines(tmp_path) == [given, denied, denied]
    _, denied_file = AuditFiles(tmp_path).paths
    assert denied_file.read_text().count("registrytokens") == 2


async def test_who_is_refused_a_token_has_a_line(client: TokenClient, tmp_path: Path) -> None:
    wrong = base64.b64encode(b"ann:wrong").decode()
    answer = await client.api.send("GET", "/v2/auth", Authorization=f"Basic {wrong}")
    assert answer.status == 401
    form = {"grant_type": "password", "username": "ann", "password": "wrong"}
    async with client.api.session.post(client.api.url + "/v2/auth", data=form) as refused:
        assert refused.status == 401
    assert lines(tmp_path) == [("", 401, {}), ("", 401, {})]


async def test_tokens_of_a_login_push_nothing_out_of_the_log(
    client: TokenClient, tmp_path: Path
) -> None:
    for number in range(100):
        await client.token(f"repository:shop/app-{number}:pull")
    assert 10 < len(lines(tmp_path)) < 50


async def test_images_are_pulled_while_nothing_can_be_recorded(
    client: TokenClient, tmp_path: Path
) -> None:
    for path in AuditFiles(tmp_path).paths:
        path.mkdir()
    token = await client.token("repository:shop/app:pull")
    assert (await client.ask(token, "GET", f"/v2/shop/app/{MANIFEST}")).status == 200


async def test_no_login_gets_no_token(client: TokenClient) -> None:
    assert (await client.api.get("/v2/auth?scope=repository:shop/app:pull")).status == 401
