"""Composes the sign-in of people of the settings."""

from contextlib import AsyncExitStack

from upwell.app.identity.providers import open_issuer
from upwell.machine import clock
from upwell.machine.private_file import read_secret_file
from upwell.server.auth.rate_limits import Rates
from upwell.server.http.limits import DEFAULT_LIMITS
from upwell.server.signin.directory import Directory
from upwell.server.signin.provider import ClientSettings, Provider
from upwell.server.signin.seals import Seals
from upwell.server.signin.services import SignIn
from upwell.server.signin.sessions import SessionPolicy, Sessions
from upwell.settings import ServerSettings
from upwell.settings.oidc import OidcSettings
from upwell.store.interface import Store
from upwell.store.periodic import repeat

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
    provider = Provider(opened.issuer, opened.requests, _client(oidc))
    seals = Seals(secret)
    sessions = Sessions(Directory(store), provider, _policy(oidc), seals, clock.now, clock.elapsed)
    return SignIn(
        provider,
        sessions,
        seals,
        (oidc.url or settings.public_url).rstrip("/"),
        DEFAULT_LIMITS,
        clock.now,
        Rates(clock.elapsed),
    )


async def prune_sessions(sessions: Sessions) -> None:
    """Remove what is over of sessions and people, now and every hour."""
    await repeat(sessions.prune, _PRUNE_SECONDS, "sessions not pruned")


def _client(oidc: OidcSettings) -> ClientSettings:
    return ClientSettings(
        oidc.client_id,
        read_secret_file(oidc.client_secret_file) if oidc.client_secret_file is not None else "",
        oidc.scopes,
        oidc.username_claim,
        oidc.username_prefix,
        oidc.groups_claim,
    )


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
