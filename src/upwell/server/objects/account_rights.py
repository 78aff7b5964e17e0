"""Rights of the ServiceAccounts as which templates run: whoever says what runs has them already."""

from collections.abc import Iterable

from upwell.api.core import ServiceAccount
from upwell.api.meta import Resource
from upwell.policy.access.account_tokens import TokenUse, excess, new_token_uses, token_uses
from upwell.policy.access.roles import Grant, InvalidGrantError
from upwell.policy.access.service_accounts import account_name, declared_grants
from upwell.server.http.errors import ApiError
from upwell.store.interface import NotFoundError, Reader


async def require_account_rights(
    store: Reader,
    resource: Resource,
    old: Resource | None,
    user: str,
    grants: Iterable[Grant] | None,
) -> None:
    """Raise ApiError 403 if a change has something run as an account that may do more than `user`.

    `grants` None: nobody is asked.
    """
    why = await _refusal(store, new_token_uses(resource, old), grants)
    if why:
        message = f"token {user} may not write {resource.key}: {why}"
        raise ApiError(403, message, key=resource.key)


async def require_entry(
    store: Reader, resource: Resource, user: str, grants: Iterable[Grant] | None
) -> None:
    """Raise ApiError 403 for who may not enter containers of an object: its tokens lie in them."""
    if why := await _refusal(store, token_uses(resource), grants):
        message = f"token {user} may not enter {resource.key}: its containers have a token, and"
        raise ApiError(403, f"{message} {why}", key=resource.key)


async def _refusal(store: Reader, uses: Iterable[TokenUse], grants: Iterable[Grant] | None) -> str:
    if grants is None:
        return ""
    grants = tuple(grants)
    for namespace, name in dict.fromkeys((use.namespace, use.account) for use in uses):
        try:
            account = await store.get(ServiceAccount, namespace, name)
            wanted = declared_grants(account)
        except (NotFoundError, InvalidGrantError):
            continue  # it has none
        if why := excess(grants, account_name(namespace, name), wanted):
            return why
    return ""
