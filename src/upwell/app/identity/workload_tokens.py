"""Tokens for what runs: of the workload's ServiceAccount, by the rights that its author has now."""

import asyncio
import logging
from datetime import timedelta

from upwell.api.codec import UnknownKindError, resource_of_kind
from upwell.api.core import ServiceAccount
from upwell.api.meta import Resource
from upwell.api.values.author import author_of, author_person_of
from upwell.policy.access.account_uses import excess
from upwell.policy.access.service_accounts import account_name
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.service_accounts import InstanceName, WantedAccountToken
from upwell.server.auth.tokens import named_person
from upwell.server.http.errors import ApiError
from upwell.store.interface import NotFoundError, Store, StoreError
from upwell.workload.instance_spec import Owner, TokenFile
from upwell.workload.podman.runtime import PodmanRuntime
from upwell.workload.podman.tokens.issue import BoundInstance, IssuedToken, TokenRefusedError

log = logging.getLogger(__name__)


class WorkloadTokens:
    """Makes the tokens that the runtime puts into instances."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._control: asyncio.Future[AccessControl] = asyncio.Future()
        """Known once the server is ready to say what authors may do; renewals wait for that."""

    def open(self, control: AccessControl, runtime: PodmanRuntime) -> None:
        """Make tokens by what `control` knows from now on; they end with their instances."""
        self._control.set_result(control)
        control.tokens.accounts.end_with(runtime.is_there)

    async def issue(self, instance: BoundInstance, wanted: TokenFile) -> IssuedToken:
        """Return a token; raises TokenRefusedError.

        It takes each grant of the account of whoever says what runs, at each renewal too.
        """
        try:
            return await self._issue(instance, wanted)
        except (StoreError, ApiError) as error:
            name = account_name(instance.owner.namespace, wanted.account)
            message = f"no token of {name} for {instance.name}: {error}"
            raise TokenRefusedError(message) from error

    async def _issue(self, instance: BoundInstance, wanted: TokenFile) -> IssuedToken:
        control = await asyncio.shield(self._control)
        accounts = control.tokens.accounts
        account = await self._account(instance.owner.namespace, wanted.account)
        owner = await self._owner(instance.owner)
        if author := author_of(owner):
            rights, grants = await control.grants(author), await accounts.grants_of(account)
            if why := excess(rights, account_name(account.namespace, account.name), grants):
                raise TokenRefusedError(
                    f"{author}, the author of {owner.key}, may not have it run as {account.key}:"
                    f" {why}; have somebody who has it change the spec"
                )
        made = accounts.issue(
            WantedAccountToken(
                account,
                (wanted.audience,) if wanted.audience else (),
                timedelta(seconds=wanted.seconds),
                person=named_person(author_person_of(owner)),
                instance=InstanceName(instance.name, instance.uid),
            )
        )
        extra = {"instance": instance.name, "account": account.name, "token": made.id}
        log.info("token issued for an instance", extra=extra)
        return IssuedToken(made.token, made.ends)

    async def _account(self, namespace: str, name: str) -> ServiceAccount:
        try:
            return await self._store.get(ServiceAccount, namespace, name)
        except NotFoundError as error:
            message = f"ServiceAccount {namespace}/{name} does not exist: create it"
            raise TokenRefusedError(message) from error

    async def _owner(self, owner: Owner) -> Resource:
        try:
            return await self._store.get(resource_of_kind(owner.kind), owner.namespace, owner.name)
        except (NotFoundError, UnknownKindError) as error:
            message = f"{owner.kind} {owner.namespace}/{owner.name} does not exist any more"
            raise TokenRefusedError(message) from error
