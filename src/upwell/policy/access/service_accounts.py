"""ServiceAccounts: their names as principals, the grants that they declare and have; pure.

The grants stand in an annotation, so that a manifest has all of an account. Each takes the right to
give it, which the role admin alone has, where it holds: so nobody gives more than they have. It is
asked of the account's author again whenever the account acts.
"""

from collections.abc import Iterable, Iterator

from upwell.api.core import GRANTS_ANNOTATION, ServiceAccount
from upwell.api.meta import Resource
from upwell.api.values.faults import Fault
from upwell.policy.access.needs import Need
from upwell.policy.access.roles import (
    EVERYWHERE,
    RULES,
    Action,
    Grant,
    InvalidGrantError,
    Role,
    is_allowed,
    parse_grant,
    rules_in,
)

_PREFIX = "system:serviceaccount:"
_MAX_GRANTS = 64
_MAX_LETTERS = 8192


def account_name(namespace: str, name: str) -> str:
    """Return the name of a ServiceAccount as a principal, as Kubernetes has it."""
    return f"{_PREFIX}{namespace}:{name}"


def parse_account(principal: str) -> tuple[str, str] | None:
    """Return namespace and name of the ServiceAccount that is a principal; None: it is none."""
    namespace, _, name = principal.removeprefix(_PREFIX).partition(":")
    is_account = principal.startswith(_PREFIX) and namespace and name
    return (namespace, name) if is_account else None


def declared_grants(account: ServiceAccount) -> tuple[Grant, ...]:
    """Return the grants that an account declares; raises InvalidGrantError."""
    text = account.annotations.get(GRANTS_ANNOTATION, "")
    words = text.split(maxsplit=_MAX_GRANTS) if len(text) <= _MAX_LETTERS else ()
    if len(text) > _MAX_LETTERS or len(words) > _MAX_GRANTS:
        message = f"more than {_MAX_GRANTS} grants, or {_MAX_LETTERS} letters: name fewer"
        raise InvalidGrantError(message)
    return tuple(map(parse_grant, words))


def account_faults(resource: Resource) -> Iterator[Fault]:
    """Yield what is wrong with the grants of a ServiceAccount."""
    if isinstance(resource, ServiceAccount):
        try:
            declared_grants(resource)
        except InvalidGrantError as error:
            yield Fault(f"metadata.annotations[{GRANTS_ANNOTATION}]", str(error))


def grant_needs(resource: Resource) -> Iterator[Need]:
    """Yield the right to give each grant that the object declares."""
    if not isinstance(resource, ServiceAccount):
        return
    try:
        grants = declared_grants(resource)
    except InvalidGrantError:
        return  # it has none then
    for grant in grants:
        for namespace in sorted(grant.namespaces):
            yield Need(_giving(grant.role, namespace), f"gives {grant.role}@{namespace}")


def grants_in_force(account: ServiceAccount, author: Iterable[Grant] | None) -> tuple[Grant, ...]:
    """Return the grants that an account has: those that its author may give now.

    `author` None stands for the administrator.
    """
    try:
        grants = declared_grants(account)
    except InvalidGrantError:
        return ()
    if author is None:
        return grants
    rights = tuple(author)
    kept = (Grant(grant.role, _givable(grant, rights)) for grant in grants)
    return tuple(grant for grant in kept if grant.namespaces)


def exceeding(holder: Iterable[Grant], wanted: Iterable[Grant]) -> Grant | None:
    """Return a grant of `wanted` that allows what `holder` may not; None: there is none."""
    holder = tuple(holder)
    for grant in wanted:
        for namespace in sorted(grant.namespaces):
            known = frozenset(rules_in(holder, _place(namespace)))
            if not known & _EVERYTHING and not known.issuperset(RULES[grant.role]):
                return Grant(grant.role, frozenset({namespace}))
    return None


_EVERYTHING = frozenset(RULES[Role.ADMIN])


def _givable(grant: Grant, author: Iterable[Grant]) -> frozenset[str]:
    return frozenset(
        namespace
        for namespace in grant.namespaces
        if is_allowed(author, _giving(grant.role, namespace))
    )


def _giving(role: Role, namespace: str) -> Action:
    return Action("give", "grants", _place(namespace), role)


def _place(namespace: str) -> str:
    return "" if namespace == EVERYWHERE else namespace
