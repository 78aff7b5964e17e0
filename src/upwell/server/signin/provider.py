"""The OpenID Connect provider as a client of it: code flow, device flow, refresh, identity.

Every answer is checked before it counts: tokens by their signature (`server/auth/issuers`), all
else by its form. What a provider says in words is shown to nobody.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from upwell.server.auth.foreign_tokens import InvalidTokenError, IssuerError
from upwell.server.auth.issuers import Issuer, IssuerUnavailableError, is_issuer_url

MAX_ANSWER_BYTES = 256 * 1024
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_MAX_CODE = 2048
_MAX_REFRESH_TOKEN = 8192
_MAX_GROUPS = 2000
_MAX_GROUP = 256
_MAX_NAME = 200
_MAX_INTERVAL, _MAX_DEVICE_SECONDS = 60, 1800
_REFUSALS = {
    "invalid_grant",
    "access_denied",
    "expired_token",
    "login_required",
    "interaction_required",
    "consent_required",
}
"""Errors that are about the person. All others are about this client, or pass: nobody's session
ends because the administrator has mistyped a secret."""
_DEFAULT_INTERVAL = 5
"""RFC 8628, 3.2."""


class SignInRefusedError(IssuerError):
    """The provider, or what it says of the person, does not let them in; the message says why."""


class PendingError(IssuerError):
    """The person has not answered yet; ask again in `interval` seconds."""

    retryable = True

    def __init__(self, *, slower: bool) -> None:
        super().__init__("the sign-in is not confirmed yet")
        self.slower = slower


class FormSender(Protocol):
    """Sends requests to a provider."""

    async def ask(
        self, url: str, limit: int, form: Mapping[str, str] | None, authorization: str
    ) -> tuple[int, bytes]:
        """Return status and body, of at most `limit` bytes; raises IssuerUnavailableError."""
        ...


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """This server as a client of the provider, and the claims that it reads."""

    client_id: str
    secret: str = field(default="", repr=False)
    """Empty: a public client."""
    scopes: tuple[str, ...] = ("openid",)
    username_claim: str = "sub"
    username_prefix: str = "oidc:"
    groups_claim: str = "groups"


@dataclass(frozen=True, slots=True)
class ProvenIdentity:
    """A person as the provider knows them now."""

    subject: str
    name: str
    """The name of the principal: prefix and claim."""
    groups: tuple[str, ...]
    refresh_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A sign-in that waits for a person (RFC 8628, 3.2)."""

    device_code: str = field(repr=False)
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    interval: int
    seconds: int


