"""Registries that are down, slow, limiting, lying, endless or elsewhere: each on loopback."""

import asyncio
import gzip
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.support.ports import free_port
from tests.support.registry.docker_registry import CONFIG, image_manifest
from tests.support.registry.logins import OneLogin

from upwell.oci import Digest, Reference
from upwell.outbound.dialing import unrestricted
from upwell.registry.budget import MOST_UNANSWERED
from upwell.registry.client.auth import basic
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.transport import Timeouts
from upwell.registry.errors import (
    DigestMismatchError,
    InvalidAnswerError,
    ManifestUnknownError,
    RateLimitedError,
    RegistryError,
    RegistryRejectedError,
    RegistryUnavailableError,
    RepositoryUnknownError,
    UnauthorizedError,
)
from upwell.registry.hosts import RegistryHost, RegistryHosts, RegistryLimits
from upwell.registry.interface import Credential, RequestAccess

IMAGE = image_manifest()
FAST = Timeouts(connect=2.0, answer=0.5, idle=0.3, blob=1.0)
ALICE = Credential("alice", "hunter2")

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class ScriptedRegistry:
    """A loopback server that answers with `handler` and records what it was asked."""

    handler: Handler
    host: str = ""
    requests: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        self.authorizations.append(request.headers.get("Authorization"))
        return await self.handler(request)

    @property
    def port(self) -> int:
        return int(self.host.rpartition(":")[2])

    @property
    def app(self) -> Reference:
        return Reference.parse(f"{self.host}/team/app:1")


@asynccontextmanager
async def serving(
    handler: Handler, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedRegistry]:
    registry = ScriptedRegistry(handler)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.handle)
    server = TestServer(app, host="127.0.0.1", scheme="https" if tls else "http")
    await server.start_server(ssl=tls)
    try:
        registry.host = f"127.0.0.1:{server.port}"
        yield registry
    finally:
        await server.close()


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with RegistryClient(unrestricted(), timeouts=FAST) as client:
        yield client


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Handler:
    async def handle(_request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named)

    return handle


def manifest_answer(**headers: str) -> Handler:
    return answer(200, IMAGE.raw, Content_Type=IMAGE.media_type, **headers)


async def failure(client: RegistryClient, registry: ScriptedRegistry) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        await client.resolve(registry.app)
    return caught.value


async def test_a_registry_that_is_down(client: RegistryClient) -> None:
    reference = Reference.parse(f"127.0.0.1:{free_port()}/team/app:1")
    with pytest.raises(RegistryUnavailableError) as caught:
        await client.resolve(reference)
    assert caught.value.retryable


