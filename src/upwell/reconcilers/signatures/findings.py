"""Findings in the status of image policies: which images do not pass, where, and why."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

from upwell.api.image_policies.policy import (
    ImagePolicyResource,
    ImagePolicyStatus,
    PolicyFinding,
    PolicyPoint,
)
from upwell.policy.signatures.findings import with_verdict
from upwell.policy.signatures.judgement import PolicyVerdict
from upwell.store.interface import NotFoundError, Store, StoreError
from upwell.store.retry import update_with_retry

log = logging.getLogger(__name__)

_MAX_REMEMBERED = 10_000

type _Place = tuple[str, int, str, str, str]
"""Policy (uid and generation), image, point and namespace."""


class FindingRecorder:
    """Writes what a policy found into its status, when that is new."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._written: OrderedDict[_Place, tuple[str, str]] = OrderedDict()
        """Reason and message that were written last: a status forgets, and it is not told again."""

    async def record(
        self, judged: PolicyVerdict, image: str, point: PolicyPoint, namespace: str
    ) -> None:
        """Note that an image does not pass, or that it does now; a fault of the store is logged."""
        policy = judged.policy
        place = (policy.uid, policy.generation, image, point.value, namespace)
        said = (judged.verdict.reason.value, judged.verdict.message)
        if self._written.get(place) == said:
            return
        finding = PolicyFinding(
            image=image,
            at=point.value,
            namespace=namespace,
            reason=judged.verdict.reason.value,
            message=judged.verdict.message,
            since=self._clock(),
        )

        def changed(current: ImagePolicyResource) -> ImagePolicyStatus:
            return with_verdict(current, finding, passed=judged.verdict.passed)

        if changed(policy) == policy.status:
            self._remember(place, said)
            return

        async def fresh() -> ImagePolicyResource:
            current = await self._store.get(type(policy), policy.namespace, policy.name)
            return current.with_status(changed(current))

        try:
            await update_with_retry(fresh, self._store.update_status)
        except NotFoundError:
            return  # the policy is gone, and its findings with it
        except StoreError:
            log.exception("finding not recorded", extra={"policy": str(policy.key)})
        else:
            self._remember(place, said)

    def _remember(self, place: _Place, said: tuple[str, str]) -> None:
        self._written[place] = said
        self._written.move_to_end(place)
        while len(self._written) > _MAX_REMEMBERED:
            self._written.popitem(last=False)
