"""Findings in the status of image policies: which images do not pass, where, and why."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

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
_MAX_WAITING = 1000

type _Place = tuple[str, int, str, str, str]
"""Policy (uid and generation), image, point and namespace."""


class VerdictFindings(Protocol):
    """Takes in what policies found."""

    async def record(
        self, judged: PolicyVerdict, image: str, point: PolicyPoint, namespace: str
    ) -> None:
        """Note that an image does not pass, or that it does now."""
        ...


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
        place = _place(policy, image, point, namespace)
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


class DeferredPasses:
    """Implements VerdictFindings: what passes goes on at once, and is recorded a moment later.

    `run` does so; it is lost in a crash, and recorded when the image is judged again. What does not
    pass is recorded before anybody hears of it.
    """

    def __init__(self, recorder: FindingRecorder) -> None:
        self._recorder = recorder
        self._waiting: OrderedDict[_Place, tuple[PolicyVerdict, str, PolicyPoint, str]] = (
            OrderedDict()
        )
        self._work = asyncio.Event()

    async def record(
        self, judged: PolicyVerdict, image: str, point: PolicyPoint, namespace: str
    ) -> None:
        """Note that an image does not pass, or that it does now."""
        place = _place(judged.policy, image, point, namespace)
        if judged.verdict.passed and len(self._waiting) < _MAX_WAITING:
            self._waiting[place] = (judged, image, point, namespace)
            self._work.set()
            return
        self._waiting.pop(place, None)
        await self._recorder.record(judged, image, point, namespace)

    async def run(self) -> None:
        """Record what waits, for ever."""
        while True:
            await self._work.wait()
            while self._waiting:
                _, (judged, image, point, namespace) = self._waiting.popitem(last=False)
                await self._recorder.record(judged, image, point, namespace)
            self._work.clear()


def _place(policy: ImagePolicyResource, image: str, point: PolicyPoint, namespace: str) -> _Place:
    return policy.uid, policy.generation, image, point.value, namespace
