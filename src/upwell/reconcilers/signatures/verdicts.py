"""Memory of verdicts, for each policy as it is and each image.

A good verdict stands for good, as a policy that changes is another one. Any other stands for a
while, ever longer, and until a signature is told of.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from upwell.api.image_policies.policy import ImagePolicyResource
from upwell.machine.backoff import Backoff
from upwell.oci import Digest
from upwell.policy.signatures.scopes import JudgedImage
from upwell.policy.signatures.verification import Verdict

_MAX_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class VerdictKey:
    """A policy as it is, an image, and on whose behalf it was looked at."""

    policy: str
    generation: int
    image: JudgedImage
    namespace: str

    @classmethod
    def of(cls, policy: ImagePolicyResource, image: JudgedImage, namespace: str) -> "VerdictKey":
        """Return the key of what a policy says of an image."""
        return cls(policy.uid, policy.generation, image, namespace)


@dataclass(frozen=True, slots=True)
class _Known:
    """A verdict, and the time (of the loop) until which it stands; None: for good."""

    verdict: Verdict
    until: float | None
    failures: int = 0


class VerdictMemory:
    """Verdicts that still stand; those that were not asked for longest are forgotten."""

    def __init__(self) -> None:
        self._known: OrderedDict[VerdictKey, _Known] = OrderedDict()
        self._backoff = Backoff(first=2.0, longest=300.0)

    def recall(self, key: VerdictKey) -> Verdict | None:
        """Return the verdict that stands; None: there is none."""
        known = self._known.get(key)
        if known is None:
            return None
        if known.until is not None and known.until <= asyncio.get_running_loop().time():
            return None
        self._known.move_to_end(key)
        return known.verdict

    def remember(self, key: VerdictKey, verdict: Verdict) -> None:
        """Keep a verdict."""
        before = self._known.pop(key, None)
        failures, until = 0, None
        if not verdict.passed:
            failures = (before.failures if before is not None else 0) + 1
            until = asyncio.get_running_loop().time() + self._backoff.delay(failures)
        self._known[key] = _Known(verdict, until, failures)
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    def forget_refusals(self, image: Digest) -> bool:
        """Forget the verdicts that kept an image out; say whether there were any."""
        stale = [
            key
            for key, known in self._known.items()
            if key.image.digest == image and known.until is not None
        ]
        for key in stale:
            del self._known[key]
        return bool(stale)
