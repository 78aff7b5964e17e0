"""Rights of the ServiceAccounts as which templates run: whoever says what runs has them already."""

from collections.abc import Iterable

from upwell.api.core import ServiceAccount
from upwell.api.meta import Resource
from upwell.api.values.author import author_of, authored_as, with_writers, writers_of
from upwell.policy.access.account_uses import TokenUse, excess, new_token_uses, token_uses
from upwell.policy.access.roles import Grant, InvalidGrantError
from upwell.policy.access.service_accounts import account_name, declared_grants
from upwell.server.http.errors import ApiError
from upwell.store.interface import NotFoundError, Reader
from upwell.workload.interface import Instance


async def within_account_rights(
    store: Reader,
    resource: Resource,
    old: Resource | None,
    user: str,
    grants: Iterable[Grant] | None,
) -> Resource:
    """Return the object with its author; raises ApiError 403 for what takes more than `user` may.

    That is a change that has something run as an account that may do more. Whoever changes less
    (the replicas, say) leaves the object to its author, for whom tokens are made. `grants` None:
    nobody is asked.
    """
    if why := await _refusal(store, _accounts(new_token_uses(resource, old)), grants):
        message = f"token {user} may not write {resource.key}: {why}"
        raise ApiError(403, message, key=resource.key)
    if old is None or author_of(resource) == author_of(old):
        return resource
    if await _refusal(store, _accounts(token_uses(resource)), grants):
        return with_writers(authored_as(resource, old), writers_of(resource))
    return resource


async def require_entry(
    store: Reader,
    instance: Instance,
    owner: Resource | None,
    user: str,
    grants: Iterable[Grant] | None,
) -> None:
    """Raise ApiError 403 for who may not enter an instance: tokens lie in it.

    Those that it was started with, whatever its owner says since, and whether that is there or not.
    """
    place = instance.owner.namespace
    known = [(place, name) for name in instance.accounts]
    known += _accounts(token_uses(owner)) if owner is not None else ()
    if why := await _refusal(store, known, grants):
        message = f"token {user} may not enter {instance.name}: its containers have a token, and"
        raise ApiError(403, f"{message} {why}", key=owner.key if owner is not None else None)


def _accounts(uses: Iterable[TokenUse]) -> list[tuple[str, str]]:
    return [(use.namespace, use.account) for use in uses]


async def _refusal(
    store: Reader, accounts: Iterable[tuple[str, str]], grants: Iterable[Grant] | None
) -> str:
    if grants is None:
        return ""
    grants = tuple(grants)
    for namespace, name in dict.fromkeys(accounts):
        try:
            account = await store.get(ServiceAccount, namespace, name)
            wanted = declared_grants(account)
        except (NotFoundError, InvalidGrantError):
            continue  # it has none
        if why := excess(grants, account_name(namespace, name), wanted):
            return why
    return ""
