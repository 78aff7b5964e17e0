"""Settings of authentication and authorization, and whose token is whose by them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_bytes

from upwell.audit.log import AuditLog
from upwell.machine.clock import elapsed, seconds
from upwell.policy.access.roles import EVERYWHERE, Grant, Role
from upwell.policy.access.visibility import WriteOnlyValues
from upwell.server.auth.admin_token import RotateAdminToken
from upwell.server.auth.caller import ANONYMOUS
from upwell.server.auth.people import SESSION_PREFIX, People
from upwell.server.auth.principals import Principal
from upwell.server.auth.registry_access import RegistryAccessTokens
from upwell.server.auth.tokens import LOCAL_ADMIN, Tokens

_KEY_BYTES = 32


def _unkept_values() -> WriteOnlyValues:
    """Return what hides values with a key that ends with the process."""
    return WriteOnlyValues(token_bytes(_KEY_BYTES))


@dataclass(frozen=True, slots=True)
class AccessControl:
    """Settings of authentication and authorization."""

    tokens: Tokens
    audit: AuditLog
    anonymous: Role | None = None
    """Role in all namespaces of requests without a token."""
    clock: Callable[[], float] = elapsed
    """Seconds, for rates."""
    values: WriteOnlyValues = field(default_factory=_unkept_values)
    """Hides values from those who may not read Secrets."""
    rotate_admin: RotateAdminToken | None = None
    """Makes another token of the server's own user."""
    local_users: frozenset[int] = frozenset()
    """The uids that may do everything on the local socket; all others may do nothing there."""
    registry: str = ""
    """The `host:port` by which images of the embedded registry are named."""
    admission: Callable[[], str] = str
    """Returns the id of the cluster's admission in force, which authors get; empty: none is."""
    people: People | None = None
    """People who sign in; None: nobody does."""
    registry_tokens: RegistryAccessTokens = field(
        default_factory=lambda: RegistryAccessTokens(seconds)
    )
    """Tokens for some repositories, which registry clients get for their login."""
    admin_by_socket: bool = False
    """True if the token of the server's own user is refused over the network."""

    def __post_init__(self) -> None:
        """Have ServiceAccounts ask here what those may do who gave them their grants."""
        self.tokens.accounts.ask(self.grants)

    async def principal(self, token: str) -> Principal | None:
        """Return whose token it is; None when it opens nothing. Raises ApiError 503."""
        if token.startswith(SESSION_PREFIX):
            return await self.people.principal(token) if self.people is not None else None
        return await self.tokens.principal(token)

    def is_local_alone(self, user: Principal | None) -> bool:
        """Return True for the server's own user where their token is refused over the network."""
        return user is LOCAL_ADMIN and self.admin_by_socket

    async def grants(self, author: str) -> tuple[Grant, ...]:
        """Return what an author of objects may do now; none: nobody has the name any more."""
        if author == ANONYMOUS:
            return anonymous_grants(self.anonymous)
        if self.people is not None and self.people.owns(author):
            return await self.people.grants(author)
        return await self.tokens.grants(author)


def anonymous_grants(role: Role | None) -> tuple[Grant, ...]:
    """Return the grants of a client without a token."""
    return (Grant(role, frozenset({EVERYWHERE})),) if role else ()
