"""The API behind its authorization, with people who sign in at a provider of the test."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.server.api_server import Api, ApiAnswer, ApiClock, serving
from tests.support.server.audit_logs import audit_log
from tests.support.server.browser import Browser
from tests.support.server.identity_provider import ProviderByTest, sign_in

from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.tokens import Tokens, new_token, own_token
from upwell.server.http.limits import ServerLimits
from upwell.server.signin.services import SignIn
from upwell.store.memory import MemoryStore


@dataclass
class SignedInApi:
    """The API, its provider, and its administrator's token."""

    api: Api
    provider: ProviderByTest
    folder: Path
    admin: str

    async def send(self, token: str, method: str, path: str, body: Any = None) -> ApiAnswer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.api.send(method, path, body, **headers)

    async def device(self) -> str:
        """Sign in on a command line; return the token."""
        begun = await self.send("", "POST", "/oidc/device")
        assert begun.status == 201, begun.text
        answer = await self.send("", "POST", "/oidc/token", {"device": begun.json["device"]})
        assert answer.status == 201, answer.text
        return str(answer.json["token"])

    def browser(self) -> Browser:
        return Browser(self.api.session, self.api.url)

    async def signed_in_browser(self) -> Browser:
        """Return a browser that has signed in."""
        browser = self.browser()
        state = await self.begin(browser)
        answer = await browser.get(f"/oidc/callback?code=c&state={state}")
        assert answer.status == 303, answer.text
        return browser

    async def begin(self, browser: Browser, path: str = "/login") -> str:
        """Have a browser begin to sign in; return the state, which the provider would send back."""
        answer = await browser.get(path)
        assert answer.status == 303, answer.text
        query = parse_qs(urlsplit(answer.location).query)
        self.provider.nonce = query["nonce"][0]
        return query["state"][0]

    def pass_time(self, **span: float) -> None:
        self.api.clock.advance(**span)
        self.provider.passed += timedelta(**span).total_seconds()

    def audit(self, name: str = "audit.log") -> list[dict[str, Any]]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextlib.asynccontextmanager
async def open_signed_in_api(folder: Path) -> AsyncIterator[SignedInApi]:
    """Serve the API with a provider."""
    admin = new_token("admin")
    providers: list[ProviderByTest] = []

    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        tokens = Tokens(store, clock, [own_token(admin)])
        return AccessControl(tokens, audit_log(folder, clock))

    def people(store: MemoryStore, clock: ApiClock) -> SignIn:
        providers.append(ProviderByTest(clock))
        return sign_in(store, providers[0])

    limits = ServerLimits(
        requests_per_second=1e6, requests_burst=10**6, anonymous_burst=10**6, recheck_seconds=0.05
    )
    async with serving(limits, guard=guard, sign_in=people) as api:
        yield SignedInApi(api, providers[0], folder, admin)
