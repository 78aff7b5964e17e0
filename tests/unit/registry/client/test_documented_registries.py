"""Answers of each known registry, as documented: logins, errors, limits, pages, uploads."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.support.registry.docker_registry import CONFIG, image_manifest
from tests.support.registry.documented_answers import (
    DOCUMENTED,
    DocumentedAnswer,
    DocumentedBehaviour,
)
from tests.support.registry.logins import OneLogin

from upwell.oci import Descriptor, Digest, Index, MediaType, Reference, parse_manifest
from upwell.outbound.dialing import unrestricted
from upwell.registry.client.auth import basic
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher, once
from upwell.registry.errors import (
    ManifestUnknownError,
    RateLimitedError,
    UnauthorizedError,
)
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess

IMAGE = image_manifest(CONFIG)
REPOSITORY = "team/app"
ENTRY = {"mediaType": str(MediaType.OCI_MANIFEST), "digest": str(IMAGE.digest), "size": 1}
INDEX = parse_manifest(
    json.dumps(
        {"schemaVersion": 2, "mediaType": str(MediaType.OCI_INDEX), "manifests": [ENTRY]}
    ).encode(),
    MediaType.OCI_INDEX,
)


@dataclass
class ScriptedAnswers:
    """One registry on loopback, which answers as `documented`."""

    documented: DocumentedBehaviour
    host: str = ""
    manifest: DocumentedAnswer | None = None
    """Answer to requests for manifests; None: the image."""
    asked: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)

    @property
    def app(self) -> Reference:
        return Reference.parse(f"{self.host}/{REPOSITORY}:1")

    @property
    def access(self) -> RequestAccess:
        login = self.documented.login
        return DEFAULT_ACCESS if login is None else RequestAccess(OneLogin(login))

    def count(self, start: str) -> int:
        return sum(one.startswith(start) for one in self.asked)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        known = self.documented
        if known.realm and request.path == known.realm:
            return await self._token(request)
        if request.headers.get("Authorization") != self._wanted():
            return web.Response(status=401, text=known.unauthorized, headers=self._challenge())
        return await self._content(request)

    async def _content(self, request: web.Request) -> web.StreamResponse:
        if "/manifests/" in request.path:
            return self._manifest(request)
        if request.path.endswith("/tags/list"):
            return self._tags(request)
        await request.read()
        match request.method:
            case "POST":
                location = self._filled(self.documented.upload)
                return web.Response(status=202, headers={"Location": location})
            case "PUT":
                return web.Response(status=201)
            case "DELETE":
                return web.Response(status=204)
        return self._recorded(self.documented.referrers)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        login = self.documented.login
        if login is not None and login.identity_token:
            self.forms.append({name: str(text) for name, text in (await request.post()).items()})
            if self.forms[-1].get("refresh_token") != login.identity_token:
                return web.Response(status=400, text='{"error": "invalid_grant"}')
        elif request.headers.get("Authorization") != basic(login):
            return web.Response(status=401, text=self.documented.unauthorized)
        return web.json_response(dict(self.documented.token))

    def _wanted(self) -> str | None:
        if not self.documented.realm:
            return basic(self.documented.login)
        token = self.documented.token
        return f"Bearer {token.get('token') or token['access_token']}"

    def _challenge(self) -> dict[str, str]:
        known = self.documented
        if not known.realm:
            return {
                "WWW-Authenticate": f'Basic realm="http://{self.host}/",service="{known.service}"'
            }
        scope = f',scope="repository:{REPOSITORY}:pull"' if known.challenge_scope else ""
        realm = f'realm="http://{self.host}{known.realm}"'
        return {"WWW-Authenticate": f'Bearer {realm},service="{known.service}"{scope}'}

    def _manifest(self, request: web.Request) -> web.StreamResponse:
        target = request.path.rpartition("/")[2]
        if self.manifest is not None:
            return self._recorded(self.manifest)
        found = INDEX if target in {str(INDEX.digest), self._tag_of_index()} else IMAGE
        if target.startswith("sha256-") and found is not INDEX:
            return self._recorded(self.documented.missing)
        headers = dict(self.documented.headers)
        if self.documented.tells_digest:
            headers["Docker-Content-Digest"] = str(found.digest)
        return web.Response(body=found.raw, content_type=str(found.media_type), headers=headers)

    def _tag_of_index(self) -> str:
        return f"sha256-{INDEX.digest.hex}" if self.documented.tag_is_digest else ""

    def _tags(self, request: web.Request) -> web.StreamResponse:
        if "last" in request.query or "next_page" in request.query:
            return web.json_response({"name": REPOSITORY, "tags": ["c"]})
        headers = {"Link": self._filled(self.documented.next_page)}
        return web.json_response({"name": REPOSITORY, "tags": ["a", "b"]}, headers=headers)

    def _recorded(self, recorded: DocumentedAnswer) -> web.Response:
        return web.Response(status=recorded.status, text=recorded.body, headers=recorded.headers)

    def _filled(self, text: str) -> str:
        return text.replace("{host}", self.host).replace("{repository}", REPOSITORY)


@asynccontextmanager
async def scripted(documented: DocumentedBehaviour) -> AsyncIterator[ScriptedAnswers]:
    answers = ScriptedAnswers(documented)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answers.answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        answers.host = f"127.0.0.1:{server.port}"
        yield answers
    finally:
        await server.close()


@pytest.fixture(params=DOCUMENTED, ids=lambda one: one.name)
async def registry(request: pytest.FixtureRequest) -> AsyncIterator[ScriptedAnswers]:
    async with scripted(request.param) as answers:
        yield answers


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with RegistryClient(unrestricted()) as client:
        yield client


async def test_an_image_is_found_with_one_challenge(
    registry: ScriptedAnswers, client: RegistryClient
) -> None:
    for _ in range(3):
        assert (await client.resolve(registry.app, registry.access)).digest == IMAGE.digest
    realm = registry.documented.realm
    tokens = registry.count(f"GET {realm}?") + registry.count(f"POST {realm}") if realm else 0
    assert tokens == (1 if realm else 0)
    per_look = 1 if registry.documented.tells_digest else 2
    assert registry.count("HEAD /v2/") + registry.count("GET /v2/team/") == 1 + 3 * per_look
    for form in registry.forms:
        assert form["service"] == registry.documented.service
        assert form["scope"] == f"repository:{REPOSITORY}:pull"


async def test_a_missing_image_is_unknown(
    registry: ScriptedAnswers, client: RegistryClient
) -> None:
    registry.manifest = registry.documented.missing
    with pytest.raises(ManifestUnknownError):
        await client.resolve(registry.app, registry.access)


async def test_a_limit_is_kept_for_as_long_as_it_says(
    registry: ScriptedAnswers, client: RegistryClient
) -> None:
    registry.manifest = registry.documented.limited
    with pytest.raises(RateLimitedError) as caught:
        await client.resolve(registry.app, registry.access)
    pause = registry.documented.pause
    assert caught.value.retry_after == pytest.approx(pause or 1.75, abs=0.3 + pause / 50)
    asked = len(registry.asked)
    with pytest.raises(RateLimitedError):
        await client.tags(registry.app, registry.access)
    assert len(registry.asked) == asked


async def test_all_pages_of_tags_are_read(
    registry: ScriptedAnswers, client: RegistryClient
) -> None:
    assert await client.tags(registry.app, registry.access) == ("a", "b", "c")


async def test_what_nobody_refers_to_has_no_referrers(
    registry: ScriptedAnswers, client: RegistryClient
) -> None:
    index = registry.app.with_digest(INDEX.digest)
    assert isinstance(await client.manifest(index, registry.access), Index)
    assert await client.referrers_of(index, registry.access) == ()


async def test_an_upload_goes_where_the_registry_says(
    registry: ScriptedAnswers, client: RegistryClient
) -> None:
    blob = Descriptor("application/octet-stream", Digest.of(CONFIG), len(CONFIG))
    pusher = RegistryPusher(client.connection)
    await pusher.push_blob(registry.app, blob, lambda: once(CONFIG), registry.access)
    path = registry.documented.upload.replace("http://{host}", "")
    path = path.replace("{repository}", REPOSITORY)
    joined = "&" if "?" in path else "?"
    digest = str(blob.digest).replace(":", "%3A")
    assert f"PUT {path}{joined}digest={digest}" in registry.asked
    assert not await pusher.mount(registry.app, blob.digest, "base/os", registry.access)
    assert f"DELETE {path}" in registry.asked


async def test_an_expired_password_is_named(client: RegistryClient) -> None:
    message = "Your authorization token has expired. Reauthenticate and try again."
    denied = DocumentedAnswer(403, json.dumps({"errors": [{"code": "DENIED", "message": message}]}))
    async with scripted(next(one for one in DOCUMENTED if one.name == "ECR")) as registry:
        registry.manifest = denied
        with pytest.raises(UnauthorizedError) as caught:
            await client.manifest(registry.app, registry.access)
    assert message in str(caught.value)
