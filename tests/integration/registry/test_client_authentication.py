"""Basic and token authentication against a real registry that checks what it is shown."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.support.registry.docker_registry import (
    ALICE,
    HTPASSWD,
    docker_registry,
    image_manifest,
    push_image,
)
from tests.support.registry.logins import OneLogin

from upwell.oci import Reference
from upwell.outbound.dialing import unrestricted
from upwell.registry.client.auth import basic
from upwell.registry.client.client import RegistryClient
from upwell.registry.errors import UnauthorizedError
from upwell.registry.interface import Credential, RequestAccess

GOOD = Credential(*ALICE)
BAD = Credential("alice", "looking-glass")


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with RegistryClient(unrestricted()) as client:
        yield client


async def test_basic_authentication(client: RegistryClient, tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}}
    async with docker_registry(tmp_path, auth) as registry:
        image = await push_image(registry, "team/app", "1", login=basic(GOOD) or "")
        reference = Reference.parse(f"{registry}/team/app:1")

        found = await client.resolve(reference, RequestAccess(OneLogin(GOOD)))

        assert found.digest == image.digest
        for credential in (BAD, None):
            with pytest.raises(UnauthorizedError) as caught:
                await client.manifest(reference, RequestAccess(OneLogin(credential)))
            assert "looking-glass" not in str(caught.value)


@dataclass
class SigningTokenServer:
    """Gives tokens that are signed as docker-registry wants, for what each user may do."""

    folder: Path
    life: int = 300
    requests: list[str] = field(default_factory=list)
    port: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            form = await request.post()
            self.requests.append(f"POST {form['grant_type']!s}")
            if form["refresh_token"] != "identity":
                return web.json_response({"error": "invalid_grant"}, status=400)
            user, scopes = "alice", str(form["scope"]).split()
        else:
            header = request.headers.get("Authorization")
            self.requests.append(f"GET {request.query.get('account', 'anonymous')}")
            if header not in {None, basic(GOOD)}:
                return web.json_response({"details": "no"}, status=401)
            user, scopes = "alice" if header else "", request.query.getall("scope")
        granted = [self._access(scope, user) for scope in scopes]
        token = self._sign([access for access in granted if access["actions"]], user)
        return web.json_response({"token": token, "expires_in": self.life})

    def _access(self, scope: str, user: str) -> dict[str, object]:
        kind, name, actions = scope.split(":")
        allowed = user == "alice" or name.startswith("public/")
        return {"type": kind, "name": name, "actions": actions.split(",") if allowed else []}

    def _sign(self, access: list[dict[str, object]], user: str) -> str:
        certificate = (self.folder / "certificate.pem").read_text()
        x5c = ["".join(certificate.splitlines()[1:-1])]
        now = int(time.time())
        claims = {
            "iss": "issuer", "sub": user, "aud": "registry.test", "jti": str(time.monotonic_ns()),
            "iat": now, "nbf": now - 10, "exp": now + 300, "access": access,
        }  # fmt: skip
        head = {"typ": "JWT", "alg": "RS256", "x5c": x5c}
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (head, claims))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.folder / "key.pem"],
            input=signed.encode(),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        return f"{signed}.{_base64url(signature)}"


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def signing_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt install openssl")
    folder = tmp_path_factory.mktemp("signing")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=issuer",
         "-days", "2", "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@asynccontextmanager
async def token_registry(tokens: SigningTokenServer, folder: Path) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/token", tokens.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        auth = {
            "token": {
                "realm": str(server.make_url("/token")),
                "service": "registry.test",
                "issuer": "issuer",
                "rootcertbundle": str(tokens.folder / "certificate.pem"),
            }
        }
        async with docker_registry(folder, auth) as registry:
            yield registry


async def push_with_token(tokens: SigningTokenServer, registry: str, repository: str) -> None:
    token = tokens._sign(
        [{"type": "repository", "name": repository, "actions": ["pull", "push"]}], "alice"
    )
    await push_image(registry, repository, "1", login=f"Bearer {token}")


async def test_token_authentication(
    client: RegistryClient, signing_folder: Path, tmp_path: Path
) -> None:
    tokens = SigningTokenServer(signing_folder)
    async with token_registry(tokens, tmp_path) as registry:
        for repository in ("team/app", "public/app"):
            await push_with_token(tokens, registry, repository)
        private, public = (
            Reference.parse(f"{registry}/{repository}:1")
            for repository in ("team/app", "public/app")
        )
        expected = image_manifest().digest

        for _ in range(3):
            assert (await client.resolve(private, RequestAccess(OneLogin(GOOD)))).digest == expected
        assert tokens.requests == ["GET alice"]

        identity = RequestAccess(OneLogin(Credential(identity_token="identity")))
        assert (await client.resolve(private, identity)).digest == expected
        assert (await client.resolve(public)).digest == expected
        assert tokens.requests[1:] == ["POST refresh_token", "GET anonymous"]

        with pytest.raises(UnauthorizedError):
            await client.resolve(private)
        with pytest.raises(UnauthorizedError):
            await client.resolve(private, RequestAccess(OneLogin(BAD)))
        with pytest.raises(UnauthorizedError):
            await client.resolve(
                private, RequestAccess(OneLogin(Credential(identity_token="revoked")))
            )


async def test_refused_credentials_do_not_keep_a_public_image_away(
    client: RegistryClient, signing_folder: Path, tmp_path: Path
) -> None:
    tokens = SigningTokenServer(signing_folder)
    async with token_registry(tokens, tmp_path) as registry:
        await push_with_token(tokens, registry, "public/app")
        reference = Reference.parse(f"{registry}/public/app:1")
        for _ in range(3):
            await client.resolve(reference, RequestAccess(OneLogin(BAD)))
    # Refused once, then left out: repeated failed logins get an address banned.
    assert tokens.requests == ["GET alice", "GET anonymous"]