@pytest.mark.parametrize("host", ["a..b", "localhost:99999", f"{'a' * 64}.test"])
async def test_hosts_that_cannot_exist(client: RegistryClient, host: str) -> None:
    with pytest.raises(RegistryUnavailableError):
        await client.resolve(Reference.parse(f"{host}/team/app:1"))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, RegistryRejectedError),
        (401, UnauthorizedError),
        (403, UnauthorizedError),
        (404, ManifestUnknownError),
        (408, RegistryUnavailableError),
        (418, RegistryRejectedError),
        (429, RateLimitedError),
        (500, RegistryUnavailableError),
        (502, RegistryUnavailableError),
        (503, RegistryUnavailableError),
        (204, InvalidAnswerError),
        (304, InvalidAnswerError),
        (300, InvalidAnswerError),
    ],
)
@pytest.mark.parametrize("operation", ["resolve", "manifest", "tags"])
async def test_every_status_with_a_page_of_html(
    client: RegistryClient, operation: str, status: int, expected: type[RegistryError]
) -> None:
    page = answer(status, b"" if status in {204, 304} else b"<html>\xff</html>")
    if operation == "tags" and status == 404:
        expected = RepositoryUnknownError
    async with serving(page) as registry:
        with pytest.raises(expected) as caught:
            await getattr(client, operation)(registry.app)
    assert "html" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"errors":[{"code":{"secret":1},"message":"hidden"}]}',
        b'{"errors":[{"code":"hidden words","message":"hidden"}]}',
        b'{"errors":[{"code":"DENIED","message":["hidden"]}]}',
        b'{"errors":[{"message":"hidden"}]}',
        b'{"errors":["hidden"]}',
        b'{"errors":{"0":"hidden"}}',
        b"hidden",
    ],
)
async def test_what_is_no_error_of_a_registry_is_not_quoted(
    client: RegistryClient, body: bytes
) -> None:
    async with serving(answer(400, body)) as registry:
        with pytest.raises(RegistryRejectedError, match="HTTP 400") as caught:
            await client.manifest(registry.app)
    assert "hidden" not in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_what_a_redirect_led_to_is_not_quoted(client: RegistryClient) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"hidden"}]}'
    async with (
        serving(answer(400, body)) as other,
        serving(answer(307, Location=f"http://{other.host}/")) as registry,
    ):
        with pytest.raises(RegistryError) as caught:
            await client.manifest(registry.app)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-hidden\r\n",
        b"HTTP/1.1 200 OK\r\nhidden\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhidden\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: hidden\r\n\r\n",
    ],
)
async def test_what_speaks_another_protocol_is_not_quoted(
    client: RegistryClient, sent: bytes
) -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        writer.close()

    listening = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(RegistryError) as caught:
            await client.manifest(Reference.parse(f"127.0.0.1:{port}/team/app:1"))
    assert "hidden" not in str(caught.value)


async def test_the_registry_says_why(client: RegistryClient) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"pay\\nfirst"}]}'
    async with serving(answer(403, body)) as registry:
        with pytest.raises(UnauthorizedError, match="DENIED: pay first"):
            await client.manifest(registry.app)


@pytest.mark.parametrize(
    ("status", "expected"), [(429, RateLimitedError), (503, RegistryUnavailableError)]
)
async def test_a_limit_stops_all_callers_before_they_send(
    client: RegistryClient, status: int, expected: type[RegistryError]
) -> None:
    async with serving(answer(status, Retry_After="600")) as registry:
        first = await failure(client, registry)
        others = await asyncio.gather(
            client.manifest(registry.app),
            client.tags(registry.app),
            client.blob(registry.app, IMAGE.config.digest, 100),
            return_exceptions=True,
        )
    assert registry.requests == ["HEAD /v2/team/app/manifests/1"]
    for error in (first, *others):
        assert isinstance(error, expected)
        assert isinstance(error, RegistryError)
        assert error.retry_after == pytest.approx(600, abs=2)
    assert client.connection.budget.closings() == {registry.host: True}


async def test_the_client_asks_again_once_the_pause_is_over() -> None:
    now = 1_700_000_000.0
    async with (
        RegistryClient(unrestricted(), clock=lambda: now, jitter=lambda: 0.0) as client,
        serving(answer(429)) as registry,
    ):
        assert (await failure(client, registry)).retry_after == 2
        registry.handler = manifest_answer(Docker_Content_Digest=str(IMAGE.digest))
        assert isinstance(await failure(client, registry), RateLimitedError)
        now += 2
        assert (await client.resolve(registry.app)).digest == IMAGE.digest
    assert len(registry.requests) == 2


async def test_spent_pulls_leave_heads_alone(client: RegistryClient) -> None:
    limited = manifest_answer(
        Docker_Content_Digest=str(IMAGE.digest), ratelimit_remaining="0;w=21600"
    )
    async with serving(limited) as registry:
        await client.resolve(registry.app)
        with pytest.raises(RateLimitedError):
            await client.manifest(registry.app)
        await client.resolve(registry.app)
    assert [request.split()[0] for request in registry.requests] == ["HEAD", "HEAD"]


async def test_nothing_is_repeated_after_an_error(client: RegistryClient) -> None:
    async with serving(answer(500)) as registry:
        await failure(client, registry)
    assert len(registry.requests) == 1


