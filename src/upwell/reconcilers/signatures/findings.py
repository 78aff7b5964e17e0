"""Findings in the status of image policies: which images do not pass, where, and why."""

import logging
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


class FindingRecorder:
    """Writes what a policy found into its status, when that is new."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def record(
        self, judged: PolicyVerdict, image: str, point: PolicyPoint, namespace: str
    ) -> None:
        """Note that an image does not pass, or that it does now; a fault of the store is logged."""
        policy = judged.policy
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