class Provider:
    """Asks one provider."""

    def __init__(self, issuer: Issuer, sender: FormSender, settings: ClientSettings) -> None:
        self._issuer = issuer
        self._sender = sender
        self._settings = settings

    @property
    def url(self) -> str:
        """The issuer."""
        return self._issuer.url

    async def has_device_flow(self) -> bool:
        """Return True if the provider has the device flow; raises IssuerUnavailableError."""
        return bool((await self._issuer.metadata()).device_authorization_endpoint)

    async def authorization_url(self, redirect: str, state: str, nonce: str, verifier: str) -> str:
        """Return where a browser begins (OpenID Connect Core 1.0, 3.1.2.1; PKCE: RFC 7636)."""
        endpoint = self._named("authorization_endpoint", await self._endpoints())
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect,
            "scope": " ".join(self._settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def by_code(self, code: str, redirect: str, nonce: str, verifier: str) -> ProvenIdentity:
        """Return who has signed in by a browser; raises IssuerError."""
        form = {
            "grant_type": "authorization_code",
            "code": code[:_MAX_CODE],
            "redirect_uri": redirect,
            "code_verifier": verifier,
        }
        answer = await self._tokens(form)
        return await self._identity(answer, nonce=nonce)

    async def begin_device(self) -> DeviceCode:
        """Begin a sign-in on another device; raises IssuerError."""
        endpoint = self._named("device_authorization_endpoint", await self._endpoints())
        status, answer = await self._post(endpoint, {"scope": " ".join(self._settings.scopes)})
        if status != 200:  # noqa: PLR2004 - OK
            raise SignInRefusedError(f"{self.url} begins no device flow: {_code(answer, status)}")
        return self._device_code(answer)

    async def by_device(self, device_code: str) -> ProvenIdentity:
        """Return who has confirmed a device; raises PendingError or another IssuerError."""
        answer = await self._tokens({"grant_type": _DEVICE_GRANT, "device_code": device_code})
        return await self._identity(answer)

    async def refreshed(self, refresh_token: str, subject: str) -> ProvenIdentity:
        """Return the person as they are now.

        Raises SignInRefusedError when the provider does not stand for them any more, or
        IssuerUnavailableError.
        """
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        answer = await self._tokens(form)
        found = await self._identity(answer, subject=subject)
        if found.refresh_token:
            return found
        return ProvenIdentity(found.subject, found.name, found.groups, refresh_token)

    async def revoke(self, refresh_token: str) -> None:
        """Tell the provider that a refresh token is not used any more (RFC 7009), if it can be."""
        endpoint = (await self._issuer.metadata()).revocation_endpoint
        if endpoint:
            form = {"token": refresh_token, "token_type_hint": "refresh_token"}
            await self._post(endpoint, form)

    async def _endpoints(self) -> Mapping[str, str]:
        found = await self._issuer.metadata()
        return {name: getattr(found, name) for name in found.__dataclass_fields__}

    def _named(self, name: str, endpoints: Mapping[str, str]) -> str:
        if not endpoints[name]:
            raise SignInRefusedError(f"{self.url} has no {name}")
        return endpoints[name]

    async def _tokens(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the answer of the token endpoint (RFC 6749, 5); raises IssuerError."""
        endpoint = self._named("token_endpoint", await self._endpoints())
        status, answer = await self._post(endpoint, form)
        if status == 200:  # noqa: PLR2004 - OK
            return answer
        code = _code(answer, status)
        if code in {"authorization_pending", "slow_down"}:
            raise PendingError(slower=code == "slow_down")
        if code in _REFUSALS:
            raise SignInRefusedError(f"{self.url} refuses it: {code}")
        raise IssuerUnavailableError(self.url, f"token endpoint: {code}")

    async def _post(self, url: str, form: Mapping[str, str]) -> tuple[int, Mapping[str, Any]]:
        settings = self._settings
        sent = {**form, "client_id": settings.client_id}
        authorization = _basic(settings.client_id, settings.secret) if settings.secret else ""
        status, body = await self._sender.ask(url, MAX_ANSWER_BYTES, sent, authorization)
        return status, _document(body)

    async def _identity(
        self, answer: Mapping[str, Any], *, nonce: str = "", subject: str = ""
    ) -> ProvenIdentity:
        """Return who an answer of the token endpoint is about; all that it says is checked."""
        token = answer.get("id_token")
        claims: dict[str, Any] = {}
        if isinstance(token, str):
            claims = dict(await self._issuer.verify(token, self._settings.client_id))
            self._require_own(claims, nonce)
        elif not subject:  # a refresh need not have one (OpenID Connect Core 1.0, 12.2)
            raise SignInRefusedError(f"{self.url} sent no ID token: is `openid` in the scopes?")
        known = subject or str(claims["sub"])
        if claims.get("sub", known) != known:
            raise SignInRefusedError(f"{self.url} answers for another person")
        if self._settings.groups_claim not in claims or self._settings.username_claim not in claims:
            claims = {**await self._user_info(answer, known), **claims}
        refresh = answer.get("refresh_token", "")
        if not isinstance(refresh, str) or len(refresh) > _MAX_REFRESH_TOKEN:
            refresh = ""
        return ProvenIdentity(known, self._name(claims), self._groups(claims), refresh)

    def _require_own(self, claims: Mapping[str, Any], nonce: str) -> None:
        """Refuse a token of another sign-in, or for another client (Core 1.0, 3.1.3.7)."""
        if nonce and claims.get("nonce") != nonce:
            raise InvalidTokenError("is of another sign-in: begin anew")
        audience = claims.get("aud")
        is_for_several = isinstance(audience, list) and len(audience) > 1
        party = claims.get("azp", "" if is_for_several else self._settings.client_id)
        if party != self._settings.client_id:
            raise InvalidTokenError("was issued to another client")

    async def _user_info(self, answer: Mapping[str, Any], subject: str) -> Mapping[str, Any]:
        """Return the claims that the ID token lacks; they have to be of the same person."""
        endpoint = (await self._issuer.metadata()).userinfo_endpoint
        access = answer.get("access_token")
        if not endpoint or not isinstance(access, str) or not _is_header_text(access):
            return {}
        bearer = f"Bearer {access}"
        status, body = await self._sender.ask(endpoint, MAX_ANSWER_BYTES, None, bearer)
        if status != 200:  # noqa: PLR2004 - OK
            raise IssuerUnavailableError(self.url, f"userinfo endpoint: HTTP {status}")
        found = _document(body)
        if found.get("sub") != subject:
            raise SignInRefusedError(f"{self.url} tells of another person")
        return found

    def _name(self, claims: Mapping[str, Any]) -> str:
        settings = self._settings
        value = claims.get(settings.username_claim)
        if not isinstance(value, str) or not value:
            raise SignInRefusedError(f"{self.url} sent no claim {settings.username_claim}")
        if settings.username_claim == "email":
            if claims.get("email_verified") is not True:
                raise SignInRefusedError(f"{self.url} has not verified the address {value[:100]!r}")
            value = value.casefold()
        if len(value) > _MAX_NAME or not value.isprintable() or " " in value:
            raise SignInRefusedError(f"claim {settings.username_claim} is no name")
        return f"{settings.username_prefix}{value}"

    def _groups(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        listed = claims.get(self._settings.groups_claim, [])
        named = [listed] if isinstance(listed, str) else listed
        if not isinstance(named, list):
            return ()
        texts = (one for one in named[:_MAX_GROUPS] if isinstance(one, str))
        return tuple(sorted({one for one in texts if 0 < len(one) <= _MAX_GROUP}))

    def _device_code(self, answer: Mapping[str, Any]) -> DeviceCode:
        code, user_code = answer.get("device_code"), answer.get("user_code")
        page = answer.get("verification_uri", answer.get("verification_url"))
        whole = answer.get("verification_uri_complete", "")
        texts: Sequence[object] = (code, user_code, page, whole)
        if not all(isinstance(one, str) and len(one) <= _MAX_CODE for one in texts):
            raise IssuerUnavailableError(self.url, "its device code is none")
        if not str(user_code).isprintable() or not is_issuer_url(str(page)):
            raise IssuerUnavailableError(self.url, "its verification_uri is no URL of https")
        complete = str(whole) if is_issuer_url(str(whole)) else ""
        interval = _whole(answer.get("interval"), _DEFAULT_INTERVAL, _MAX_INTERVAL)
        seconds = _whole(answer.get("expires_in"), _MAX_DEVICE_SECONDS, _MAX_DEVICE_SECONDS)
        return DeviceCode(str(code), str(user_code), str(page), complete, interval, seconds)


def challenge(verifier: str) -> str:
    """Return the challenge of a verifier (RFC 7636, 4.2: S256)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _basic(client_id: str, secret: str) -> str:
    """Return the header of a client with a secret (RFC 6749, 2.3.1)."""
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _code(answer: Mapping[str, Any], status: int) -> str:
    """Return the code of an error: a word of the protocol, and nothing else of the answer."""
    code = answer.get("error")
    is_word = isinstance(code, str) and len(code) <= 64 and code.replace("_", "").isalnum()  # noqa: PLR2004
    return str(code) if is_word else f"HTTP {status}"


def _is_header_text(text: str) -> bool:
    return len(text) <= 2 * _MAX_REFRESH_TOKEN and text.isascii() and text.isprintable()


def _whole(value: object, default: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return default
    return min(value, most)