async def test_a_missing_digest_header_costs_one_get(client: RegistryClient) -> None:
    async with serving(manifest_answer()) as registry:
        found = await client.resolve(registry.app)
    assert (found.digest, found.size) == (IMAGE.digest, len(IMAGE.raw))
    assert [request.split()[0] for request in registry.requests] == ["HEAD", "GET"]


async def test_a_registry_without_head(client: RegistryClient) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(status=405)
        return web.Response(body=IMAGE.raw, content_type=IMAGE.media_type)

    async with serving(handle) as registry:
        assert (await client.resolve(registry.app)).digest == IMAGE.digest


async def test_the_accept_header_names_every_type(client: RegistryClient) -> None:
    seen = list[str]()

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Accept"])
        return await manifest_answer()(request)

    async with serving(handle) as registry:
        await client.resolve(registry.app)
    for media_type in (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ):
        assert all(media_type in accept for accept in seen)


async def test_a_wrong_digest_is_never_used(client: RegistryClient) -> None:
    other = Digest.of(b"other")
    async with serving(manifest_answer(Docker_Content_Digest=str(other))) as registry:
        with pytest.raises(DigestMismatchError) as stated:
            await client.manifest(registry.app)
        assert (stated.value.expected, stated.value.actual) == (other, IMAGE.digest)
        with pytest.raises(DigestMismatchError):
            await client.resolve(registry.app.with_digest(IMAGE.digest))
        registry.handler = manifest_answer()
        with pytest.raises(DigestMismatchError):
            await client.manifest(registry.app.with_digest(other))
        with pytest.raises(DigestMismatchError):
            await client.blob(registry.app, other, 10_000)
        received = b""
        with pytest.raises(DigestMismatchError):  # noqa: PT012 - the error comes after the bytes
            async with client.open_blob(registry.app, other) as chunks:
                async for chunk in chunks:
                    received += chunk
        assert received == IMAGE.raw


@pytest.mark.parametrize(
    "garbage",
    [
        answer(200, b"<html>login here</html>", Content_Type="text/html"),
        answer(200, b"\x00\xff" * 100),
        answer(200, b"[" * 100_000),
        answer(200, b'{"schemaVersion": 1}', Content_Type="application/json"),
        manifest_answer(Docker_Content_Digest="sha256:short"),
        answer(200, gzip.compress(IMAGE.raw), Content_Encoding="gzip"),
    ],
)
async def test_garbage_instead_of_a_manifest(client: RegistryClient, garbage: Handler) -> None:
    async with serving(garbage) as registry:
        assert isinstance(await failure(client, registry), InvalidAnswerError)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"tags": 1}', b'{"tags": ["ok", "not a tag"]}', b"7"]
)
async def test_garbage_instead_of_tags(client: RegistryClient, body: bytes) -> None:
    async with serving(answer(200, body)) as registry:
        with pytest.raises(InvalidAnswerError):
            await client.tags(registry.app)


async def test_a_repository_without_tags(client: RegistryClient) -> None:
    async with serving(answer(200, b'{"name": "team/app", "tags": null}')) as registry:
        assert await client.tags(registry.app) == ()


@asynccontextmanager
async def raw_server(reply: bytes) -> AsyncIterator[Reference]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield Reference.parse(f"127.0.0.1:{server.sockets[0].getsockname()[1]}/team/app:1")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"", RegistryUnavailableError),
        (b"SSH-2.0-OpenSSH_9.9\r\n", InvalidAnswerError),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 100_000 + b"\r\n\r\n", InvalidAnswerError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", RegistryUnavailableError),
    ],
)
async def test_what_is_not_http(
    client: RegistryClient, reply: bytes, expected: type[RegistryError]
) -> None:
    async with raw_server(reply) as reference:
        with pytest.raises(expected):
            await client.manifest(reference)


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def dripping(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


async def silent(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (endless, InvalidAnswerError),
        (dripping, RegistryUnavailableError),
        (silent, RegistryUnavailableError),
    ],
)
async def test_bodies_that_never_end(
    client: RegistryClient, handler: Handler, expected: type[RegistryError]
) -> None:
    async with serving(handler) as registry:
        with pytest.raises(expected):
            await client.manifest(registry.app)
        with pytest.raises(expected):
            await client.blob(registry.app, IMAGE.config.digest, 100_000)
        with pytest.raises(expected):
            await client.tags(registry.app)


