"""Connection to remote registries: settings, logins, budget, transport."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from random import random

from upwell.oci import Digest, InvalidDigestError
from upwell.outbound.dialing import Dialer
from upwell.registry.budget import RequestBudget
from upwell.registry.client.authorizer import Authorizer, explain
from upwell.registry.client.transport import RegistryRequest, RegistryResponse, Timeouts, Transport
from upwell.registry.errors import (
    InvalidAnswerError,
    RegistryError,
    RegistryRejectedError,
    RegistryUnavailableError,
    UnauthorizedError,
)
from upwell.registry.hosts import RegistryEndpoint, RegistryHosts
from upwell.registry.interface import Credential, CredentialSource, RequestAccess

_OK = frozenset({HTTPStatus.OK})


class Connection:
    """Sends calls to any registry, each once. Close it after use.

    `credentials` are those of calls whose Access names none. `clock` gives seconds since the
    epoch, `jitter` numbers from 0 to 1. `dialer` connects on behalf of objects, by a policy;
    without one, every address is asked, as for a person who runs a command.
    """

    def __init__(
        self,
        hosts: RegistryHosts | None = None,
        credentials: CredentialSource | None = None,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random,
        *,
        dialer: Dialer | None = None,
    ) -> None:
        self.hosts = hosts or RegistryHosts()
        self.budget = RequestBudget(self.hosts.limits, clock, jitter)
        self._credentials = credentials
        self._transport = Transport(self.budget, timeouts or Timeouts(), dialer)
        self._authorizer = Authorizer(self._transport, clock)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._authorizer.aclose()
        await self._transport.aclose()

    async def logins(
        self, endpoints: Iterable[RegistryEndpoint], access: RequestAccess
    ) -> tuple[Credential, ...]:
        """Return the logins that `access` finds for the endpoints."""
        found = [await self._login(endpoint, access) for endpoint in endpoints]
        return tuple(login for login in found if login is not None)

    async def _login(self, endpoint: RegistryEndpoint, access: RequestAccess) -> Credential | None:
        source = access.credentials or self._credentials
        return None if source is None else await source.find(endpoint.registry, endpoint.repository)

    @asynccontextmanager
    async def open(
        self, call: RegistryRequest, access: RequestAccess
    ) -> AsyncIterator[RegistryResponse]:
        """Send `call` with the credentials that `access` finds, within the registry's budget."""
        endpoint = call.endpoint
        credential = await self._login(endpoint, access)
        async with (
            self.budget.slot(endpoint.registry, pull=call.is_pull),
            await self._authorizer.send(call, credential) as answer,
        ):
            yield answer


async def raise_for_status(
    answer: RegistryResponse, unknown: RegistryError, wanted: Collection[int] = _OK
) -> None:
    """Raise what any answer but a wanted one means; `unknown` is what 404 does."""
    status = answer.status
    if status in wanted:
        return
    why = await explain(answer)
    if status == HTTPStatus.NOT_FOUND:
        raise unknown
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise UnauthorizedError(answer.name, why)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        raise RegistryUnavailableError(answer.name, why)
    if status >= HTTPStatus.BAD_REQUEST:
        raise RegistryRejectedError(answer.name, status, why)
    raise InvalidAnswerError(answer.name, f"HTTP {status}")


def stated_digest(answer: RegistryResponse) -> Digest | None:
    """Return the digest that the registry states; None where it states none.

    Raises InvalidAnswerError.
    """
    text = answer.headers.get("Docker-Content-Digest")
    if not text:
        return None
    try:
        return Digest.parse(text)
    except InvalidDigestError as error:
        raise InvalidAnswerError(answer.name, f"Docker-Content-Digest: {error}") from error
