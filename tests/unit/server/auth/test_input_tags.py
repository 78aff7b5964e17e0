"""Rights in the embedded registry: tags of builds' inputs, and what the catalog lists."""

from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.support.registry.hosted_images import push
from tests.support.server.api_server import ApiClock, serving
from tests.support.server.audit_logs import audit_log

from upwell.policy.access.roles import parse_grant
from upwell.registry.embedded import EmbeddedRegistry
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.tokens import (
    RegistryTokens,
    TokenRecord,
    Tokens,
    hash_of,
    new_token,
    own_token,
)
from upwell.server.distribution.routes import create_routes
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore

TAG = f"inputs-{'0' * 40}"


async def _taken(_request: Request) -> Response:
    return Response(status_code=201)


@pytest.mark.parametrize(
    ("who", "tag", "status"),
    [
        ("builder", TAG, 403),
        ("admin", TAG, 403),
        ("builder", "latest", 201),
        ("build", TAG, 201),
        ("build", f"inputs-{'1' * 40}", 403),
        ("another build", TAG, 403),
        ("server", TAG, 201),
    ],
)
async def test_a_build_alone_sets_them(tmp_path: Path, who: str, tag: str, status: int) -> None:
    builds, own, builder = RegistryTokens(), new_token("root"), new_token("ann")
    record = TokenRecord("ann", hash_of(builder), (parse_grant("builder@a"),))
    own_build = builds.of_build("a/app-1", (), "a/app", TAG)
    another = builds.of_build("a/custom-1", (), "a/app", f"inputs-{'2' * 40}")

    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        kept = Tokens(store, clock, [own_token(own)], builds)
        return AccessControl(kept, audit_log(tmp_path, clock))

    route = Route("/v2/{path:path}", _taken, methods=["PUT"])
    async with serving(ServerLimits(), guard=guard, registry_routes=[route]) as api:
        await api.store.create(record.as_secret())
        with own_build as build, another as other_build:
            token = {
                "builder": builder,
                "admin": own,
                "build": build,
                "another build": other_build,
                "server": builds.to_push("a"),
            }[who]
            headers = {"Authorization": f"Bearer {token}"}
            answer = await api.send("PUT", f"/v2/a/app/manifests/{tag}", b"{}", **headers)
            assert answer.status == status, answer.text
            by_digest = f"/v2/a/app/manifests/sha256:{'0' * 64}?tag=other&tag={tag}"
            answer = await api.send("PUT", by_digest, b"{}", **headers)
            assert answer.status == status, answer.text


async def test_the_catalog_has_what_the_client_may_pull(tmp_path: Path) -> None:
    ann = new_token("ann")
    record = TokenRecord("ann", hash_of(ann), (parse_grant("viewer@shop"),))
    registry = EmbeddedRegistry(tmp_path / "registry", "registry.test")
    builds = RegistryTokens()
    for name in ("bank/app", "shop/app", "shop/web"):
        await push(registry, name)

    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        return AccessControl(Tokens(store, clock, (), builds), audit_log(tmp_path, clock))

    async with serving(ServerLimits(), guard=guard, registry_routes=create_routes(registry)) as api:
        await api.store.create(record.as_secret())
        with builds.of_build("shop/web-1", {"bank/app"}, None) as build:
            for token, found in ((ann, ["shop/app", "shop/web"]), (build, ["bank/app"])):
                headers = {"Authorization": f"Bearer {token}"}
                answer = await api.send("GET", "/v2/_catalog", **headers)
                assert answer.json == {"repositories": found}


@pytest.mark.parametrize(
    ("copy", "pulled"),
    [
        ("upstream/public/vendor.example/base", 200),
        ("upstream/vendor.example/base", 403),
        ("upstream/private/shop/vendor.example/base", 403),
        ("upstream/private/bank/vendor.example/base", 403),
    ],
)
async def test_public_copies_are_pulled_by_digest_and_others_by_a_role_alone(
    tmp_path: Path, copy: str, pulled: int
) -> None:
    shop, every = new_token("ann"), new_token("bob")
    records = [
        TokenRecord("ann", hash_of(shop), (parse_grant("builder@shop"),)),
        TokenRecord("bob", hash_of(every), (parse_grant("viewer@*"),)),
    ]
    registry = EmbeddedRegistry(tmp_path / "registry", "registry.test")
    await push(registry, "shop/app")
    digest = await push(registry, copy)

    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        return AccessControl(Tokens(store, clock, ()), audit_log(tmp_path, clock))

    async with serving(ServerLimits(), guard=guard, registry_routes=create_routes(registry)) as api:
        for record in records:
            await api.store.create(record.as_secret())
        for token, found, status in ((shop, ["shop/app"], 403), (every, ["shop/app", copy], 200)):
            headers = {"Authorization": f"Bearer {token}"}
            catalog = await api.send("GET", "/v2/_catalog", **headers)
            assert catalog.json == {"repositories": found}
            tags = await api.send("GET", f"/v2/{copy}/tags/list", **headers)
            assert tags.status == status, tags.text
            answer = await api.send("GET", f"/v2/{copy}/manifests/{digest}", **headers)
            assert answer.status == (pulled if token == shop else 200), answer.text
