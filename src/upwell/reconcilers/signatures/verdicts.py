"""Memory of verdicts, for each policy as it is and each image.

A good verdict stands for good, as a policy that changes is another one; one that holds while a
certificate is valid stands for an hour. Any other stands for a while, ever longer, and until a
signature is told of.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from upwell.api.image_policies.policy import ImagePolicyResource, PolicyType
from upwell.machine.backoff import Backoff
from upwell.oci import Digest
from upwell.policy.signatures.scopes import JudgedImage
from upwell.policy.signatures.verification import Verdict

_MAX_KNOWN = 10_000
_CERTIFICATE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class VerdictKey:
    """A policy as it is, an image, and on whose behalf it was looked at."""

    policy: str
    generation: int
    image: JudgedImage
    namespace: str
    ends: bool = False
    """Passing ends with a certificate."""

    @classmethod
    def of(cls, policy: ImagePolicyResource, image: JudgedImage, namespace: str) -> "VerdictKey":
        """Return the key of what a policy says of an image."""
        ends = policy.spec.policy.root_of_trust.policy_type == PolicyType.PKI
        return cls(policy.uid, policy.generation, image, namespace, ends)


@dataclass(frozen=True, slots=True)
class _Known:
    """A verdict, and the time (of the loop) until which it stands; None: for good."""

    verdict: Verdict
    until: float | None
    failures: int = 0


class VerdictMemory:
    """Verdicts that still stand; those that were not asked for longest are forgotten."""

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or (lambda: asyncio.get_running_loop().time())
        self._known: OrderedDict[VerdictKey, _Known] = OrderedDict()
        self._backoff = Backoff(first=2.0, longest=300.0)

    def recall(self, key: VerdictKey) -> Verdict | None:
        """Return the verdict that stands; None: there is none."""
        known = self._known.get(key)
        if known is None:
            return None
        if known.until is not None and known.until <= self._now():
            return None
        self._known.move_to_end(key)
        return known.verdict

    def remember(self, key: VerdictKey, verdict: Verdict) -> None:
        """Keep a verdict."""
        before = self._known.pop(key, None)
        failures, until = 0, self._now() + _CERTIFICATE_SECONDS if key.ends else None
        if not verdict.passed:
            failures = (before.failures if before is not None else 0) + 1
            until = self._now() + self._backoff.delay(failures)
        self._known[key] = _Known(verdict, until, failures)
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    def forget_refusals(self, image: Digest) -> bool:
        """Forget the verdicts that kept an image out; say whether there were any."""
        stale = [
            key
            for key, known in self._known.items()
            if key.image.digest == image and not known.verdict.passed
        ]
        for key in stale:
            del self._known[key]
        return bool(stale)
