"""Connection to remote registries: settings, logins, budget, transport."""

import time
from collections.abc import Callable, Collection, Iterable
from http import HTTPStatus
from random import random
from types import TracebackType

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
    epoch, `jitter` numbers from 0 to 1. `dialer` decides which
    addresses are asked: on behalf of objects by a policy, for a person who runs a command all.
    """

    def __init__(
        self,
        dialer: Dialer,
        hosts: RegistryHosts | None = None,
        credentials: CredentialSource | None = None,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random,
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
        found = [await self.login(endpoint, access) for endpoint in endpoints]
        return tuple(login for login in found if login is not None)

    async def login(self, endpoint: RegistryEndpoint, access: RequestAccess) -> Credential | None:
        """Return the login that `access` finds for an endpoint; None for none."""
        source = access.credentials or self._credentials
        return None if source is None else await source.find(endpoint.registry, endpoint.repository)

    def open(self, call: RegistryRequest, access: RequestAccess) -> "OpenCall":
        """Send `call` with the credentials that `access` finds, within the registry's budget."""
        return OpenCall(self, self._authorizer, call, access)


class OpenCall:
    """A call and its answer while a block lasts, with a slot of its registry.

    A class, as there is one for each request: a generator costs more.
    """

    __slots__ = ("_access", "_answer", "_authorizer", "_call", "_connection")

    def __init__(
        self,
        connection: Connection,
        authorizer: Authorizer,
        call: RegistryRequest,
        access: RequestAccess,
    ) -> None:
        self._connection = connection
        self._authorizer = authorizer
        self._call = call
        self._access = access
        self._answer: RegistryResponse | None = None

    async def __aenter__(self) -> RegistryResponse:
        call, registry = self._call, self._call.endpoint.registry
        credential = await self._connection.login(call.endpoint, self._access)
        budget = self._connection.budget
        await budget.take(registry, pull=call.is_pull, urgent=self._access.urgent)
        try:
            self._answer = await self._authorizer.send(call, credential)
        except BaseException:
            budget.give_back(registry)
            raise
        return self._answer

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._answer is not None:
            self._answer.response.release()
        self._connection.budget.give_back(self._call.endpoint.registry)


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
