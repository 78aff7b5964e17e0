"""Users of a cluster and their groups, as its authorization is asked about them; pure."""

from upwell.cluster.interface import ClusterUser
from upwell.policy.access.service_accounts import parse_account

_ACCOUNTS = "system:serviceaccounts"
_AUTHENTICATED = "system:authenticated"


def namespace_group(namespace: str) -> str:
    """Return the group of a namespace's ServiceAccounts (Kubernetes, "Authenticating")."""
    return f"{_ACCOUNTS}:{namespace}"


def user_of(name: str, groups: tuple[str, ...]) -> ClusterUser:
    """Return the user of a name; a ServiceAccount's groups follow from its name."""
    account = parse_account(name)
    if account is not None:
        return ClusterUser(name, (_ACCOUNTS, namespace_group(account[0]), _AUTHENTICATED))
    return ClusterUser(name, groups)
