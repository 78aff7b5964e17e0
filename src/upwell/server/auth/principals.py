"""Sender of a request, as authentication found it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from upwell.policy.access.roles import REPOSITORIES, SELF_REVIEWS, Action, Grant, is_allowed


@dataclass(frozen=True, slots=True)
class Principal:
    """Sender of a request, and their grants."""

    username: str
    grants: tuple[Grant, ...]
    registry_only: bool = False
    """True if the grants hold for the embedded registry alone."""
    unlimited: bool = False
    """True if no rate limit holds: for the machine's own user and its builds."""
    repositories: Mapping[str, frozenset[str]] | None = None
    """Repositories of the embedded registry by `pull` and `push`, in place of what grants give."""
    inputs_tag: str = ""
    """Of a build: the one tag of inputs that it may set, its own."""
    ends: datetime | None = None
    """End of the credentials; None: they have none."""
    groups: tuple[str, ...] = ()
    """Groups of a person who has signed in, or whom a token names."""
    session: str = ""
    """Id of their session."""
    person: str = ""
    """Name of the person whose token it is, where that names one."""
    uid: str = ""
    """Of a ServiceAccount: one of the same name that is made later has another."""
    is_ending: bool = False
    """True once their owner should be told of it."""

    def may(self, action: Action) -> bool:
        """Return True if the principal has the right to an action.

        Who they are and what they may do, everybody may ask who has a name, as by the ClusterRole
        system:basic-user of Kubernetes.
        """
        if self.repositories is None:
            is_about_self = action.verb == "create" and action.resource in SELF_REVIEWS
            return bool(self.username and is_about_self) or is_allowed(self.grants, action)
        names = self.repositories.get(action.verb, frozenset())
        return action.resource == REPOSITORIES and action.name in names

    @property
    def may_anything(self) -> bool:
        """True if there is something that the principal may do beside what everyone may.

        Who has a name may at least ask about themselves, and find out how (system:discovery).
        """
        return bool(self.username or self.grants) or self.repositories is not None
