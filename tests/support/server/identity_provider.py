"""An OpenID Connect provider without a network, which a test has say what it likes."""

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.support.server.issuers import ISSUER, PublishedByTest, signed

from upwell.policy.access.groups import GroupGrant
from upwell.policy.access.roles import parse_grant
from upwell.server.auth.issuers import Issuer, IssuerUnavailableError
from upwell.server.auth.rate_limits import Rates
from upwell.server.http.limits import DEFAULT_LIMITS
from upwell.server.signin.directory import Directory
from upwell.server.signin.provider import ClientSettings, Provider
from upwell.server.signin.seals import Seals
from upwell.server.signin.services import SignIn
from upwell.server.signin.sessions import SessionPolicy, Sessions
from upwell.store.interface import Store

CLIENT = ClientSettings("upwell", "s3cret", ("openid", "groups"))
GRANTS = tuple(
    GroupGrant(group, parse_grant(grant))
    for group, grant in [
        ("developers", "deployer@shop"),
        ("developers", "builder@shop"),
        ("admins", "admin@*"),
        ("approvers", "approver@shop"),
    ]
)
POLICY = SessionPolicy(GRANTS)
URL = "https://upwell.example.com"


class ProviderByTest(PublishedByTest):
    """ISSUER with its endpoints. Implements DocumentReader and FormSender."""

    def __init__(self, clock: Any) -> None:
        super().__init__()
        self.clock = clock
        self.metadata |= {
            f"{name}_endpoint": f"{ISSUER}/{name}"
            for name in ("authorization", "token", "device_authorization", "userinfo", "revocation")
        }
        self.person: dict[str, Any] = {"sub": "4711", "groups": ["developers"]}
        self.nonce = ""
        self.claims: dict[str, Any] = {}
        """Beside those of the person, in ID tokens."""
        self.has_refresh = True
        self.has_id_token = True
        self.refusal = ""
        """Code of the error that the token endpoint answers."""
        self.down = ""
        self.answers: dict[str, tuple[int, bytes]] = {}
        """In place of what an endpoint would say, by its name."""
        self.asked: list[tuple[str, dict[str, str] | None, str]] = []
        self.issued = 0
        self.used: set[str] = set()
        self.goes_on = asyncio.Event()
        """Answers wait for it."""
        self.goes_on.set()
        self.reached = asyncio.Event()

    def issuer(self) -> Issuer:
        return Issuer(ISSUER, self, self.clock, lambda: self.passed)

    async def ask(
        self, url: str, limit: int, form: Mapping[str, str] | None, authorization: str
    ) -> tuple[int, bytes]:
        del limit
        name = url.rpartition("/")[2]
        self.asked.append((name, dict(form) if form is not None else None, authorization))
        self.reached.set()
        await self.goes_on.wait()
        if self.down:
            raise IssuerUnavailableError(url, self.down)
        if name in self.answers:
            return self.answers[name]
        status, document = self._answer(name, dict(form or {}))
        return status, json.dumps(document).encode()

    def stop(self) -> None:
        """Have requests wait from now on, until `goes_on`."""
        self.goes_on.clear()
        self.reached.clear()

    def count(self, name: str) -> int:
        return sum(asked == name for asked, _, _ in self.asked)

    def _answer(self, name: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        match name:
            case "token" if self.refusal:
                return 400, {"error": self.refusal}
            case "token":
                return self._tokens(form)
            case "userinfo":
                return 200, self.person
            case "device_authorization":
                return 200, {
                    "device_code": "device-1",
                    "user_code": "WDJB-MJHT",
                    "verification_uri": f"{ISSUER}/device",
                    "expires_in": 600,
                }
            case _:
                return 200, {}

    def _tokens(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if (given := form.get("refresh_token", "")) in self.used:
            return 400, {"error": "invalid_grant"}
        self.used.update({given} - {""})
        self.issued += 1
        answer: dict[str, Any] = {"access_token": f"access-{self.issued}", "token_type": "Bearer"}
        if self.has_refresh:
            answer["refresh_token"] = f"refresh-{self.issued}"
        if self.has_id_token:
            now = int(self.clock().timestamp())
            said = {"iss": ISSUER, "aud": "upwell", "iat": now, "exp": now + 300, **self.person}
            if self.nonce:
                said["nonce"] = self.nonce
            answer["id_token"] = signed({**said, **self.claims})
        return 200, answer


def sign_in(
    store: Store, provider: ProviderByTest, policy: SessionPolicy = POLICY, secret: bytes = b"key"
) -> SignIn:
    """Return the sign-in of people of a provider."""

    def now() -> datetime:
        return provider.clock()  # type: ignore[no-any-return]

    seals = Seals(secret)
    client = Provider(provider.issuer(), provider, CLIENT)
    sessions = Sessions(Directory(store), client, policy, seals, now, lambda: provider.passed)
    return SignIn(client, sessions, seals, URL, DEFAULT_LIMITS, now, Rates(lambda: provider.passed))