async def test_an_error_body_without_end_does_not_hide_the_status(client: RegistryClient) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=403)
        await response.prepare(request)
        while True:
            await response.write(b"[" * 65536)

    async with serving(handle) as registry:
        with pytest.raises(UnauthorizedError, match="HTTP 403"):
            await client.manifest(registry.app)


@pytest.mark.parametrize("handler", [silent, dripping])
async def test_a_streamed_blob_that_stalls_ends_in_an_error(
    client: RegistryClient, handler: Handler
) -> None:
    async with serving(handler) as registry:
        with pytest.raises(RegistryUnavailableError):  # noqa: PT012 - opening and reading may both stall
            async with client.open_blob(registry.app, IMAGE.config.digest) as chunks:
                async for _ in chunks:
                    pass


async def test_a_blob_that_comes_byte_by_byte_is_not_waited_for() -> None:
    """A piece now and then is no silence; its place is somebody else's."""
    patient = replace(FAST, idle=60.0, blob=3600.0, pace=0.5, pace_bytes=1000)
    async with (
        RegistryClient(unrestricted(), timeouts=patient) as client,
        serving(dripping) as registry,
        asyncio.timeout(60),
        client.open_blob(registry.app, IMAGE.config.digest) as chunks,
    ):
        with pytest.raises(RegistryUnavailableError, match=r"sent \d+ bytes in \d+ s, too few"):
            _ = [chunk async for chunk in chunks]


async def test_a_callers_own_timeout_stays_the_callers_and_leaves_its_slot() -> None:
    async with serving(answer(200, CONFIG)) as registry:
        host = RegistryHost(registry.host, limits=RegistryLimits(concurrency=1))
        async with RegistryClient(unrestricted(), RegistryHosts([host]), timeouts=FAST) as client:
            with pytest.raises(TimeoutError):
                async with client.open_blob(registry.app, Digest.of(CONFIG)):
                    raise TimeoutError
            async with asyncio.timeout(60):
                assert await client.blob(registry.app, Digest.of(CONFIG), 100) == CONFIG


async def test_a_blob_that_is_left_early_gives_its_slot_back(client: RegistryClient) -> None:
    async with serving(endless) as registry:
        for _ in range(20):  # more than there are slots
            async with client.open_blob(registry.app, Digest.of(CONFIG)) as chunks:
                assert await anext(chunks)


async def test_a_redirect_does_not_carry_the_authorization_to_another_host(
    client: RegistryClient,
) -> None:
    async with serving(answer(200, CONFIG)) as storage:

        async def handle(request: web.Request) -> web.StreamResponse:
            if "Authorization" not in request.headers:
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            return web.Response(
                status=307, headers={"Location": f"http://{storage.host}/signed?key=s"}
            )

        async with serving(handle) as registry:
            access = RequestAccess(OneLogin(ALICE))
            assert await client.blob(registry.app, Digest.of(CONFIG), 1000, access) == CONFIG
            storage.handler = answer(403)
            with pytest.raises(UnauthorizedError) as caught:
                await client.blob(registry.app, Digest.of(CONFIG), 1000, access)

    assert registry.authorizations == [None, basic(ALICE), basic(ALICE)]
    assert storage.authorizations == [None, None]
    assert "signed" not in str(caught.value)


