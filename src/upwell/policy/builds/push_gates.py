"""Registries that refuse pushes: which build may try again, and when.

A program that pushes waits out 429s by itself, for minutes, and its build keeps its slot meanwhile.
So once a registry has refused a push, builds that push there begin no more, but for one at a time
that tries whether pushes are taken again.
"""

from dataclasses import dataclass

from upwell.api.builds.build import Build
from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.meta import ObjectKey
from upwell.oci import InvalidReferenceError, Reference

OUTPUT_RATE_LIMITED = "OutputRateLimited"
"""Reason of a build that waits for the registry that it pushes to."""

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 300.0
"""Seconds without a try after a refusal, doubled from the first to the longest."""
TRIAL_SECONDS = 600.0
"""Time of a try after which another build tries beside it: one that takes hours proves nothing."""


@dataclass(slots=True)
class _Refusal:
    """State of a registry since it has refused a push."""

    until: float
    times: int = 1
    trial: ObjectKey | None = None


class PushGates:
    """Registries that have refused a push and taken none since. Times are seconds of any clock."""

    def __init__(self) -> None:
        self._refusals: dict[str, _Refusal] = {}

    def __contains__(self, registry: object) -> bool:
        return registry in self._refusals

    def wait(self, registry: str, now: float) -> float:
        """Return the seconds until a build that pushes there may begin; 0: it may."""
        refusal = self._refusals.get(registry)
        return max(refusal.until - now, 0.0) if refusal is not None else 0.0

    def begin(self, registry: str, build: ObjectKey, now: float) -> None:
        """Note that a build begins; where pushes were refused, it is the one that tries."""
        refusal = self._refusals.get(registry)
        if refusal is not None:
            refusal.trial, refusal.until = build, now + TRIAL_SECONDS

    def refuse(self, registry: str, build: ObjectKey, now: float) -> None:
        """Note a refused push; those of one outage, that began before, count once."""
        refusal = self._refusals.get(registry)
        if refusal is None:
            self._refusals[registry] = _Refusal(now + FIRST_PAUSE)
        elif build == refusal.trial:
            refusal.trial = None
            refusal.until = now + min(FIRST_PAUSE * 2 ** min(refusal.times, 16), LONGEST_PAUSE)
            refusal.times += 1

    def accept(self, registry: str) -> None:
        """Note that a push was taken: builds begin as before."""
        self._refusals.pop(registry, None)

    def end(self, registry: str, build: ObjectKey, now: float) -> None:
        """Note that a build has ended; if it was to try and did not push, another one may."""
        refusal = self._refusals.get(registry)
        if refusal is not None and refusal.trial == build:
            refusal.trial, refusal.until = None, now


def output_registry(build: Build) -> str:
    """Return the registry outside that a build pushes to; empty: none."""
    target = build.spec.output.to
    if target is None or target.kind != DOCKER_IMAGE:
        return ""
    try:
        return Reference.parse(target.name).registry
    except InvalidReferenceError:
        return ""
