"""Rights on a cluster, where its RBAC gives them: of users, and of what nobody stands for."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from upwell.api.meta import Resource
from upwell.api.values.author import admission_of, author_groups_of, cluster_user_of
from upwell.cluster.errors import AccessDeniedError
from upwell.cluster.interface import AccessReviews, ClusterUser
from upwell.policy.access.needs import Need
from upwell.policy.access.rights import AnsweredRights, in_order
from upwell.policy.access.roles import Action
from upwell.policy.cluster_access.attributes import attributes_of
from upwell.policy.cluster_access.users import namespace_group, user_of
from upwell.reconcilers.authority import AuthorRights, lost_right

MAX_QUESTIONS = 500
"""Rights that one object may take, each of which is a question to the cluster."""


class ClusterRights:
    """Asks a cluster what its users may do."""

    def __init__(self, reviews: AccessReviews) -> None:
        self._reviews = reviews

    async def of(self, user: ClusterUser, wanted: Iterable[Need]) -> AnsweredRights:
        """Return which of the rights a user has; raises a ClusterError worth another try.

        Where this server may not ask, nobody has any.
        """
        needs = in_order(set(wanted))
        actions = list(dict.fromkeys(need.action for need in needs))[:MAX_QUESTIONS]
        answers = dict.fromkeys((need.action for need in needs), _TOO_MANY)
        found = await asyncio.gather(*(self._refusal(user, one) for one in actions))
        answers.update(zip(actions, found, strict=True))
        return AnsweredRights({need: why for need in needs if (why := answers[need.action])})

    async def _refusal(self, user: ClusterUser, action: Action) -> str:
        """Return how it is told that a user may not do something; empty: they may."""
        try:
            for question in attributes_of(action):
                if await self._reviews.is_allowed(user, question):
                    return ""
        except AccessDeniedError as error:
            return f"is unknown to be allowed: {error}"
        who = f"user {user.name}" if user.name else f"group {user.groups[0]}"
        return f"is not allowed to {who} by this cluster's RBAC"


def _without_namespace(wanted: Sequence[Need]) -> str:
    first = in_order(wanted)[0]
    return (
        f"and it has no namespace to act as: it {first.why}; have somebody who may {first.action}"
        " write its spec again while that is in force"
    )


_TOO_MANY = f"is one of more than {MAX_QUESTIONS} rights that it takes"


class ClusterAuthors:
    """Authors of a cluster's objects. Implements AuthorRights.

    Anybody who may write an object may write an author into it: one counts if the admission in
    force has written it. What has none acts as its namespace: it may do there what it likes, and
    elsewhere what the group of that namespace's ServiceAccounts may; of no namespace, nothing.
    """

    def __init__(
        self, rights: ClusterRights, tokens: AuthorRights, admission: Callable[[], str]
    ) -> None:
        """`tokens` are of authors with a token of Upwell's own.

        `admission` returns the id of the admission in force; empty: there is none.
        """
        self._rights = rights
        self._tokens = tokens
        self._admission = admission

    async def refusal(self, resource: Resource, author: str, wanted: Sequence[Need]) -> str:
        """Say who lacks which of the rights; raises a ClusterError."""
        if not author or not self.asks_writers(resource):
            return await self._refusal_of_namespace(resource, wanted)
        name = cluster_user_of(author)
        if name is None:
            return await self._tokens.refusal(resource, author, wanted)
        user = user_of(name, author_groups_of(resource, author))
        why = (await self._rights.of(user, wanted)).lacking(wanted)
        return "" if why is None else lost_right(resource, author, why)

    def asks_writers(self, resource: Resource) -> bool:
        """Return True if the admission in force has seen the last write of the object's spec."""
        admission = self._admission()
        return bool(admission) and admission_of(resource) == admission

    async def _refusal_of_namespace(self, resource: Resource, wanted: Sequence[Need]) -> str:
        own = resource.namespace
        nobody = f"nobody stands for {resource.key} whom this cluster's admission has asked"
        if not own:
            return f"{nobody}, {_without_namespace(wanted)}" if wanted else ""
        foreign = [one for one in wanted if one.action.namespace != own]
        group = namespace_group(own)
        why = (await self._rights.of(ClusterUser(groups=(group,)), foreign)).lacking(foreign)
        if why is None:
            return ""
        return (
            f"{nobody}, so that it acts as its namespace: it {why}; give that to the group, or have"
            " somebody who may do it write the object again"
        )
