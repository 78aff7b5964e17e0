"""Requests that the client costs a registry, and settings that other tools read as it does."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.support.registry.docker_registry import docker_registry, image_manifest, push_image

from upwell.oci import Reference
from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient
from upwell.registry.errors import BlockedError
from upwell.registry.hosts import RegistryHost, RegistryHosts, RegistryLimits

IMAGE = image_manifest()


@dataclass
class TokenRegistry:
    """Registry and token server in one; every token is good for its own repository only."""

    host: str = ""
    requests: list[str] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    most_at_once: int = 0
    revoked: set[str] = field(default_factory=set)
    _open: int = 0
    _tokens: int = 0

    async def token(self, request: web.Request) -> web.Response:
        self.requests.append(f"token {' '.join(request.query.getall('scope'))}")
        self._tokens += 1
        name = request.query["scope"].split(":")[1]
        return web.json_response({"token": f"{name}#{self._tokens}", "expires_in": 300})

    async def manifest(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.requests.append(f"{request.method} {name}")
        self.connections.add(request.transport)
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        await asyncio.sleep(0)
        self._open -= 1
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if bearer.partition("#")[0] != name or bearer in self.revoked:
            realm = f'Bearer realm="http://{self.host}/token",service="s"'
            scope = f'scope="repository:{name}:pull"'
            # With a length, as every registry states one: a connection without is closed.
            return web.Response(
                status=401, body=b"{}", headers={"WWW-Authenticate": f"{realm},{scope}"}
            )
        headers = {"Docker-Content-Digest": str(IMAGE.digest), "Content-Type": IMAGE.media_type}
        return web.Response(body=IMAGE.raw, headers=headers)


@asynccontextmanager
async def token_registry() -> AsyncIterator[TokenRegistry]:
    registry = TokenRegistry()
    app = web.Application()
    app.router.add_get("/token", registry.token)
    app.router.add_get("/v2/{name:.+}/manifests/{target}", registry.manifest)
    async with TestServer(app, host="127.0.0.1") as server:
        registry.host = f"127.0.0.1:{server.port}"
        yield registry


async def test_one_head_per_resolve_once_the_registry_is_known() -> None:
    async with token_registry() as registry, RegistryClient(unrestricted()) as client:
        for name in ("a", "a", "a", "b", "b"):
            reference = Reference.parse(f"{registry.host}/team/{name}:1")
            assert (await client.resolve(reference)).digest == IMAGE.digest
    assert registry.requests == [
        "HEAD team/a",
        "token repository:team/a:pull",
        "HEAD team/a",
        "HEAD team/a",
        "HEAD team/a",
        "token repository:team/b:pull",
        "HEAD team/b",
        "HEAD team/b",
    ]
    assert len(registry.connections) == 1


async def test_a_revoked_token_is_renewed_within_the_request() -> None:
    async with token_registry() as registry, RegistryClient(unrestricted()) as client:
        reference = Reference.parse(f"{registry.host}/team/a:1")
        await client.resolve(reference)
        registry.revoked.add("team/a#1")
        registry.requests.clear()
        assert (await client.resolve(reference)).digest == IMAGE.digest
    assert registry.requests == ["HEAD team/a", "token repository:team/a:pull", "HEAD team/a"]


async def test_many_at_once_share_a_token_and_keep_to_the_limit() -> None:
    async with token_registry() as registry:
        hosts = RegistryHosts([RegistryHost(registry.host, limits=RegistryLimits(5))])
        async with RegistryClient(unrestricted(), hosts) as client:
            reference = Reference.parse(f"{registry.host}/team/a:1")
            await asyncio.gather(*(client.resolve(reference) for _ in range(50)))
    assert registry.requests.count("token repository:team/a:pull") == 1
    assert registry.most_at_once <= 5
    assert len(registry.connections) <= 5


async def test_a_blocked_registry_hears_nothing() -> None:
    async with token_registry() as registry:
        hosts = RegistryHosts([RegistryHost(registry.host, blocked=True)])
        async with RegistryClient(unrestricted(), hosts) as client:
            with pytest.raises(BlockedError):
                await client.resolve(Reference.parse(f"{registry.host}/team/a:1"))
    assert registry.requests == []


async def test_the_rendered_settings_lead_other_tools_to_the_same_place(tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo: apt install skopeo")
    async with docker_registry(tmp_path) as registry:
        image = await push_image(registry, "hub/library/app", "1")
        hosts = RegistryHosts(
            [RegistryHost("docker.io", location=f"{registry}/hub"), RegistryHost("*.x.test")]
        )
        conf = tmp_path / "registries.conf"
        conf.write_text(hosts.render_registries_conf())
        async with RegistryClient(unrestricted(), hosts) as client:
            ours = await client.manifest(Reference.parse("app:1"))
        process = await asyncio.create_subprocess_exec(
            "skopeo",
            f"--registries-conf={conf}",
            "inspect",
            "--raw",
            "docker://docker.io/library/app:1",
            stdout=asyncio.subprocess.PIPE,
        )
        theirs, _ = await process.communicate()
    assert theirs == ours.raw == image.raw
    assert json.loads(theirs)["schemaVersion"] == 2