async def test_a_head_that_is_redirected_and_refused_is_asked_with_get(
    client: RegistryClient,
) -> None:
    async def storage_handler(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(status=403)
        return web.Response(body=IMAGE.raw, content_type=IMAGE.media_type)

    async with serving(storage_handler) as storage:
        redirect = answer(307, Location=f"http://{storage.host}/signed-for-get")
        async with serving(redirect) as registry:
            assert (await client.resolve(registry.app)).digest == IMAGE.digest


async def test_a_redirect_loop_ends(client: RegistryClient) -> None:
    async with serving(answer(307, Location="/v2/again")) as registry:
        assert isinstance(await failure(client, registry), InvalidAnswerError)
    assert len(registry.requests) <= 6


async def test_pages_of_tags_are_followed(client: RegistryClient) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        if "last" in request.query:
            return web.json_response({"tags": ["c", "d"]})
        link = "</v2/team/app/tags/list?last=b&n=2>; rel=next"
        return web.json_response({"tags": ["a", "b"]}, headers={"Link": link})

    async with serving(handle) as registry:
        assert await client.tags(registry.app) == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "link", ["</v2/team/app/tags/list?n=1000>; rel=next", "<http://evil.test/v2/>; rel=next"]
)
async def test_pages_of_tags_that_lead_astray(client: RegistryClient, link: str) -> None:
    async with serving(answer(200, b'{"tags": ["a"]}', Link=link)) as registry:
        with pytest.raises(InvalidAnswerError):
            await client.tags(registry.app)
    assert len(registry.requests) == 1


@pytest.mark.parametrize(
    ("token_answer", "expected"),
    [
        (answer(500), RegistryUnavailableError),
        (answer(503), RegistryUnavailableError),
        (answer(429, Retry_After="60"), RateLimitedError),
        (answer(200, b"<html>"), InvalidAnswerError),
        (answer(404), InvalidAnswerError),
        (answer(401), UnauthorizedError),
        (endless, InvalidAnswerError),
        (silent, RegistryUnavailableError),
    ],
)
async def test_token_servers_that_fail(
    client: RegistryClient, token_answer: Handler, expected: type[RegistryError]
) -> None:
    async with serving(token_answer) as tokens:
        challenge = f'Bearer realm="http://{tokens.host}/token",service="s"'
        async with serving(answer(401, WWW_Authenticate=challenge)) as registry:
            with pytest.raises(expected):
                await client.resolve(registry.app, RequestAccess(OneLogin(ALICE)))
    if expected is RateLimitedError:
        assert client.connection.budget.closings() == {registry.host: True}


async def test_a_token_server_that_hangs_closes_the_registry_as_one_that_hangs_itself() -> None:
    fast = Timeouts(connect=2.0, answer=0.1)
    async with RegistryClient(unrestricted(), timeouts=fast) as client, serving(silent) as tokens:
        challenge = f'Bearer realm="http://{tokens.host}/token",service="s"'
        async with serving(answer(401, WWW_Authenticate=challenge)) as registry:
            for _ in range(MOST_UNANSWERED):
                assert client.connection.budget.closed_for(registry.host) == 0
                assert isinstance(await failure(client, registry), RegistryUnavailableError)
            assert client.connection.budget.closed_for(registry.host) > 0
            asked = len(registry.requests)
            assert (await failure(client, registry)).retry_after is not None
            assert len(registry.requests) == asked


@pytest.mark.parametrize("realm", ["ftp://x/token", "token", "https://", "http://[bad", "//x"])
async def test_realms_that_are_no_token_server(client: RegistryClient, realm: str) -> None:
    async with serving(answer(401, WWW_Authenticate=f'Bearer realm="{realm}"')) as registry:
        assert isinstance(await failure(client, registry), InvalidAnswerError)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test",
         "-addext", "subjectAltName=IP:127.0.0.1,IP:0.0.0.0", "-days", "2",
         "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.with_suffix(".crt"), certificate)
    return context


