"""Opens the issuers of tokens that the settings name: each is asked by the outbound policy."""

import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from upwell.app.outbound import outbound_policy, place_of
from upwell.machine import clock
from upwell.outbound.dialing import Dialer
from upwell.outbound.provider_requests import (
    ProviderAnswer,
    ProviderClient,
    ProviderRequest,
    ProviderRequestError,
)
from upwell.server.auth.issuers import Issuer, IssuerUnavailableError
from upwell.settings import ServerSettings


class IssuerRequests:
    """Requests to issuers over HTTP. Implements DocumentReader and FormSender."""

    def __init__(self, client: ProviderClient) -> None:
        self._client = client

    async def read(self, url: str, limit: int) -> bytes:
        """Return at most `limit` bytes; raises IssuerUnavailableError within some seconds."""
        answer = await self._answer(ProviderRequest(url, limit), f"{url}: ")
        if not answer.is_success:
            raise IssuerUnavailableError(url, f"{url}: HTTP {answer.status}")
        return answer.body

    async def ask(
        self, url: str, limit: int, form: Mapping[str, str] | None, authorization: str
    ) -> tuple[int, bytes]:
        """Return status and body, of at most `limit` bytes; raises IssuerUnavailableError."""
        answer = await self._answer(ProviderRequest(url, limit, form, authorization))
        return answer.status, answer.body

    async def _answer(self, request: ProviderRequest, where: str = "") -> ProviderAnswer:
        try:
            return await self._client.ask(request)
        except ProviderRequestError as error:
            raise IssuerUnavailableError(request.url, f"{where}{error}") from error


@dataclass(frozen=True, slots=True)
class OpenIssuer:
    """An issuer, and what asks it."""

    issuer: Issuer
    requests: IssuerRequests


async def open_issuer(
    settings: ServerSettings, url: str, ca_file: Path | None, stack: AsyncExitStack
) -> OpenIssuer:
    """Open an issuer until the stack ends; nothing is asked before it has to be.

    What it names beside its own host, as that of its keys, is judged as what objects name.
    `ca_file` has certificate authorities that are trusted besides the system's. Raises OSError.
    """
    dialer = Dialer(outbound_policy(settings).also([place_of(url)]))
    stack.callback(dialer.close)
    authorities = ssl.create_default_context()
    if ca_file is not None:
        authorities.load_verify_locations(ca_file)
    client = await stack.enter_async_context(ProviderClient.open(dialer, authorities))
    requests = IssuerRequests(client)
    return OpenIssuer(Issuer(url, requests, clock.now, clock.elapsed), requests)
