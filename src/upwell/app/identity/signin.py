"""Composes the sign-in of people of the settings."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from upwell.app.identity.providers import open_issuer
from upwell.machine import clock
from upwell.outbound.provider_requests import (
    ProviderClient,
    ProviderRequest,
    ProviderRequestError,
)
from upwell.server.auth.issuers import IssuerUnavailableError
from upwell.server.auth.rate_limits import Rates
from upwell.server.http.limits import DEFAULT_LIMITS
from upwell.server.signin.directory import Directory
from upwell.server.signin.provider import ClientSettings, Provider
from upwell.server.signin.seals import Seals
from upwell.server.signin.services import SignIn
from upwell.server.signin.sessions import SessionPolicy, Sessions
from upwell.settings import ServerSettings
from upwell.settings.oidc import OidcSettings
from upwell.store.interface import Store, StoreError

log = logging.getLogger(__name__)

_MAX_SECRET_BYTES = 4096
_PRUNE_SECONDS = 3600.0


async def open_sign_in(
    settings: ServerSettings, store: Store, secret: bytes, stack: AsyncExitStack
) -> SignIn | None:
    """Open the sign-in until the stack ends; None where the settings name no issuer.

    The provider is not asked yet: the server starts without it. `secret` seals what is kept.
    Raises OSError for a file that cannot be read.
    """
    oidc = settings.oidc
    if not oidc.issuer:
        return None
    opened = await open_issuer(settings, oidc.issuer, oidc.ca_file, stack)
    provider = Provider(opened.issuer, ProviderForms(opened.client), _client(oidc))
    seals = Seals(secret)
    sessions = Sessions(Directory(store), provider, _policy(oidc), seals, clock.now, clock.elapsed)
    return SignIn(
        provider,
        sessions,
        seals,
        (oidc.url or settings.url).rstrip("/"),
        DEFAULT_LIMITS,
        clock.now,
        Rates(clock.elapsed),
    )


async def prune_sessions(sessions: Sessions) -> None:
    """Remove what is over of sessions and people, every hour."""
    while True:
        try:
            await sessions.prune()
        except StoreError as error:
            log.warning("sessions not pruned", extra={"why": str(error)})
        await asyncio.sleep(_PRUNE_SECONDS)


class ProviderForms:
    """Requests to the provider over HTTP. Implements FormSender."""

    def __init__(self, client: ProviderClient) -> None:
        self._client = client

    async def ask(
        self, url: str, limit: int, form: Mapping[str, str] | None, authorization: str
    ) -> tuple[int, bytes]:
        """Return status and body, of at most `limit` bytes; raises IssuerUnavailableError."""
        try:
            answer = await self._client.ask(ProviderRequest(url, limit, form, authorization))
        except ProviderRequestError as error:
            raise IssuerUnavailableError(url, str(error)) from error
        return answer.status, answer.body


def _client(oidc: OidcSettings) -> ClientSettings:
    return ClientSettings(
        oidc.client_id,
        _secret(oidc.client_secret_file),
        oidc.scopes,
        oidc.username_claim,
        oidc.username_prefix,
        oidc.groups_claim,
    )


def _secret(path: Path | None) -> str:
    if path is None:
        return ""
    with path.open("rb") as file:
        return file.read(_MAX_SECRET_BYTES).decode("ascii", "replace").strip()


def _policy(oidc: OidcSettings) -> SessionPolicy:
    return SessionPolicy(
        oidc.group_grants,
        oidc.username_prefix,
        oidc.session,
        oidc.idle,
        oidc.recheck,
        oidc.believed,
        oidc.authored,
        oidc.sessions_per_person,
    )
