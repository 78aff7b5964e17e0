"""Plays the handshake of `auth` over the transport, and remembers what each registry wants."""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from upwell.outbound.http.urls import HttpUrl
from upwell.registry.client.auth import (
    Challenge,
    Reply,
    Token,
    TokenQuery,
    TokenRequest,
    handshake,
    parse_token,
)
from upwell.registry.client.tokens import TokenCache
from upwell.registry.client.transport import RegistryRequest, RegistryResponse, Transport
from upwell.registry.errors import InvalidAnswerError, RegistryUnavailableError, UnauthorizedError
from upwell.registry.hosts import RegistryEndpoint
from upwell.registry.interface import Credential

ANONYMOUS_FOR = 300.0
"""Seconds for which credentials that a public repository refused are not shown to it again."""
MAX_TOKEN_BYTES = 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
_MAX_REMEMBERED = 10_000
_MAX_WHY = 200
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class Authorizer:
    """Opens calls as the registry asks for it. `clock` gives seconds, from any origin."""

    def __init__(self, transport: Transport, clock: Callable[[], float] = time.time) -> None:
        self._transport = transport
        self._clock = clock
        self._tokens = TokenCache(clock)
        self._challenges: dict[tuple[str, str], Challenge] = {}
        """By registry and repository; under '' what the registry wanted last, of any."""
        self._refused: dict[tuple[str, str, Credential], float] = {}

    async def aclose(self) -> None:
        """Cancel what is under way."""
        await self._tokens.aclose()

    async def send(self, call: RegistryRequest, credential: Credential | None) -> RegistryResponse:
        """Send `call`, first with `credential`, then, if that is refused, anonymously.

        Raises UnauthorizedError when the registry wants other credentials.
        """
        endpoint = call.endpoint
        steps = handshake(
            call.scopes or (f"repository:{endpoint.repository}:pull",),
            self._logins(endpoint, credential),
            self._known(endpoint),
        )
        why, is_of_login = "", False
        step = next(steps)
        while True:
            if isinstance(step, TokenRequest):
                reply = await self._token(step, endpoint)
                if reply.refused and (step.query.login is not None or not is_of_login):
                    why = "the token server refuses them"
                    is_of_login = step.query.login is not None
            else:
                answer = await self._transport.send(call, step.authorization)
                reply = self._reply(answer, endpoint)
                # Where a redirect ended, no login of ours can mend a refusal.
                if not reply.refused or answer.redirected:
                    self._note(endpoint, credential, step.login)
                    return answer
                async with answer:
                    said = await explain(answer)
                shown = step.login is not None and step.authorization is not None
                if shown or not is_of_login:  # not of the try without it that follows
                    why, is_of_login = said, shown
            try:
                step = steps.send(reply)
            except StopIteration:
                none = " (none are configured for it)" if credential is None else ""
                raise UnauthorizedError(endpoint.name, why + none) from None

    def _logins(
        self, endpoint: RegistryEndpoint, credential: Credential | None
    ) -> Sequence[Credential | None]:
        if credential is None:
            return (None,)
        until = self._refused.get((endpoint.registry, endpoint.repository, credential), 0.0)
        return (None, credential) if until > self._clock() else (credential, None)

    def _note(
        self, endpoint: RegistryEndpoint, credential: Credential | None, used: Credential | None
    ) -> None:
        """Remember whether `credential` was of use, so that the next request needs no detour."""
        if credential is None:
            return
        key = (endpoint.registry, endpoint.repository, credential)
        if used is not None:
            self._refused.pop(key, None)
        elif key not in self._refused or self._refused[key] <= self._clock():
            _make_room(self._refused)
            self._refused[key] = self._clock() + ANONYMOUS_FOR

    def _known(self, endpoint: RegistryEndpoint) -> Challenge | None:
        of_repository = self._challenges.get((endpoint.registry, endpoint.repository))
        return of_repository or self._challenges.get((endpoint.registry, ""))

    def _reply(self, answer: RegistryResponse, endpoint: RegistryEndpoint) -> Reply:
        if answer.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return Reply(answer.status)
        challenge = Challenge.parse(answer.response.headers.all("WWW-Authenticate"))
        if challenge is not None and not answer.redirected:
            _make_room(self._challenges)
            self._challenges[endpoint.registry, endpoint.repository] = challenge
            self._challenges[endpoint.registry, ""] = replace(challenge, scopes=())
        return Reply(answer.status, challenge)

    async def _token(self, step: TokenRequest, endpoint: RegistryEndpoint) -> Reply:
        try:
            token = await self._tokens.get(step, lambda: self._fetch(step.query, endpoint))
        except (InvalidAnswerError, RegistryUnavailableError) as error:
            if isinstance(error.__cause__, TimeoutError):  # of each that waits for the token
                self._transport.observe_silent_token_server(endpoint)
            # It may have moved: let the registry name it again.
            self._challenges.pop((endpoint.registry, endpoint.repository), None)
            self._challenges.pop((endpoint.registry, ""), None)
            raise
        if token is None:
            return Reply(HTTPStatus.UNAUTHORIZED)
        return Reply(HTTPStatus.OK, token=token)

    async def _fetch(self, query: TokenQuery, endpoint: RegistryEndpoint) -> Token | None:
        realm = _realm(query.realm, endpoint)
        if query.method == "POST":
            answer = await self._transport.post(endpoint, realm, query.parameters)
        else:
            answer = await self._transport.get(
                endpoint, realm, query.parameters, query.authorization
            )
        name = f"the token server {realm.host}"
        async with answer:
            if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                return None
            if query.method == "POST" and answer.status == HTTPStatus.BAD_REQUEST:
                return None  # invalid_grant (RFC 6749, 5.2)
            if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise RegistryUnavailableError(name, f"HTTP {answer.status}")
            if answer.status != HTTPStatus.OK:
                raise InvalidAnswerError(name, f"HTTP {answer.status}")
            raw = await answer.read(MAX_TOKEN_BYTES)
        try:
            return parse_token(raw)
        except ValueError as error:
            raise InvalidAnswerError(name, str(error)) from None


async def explain(answer: RegistryResponse) -> str:
    """Say why the registry did not do as asked: its first error (distribution-spec, Error Codes).

    Whatever else the body is, an HTML page for one, or another service's words, is not quoted, nor
    is what a redirect led to: only the HTTP status counts.
    """
    status = f"HTTP {answer.status}"
    if answer.redirected:
        return status
    try:
        first = json.loads(await answer.read_some(MAX_ERROR_BYTES))["errors"][0]
        code, message = first["code"], first.get("message") or ""
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return status
    except (RegistryUnavailableError, InvalidAnswerError):
        return status  # the body broke off; the status stands
    if not (isinstance(code, str) and isinstance(message, str) and _CODE.fullmatch(code)):
        return status
    text = f"{code}: {message}" if message else code
    printable = "".join(letter if letter.isprintable() else " " for letter in text[:_MAX_WHY])
    return printable or status


def _realm(text: str, endpoint: RegistryEndpoint) -> HttpUrl:
    """Check where credentials are about to go: over plain http only where that is allowed."""
    try:
        realm = HttpUrl.parse(text)
    except ValueError:
        raise InvalidAnswerError(endpoint.name, "its challenge names no token server") from None
    if realm.scheme not in endpoint.schemes:
        why = "its challenge names a token server that is not reached over https"
        raise InvalidAnswerError(endpoint.name, why)
    return realm


def _make_room(memory: dict[Any, Any]) -> None:
    """Forget everything before it grows without end; it is found out again at little cost."""
    if len(memory) >= _MAX_REMEMBERED:
        memory.clear()
