"""Questions to a cluster's authorization (authorization.k8s.io/v1, SubjectAccessReview)."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from upwell.api.meta import ObjectKey
from upwell.api.reviews import SubjectAccessReview
from upwell.cluster.errors import AccessDeniedError
from upwell.cluster.interface import AccessAttributes, ClusterUser
from upwell.cluster.kubernetes import cluster_error
from upwell.machine.clock import elapsed
from upwell.store.interface import StoreError
from upwell.store.kubernetes_errors import StoreForbiddenError
from upwell.store.kubernetes_http import ApiConnection, ApiRequest

_ALLOWED_SECONDS = 10.0
_DENIED_SECONDS = 2.0
"""So long an answer is good: a right that was given just now counts sooner than one that was taken
away ends, as in Kubernetes' own webhook authorizer."""
_MOST_ANSWERS = 10_000
_AT_ONCE = 8
"""Questions on their way: objects may name hundreds of rights."""


class KubernetesAccessReviews:
    """Implements AccessReviews; answers are kept for some seconds."""

    def __init__(self, api: ApiConnection, clock: Callable[[], float] = elapsed) -> None:
        self._api = api
        self._clock = clock
        self._answers: OrderedDict[tuple[ClusterUser, AccessAttributes], tuple[bool, float]] = (
            OrderedDict()
        )
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def is_allowed(self, user: ClusterUser, wanted: AccessAttributes) -> bool:
        """Ask, unless the answer is known."""
        if (known := self._known(user, wanted)) is not None:
            return known
        async with self._turns:
            if (known := self._known(user, wanted)) is not None:  # while it waited
                return known
            answer = await self._ask(user, wanted)
        ends = self._clock() + (_ALLOWED_SECONDS if answer else _DENIED_SECONDS)
        self._answers[user, wanted] = (answer, ends)
        while len(self._answers) > _MOST_ANSWERS:
            self._answers.popitem(last=False)
        return answer

    def _known(self, user: ClusterUser, wanted: AccessAttributes) -> bool | None:
        answer, ends = self._answers.get((user, wanted), (False, float("-inf")))
        if ends > self._clock():
            return answer
        self._answers.pop((user, wanted), None)
        return None

    async def _ask(self, user: ClusterUser, wanted: AccessAttributes) -> bool:
        kind = SubjectAccessReview.KIND
        request = ApiRequest(
            "POST",
            kind,
            ObjectKey(kind.kind, "", user.name),
            body=_review(user, wanted),
            collection=True,
        )
        try:
            status = (await self._api.ask(request)).document.get("status")
        except StoreForbiddenError as error:
            message = (
                f"Upwell may not ask who may do what: it needs create {kind.resource}: {error}"
            )
            raise AccessDeniedError(message) from error
        except StoreError as error:
            raise cluster_error(error) from error
        return isinstance(status, dict) and status.get("allowed") is True


def _review(user: ClusterUser, wanted: AccessAttributes) -> dict[str, Any]:
    kind = SubjectAccessReview.KIND
    attributes = {
        "verb": wanted.verb,
        "group": wanted.group,
        "resource": wanted.resource,
        "subresource": wanted.subresource,
        "namespace": wanted.namespace,
        "name": wanted.name,
    }
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "spec": {"user": user.name, "groups": list(user.groups), "resourceAttributes": attributes},
    }
