"""Exchange of tokens by the server as users run it, with an issuer that answers over HTTP."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
from aiohttp import web
from tests.support.installation.installation import Installation, installation
from tests.support.server.issuers import RSA_KEY, public_key

CONFIGURATION = """
[server]
local-admin = "socket"

[[token-exchange]]
name = "test"
issuer = "{issuer}"
service-account = "shop/ci"
claims = ["repository=acme/*"]
"""
ACCOUNT = """
apiVersion: v1
kind: ServiceAccount
metadata:
  name: ci
  namespace: shop
  annotations: {upwell.dev/grants: viewer@shop}
"""
SECONDS = 60


@dataclass
class ServedIssuer:
    url: str

    def token(self, identity: str, **changed: Any) -> str:
        now = int(time.time())
        said = {
            "iss": self.url,
            "aud": "upwell",
            "sub": "repo:acme/shop",
            "iat": now,
            "exp": now + 600,
            "jti": identity,
            "repository": "acme/shop",
            **changed,
        }
        return jwt.encode(said, RSA_KEY, "RS256", headers={"kid": "one"})


@asynccontextmanager
async def serving_issuer() -> AsyncIterator[ServedIssuer]:
    """Publish the key of an issuer on loopback for the block."""

    async def metadata(request: web.Request) -> web.Response:
        del request
        return web.json_response({"issuer": made.url, "jwks_uri": f"{made.url}/keys"})

    async def keys(request: web.Request) -> web.Response:
        del request
        return web.json_response({"keys": [public_key(RSA_KEY, kid="one")]})

    made = ServedIssuer("")
    app = web.Application()
    app.add_routes([web.get("/.well-known/openid-configuration", metadata), web.get("/keys", keys)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield made
    finally:
        await runner.cleanup()


async def exchange(made: Installation, foreign: str) -> tuple[int, dict[str, Any]]:
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "subject_token": foreign,
    }
    timeout = aiohttp.ClientTimeout(SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{made.url}/oauth/token", data=form) as answer,
    ):
        return answer.status, await answer.json()


async def test_a_token_is_exchanged_once_and_lasts_through_a_kill() -> None:
    async with serving_issuer() as issuer:

        def prepare(made: Installation) -> None:
            file = made.folder / "upwell.toml"
            file.write_text(CONFIGURATION.format(issuer=issuer.url))
            made.options = ("--config", str(file))

        async with installation(prepare=prepare) as made:
            manifest = made.folder / "account.yaml"
            manifest.write_text(ACCOUNT)
            applied = made.upwell("apply", "-f", str(manifest))
            assert applied.returncode == 0, applied.stderr
            foreign = issuer.token("run-1")
            status, answer = await exchange(made, foreign)
            assert status == 200, answer
            token = answer["access_token"]
            assert "system:serviceaccount:shop:ci" in whoami(made, token)

            made.kill()
            await made.start()

            assert "system:serviceaccount:shop:ci" in whoami(made, token)
            status, answer = await exchange(made, foreign)
            assert (status, answer["error"]) == (400, "invalid_grant")
            status, answer = await exchange(made, issuer.token("run-2", repository="evil/shop"))
            assert status == 400
            status, answer = await exchange(made, issuer.token("run-2"))
            assert status == 200

            # The server's own user has the socket alone.
            own = (made.data_dir / "admin.token").read_text().strip()
            headers = {"Authorization": f"Bearer {own}"}
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.get(f"{made.url}/api/v1/namespaces") as refused,
            ):
                assert refused.status == 401
            assert made.upwell("get", "namespaces").returncode == 0


def whoami(made: Installation, token: str) -> str:
    """Return what a command with the token says that it is."""
    done = made.upwell("whoami", "--token", token)
    assert done.returncode == 0, done.stderr
    return done.stdout