async def test_tls_is_verified_unless_told_otherwise(
    certificate: Path, tls: ssl.SSLContext
) -> None:
    good = manifest_answer(Docker_Content_Digest=str(IMAGE.digest))
    async with serving(good, tls) as registry:
        async with RegistryClient(unrestricted()) as strict:
            with pytest.raises(RegistryUnavailableError, match="not trusted"):
                await strict.resolve(registry.app)
            assert registry.requests == []
            found = await strict.resolve(registry.app, RequestAccess(insecure=True))
            assert found.digest == IMAGE.digest
        host = RegistryHost(registry.host, ca_file=certificate.with_suffix(".crt"))
        async with RegistryClient(unrestricted(), RegistryHosts([host])) as trusting:
            assert (await trusting.resolve(registry.app)).digest == IMAGE.digest
        host = RegistryHost(registry.host, ca_file=certificate.with_suffix(".missing"))
        async with RegistryClient(unrestricted(), RegistryHosts([host])) as broken:
            with pytest.raises(RegistryUnavailableError, match="ca file"):
                await broken.resolve(registry.app)


@asynccontextmanager
async def https_only(
    handler: Handler, tls: ssl.SSLContext, certificate: Path
) -> AsyncIterator[tuple[RegistryClient, Reference]]:
    """Serve on a name that reaches this machine but is not loopback by its looks."""
    async with serving(handler, tls) as registry:
        name = registry.host.replace("127.0.0.1", "0.0.0.0")
        host = RegistryHost(name, ca_file=certificate.with_suffix(".crt"))
        async with RegistryClient(unrestricted(), RegistryHosts([host])) as client:
            yield client, Reference.parse(f"{name}/team/app:1")


async def test_an_https_registry_may_not_lead_to_plain_http(
    tls: ssl.SSLContext, certificate: Path
) -> None:
    async with serving(answer(200, CONFIG)) as storage:
        redirect = answer(307, Location=f"http://{storage.host}/blob")
        async with https_only(redirect, tls, certificate) as (client, app):
            with pytest.raises(InvalidAnswerError, match="plain http"):
                await client.blob(app, Digest.of(CONFIG), 1000)


async def test_credentials_do_not_go_to_a_token_server_over_plain_http(
    tls: ssl.SSLContext, certificate: Path
) -> None:
    async with serving(answer(200, b'{"token": "t"}')) as tokens:
        challenge = answer(401, WWW_Authenticate=f'Bearer realm="http://{tokens.host}/token"')
        async with https_only(challenge, tls, certificate) as (client, app):
            with pytest.raises(InvalidAnswerError, match="https"):
                await client.resolve(app, RequestAccess(OneLogin(ALICE)))
    assert tokens.requests == []


async def test_a_registry_that_answered_over_https_is_never_asked_over_http(
    tls: ssl.SSLContext,
) -> None:
    good = manifest_answer(Docker_Content_Digest=str(IMAGE.digest))
    insecure = RequestAccess(insecure=True)
    async with RegistryClient(unrestricted()) as client:
        async with serving(good, tls) as registry:
            await client.resolve(registry.app, insecure)
        plain = ScriptedRegistry(good)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", plain.handle)
        async with TestServer(app, host="127.0.0.1", port=registry.port):
            with pytest.raises(RegistryUnavailableError):
                await client.resolve(registry.app, insecure)
    assert plain.requests == []


async def test_a_location_reaches_the_registry_elsewhere() -> None:
    good = manifest_answer(Docker_Content_Digest=str(IMAGE.digest))
    async with serving(good) as registry:
        hosts = RegistryHosts([RegistryHost("docker.io", location=f"{registry.host}/hub")])
        async with RegistryClient(unrestricted(), hosts) as client:
            await client.resolve(Reference.parse("debian:12"))
    assert registry.requests == ["HEAD /v2/hub/library/debian/manifests/12"]


async def test_a_registry_may_come_back_with_tls(tls: ssl.SSLContext) -> None:
    port = free_port()
    reference = Reference.parse(f"127.0.0.1:{port}/team/app:1")
    good = manifest_answer(Docker_Content_Digest=str(IMAGE.digest))
    async with RegistryClient(unrestricted()) as client:
        for context in (None, tls):
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", good)
            server = TestServer(app, host="127.0.0.1", port=port)
            await server.start_server(ssl=context)
            try:
                found = await client.resolve(reference, RequestAccess(insecure=True))
            finally:
                await server.close()
            assert found.digest == IMAGE.digest
