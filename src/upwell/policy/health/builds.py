"""Faults of builds: the newest one that failed, and inputs that are not there."""

from collections.abc import Iterator

from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.conditions import AS_EXPECTED, DEGRADED, find
from upwell.api.meta import Condition
from upwell.builder.interface import DISK_PRESSURE
from upwell.policy.builds.failures import waits_for_retry, without_next_attempt
from upwell.policy.health.fault import FaultEvent, HealthFault

_READY = "Ready"
SIGNED = "Signed"
"""Condition of a Build: its image has a signature and provenance of this server."""
SBOM_ATTESTED = "SBOMAttested"
"""Condition of a Build: its image has an SBOM that this server has signed."""
NEVER_SIGNED = frozenset({"ImageGone", "NotMadeHere"})
"""Reasons for which it stays False, and nobody has to mend anything."""
_BLOCKING = frozenset({"InputsMissing", "Cycle"})
"""Reasons of `Ready` that a person has to mend: an upload that is awaited is none."""


def reason_of(build: Build) -> str:
    """Return why a build stands where it does, for people."""
    status = build.status
    return ": ".join(text for text in (status.reason, status.message) if text) or "no reason given"


def outcome_of(build: Build) -> str:
    """Return how a build ended, or stands, and why."""
    stands = "is tried again" if waits_for_retry(build) else build.status.phase.value.lower()
    return f"build {build.name} {stands}: {reason_of(build)}"


def has_failed(build: Build) -> bool:
    """Return True if a build has ended without a result, and nobody wanted that."""
    phase = build.status.phase
    return phase.is_terminal and phase not in {BuildPhase.COMPLETE, BuildPhase.CANCELLED}


def build_degradation(newest: Build | None, before: Condition | None) -> Condition | None:
    """Return the condition of a BuildConfig on its newest build; there once one was faulty.

    One that is under way says nothing yet: the outcome before it stands.
    """
    if newest is None:
        return before
    waits = newest.status.retry_time is not None and not newest.status.phase.is_terminal
    if has_failed(newest) or waits:
        reason = newest.status.reason or "BuildFailed"
        return Condition(type=DEGRADED, status="True", reason=reason, message=outcome_of(newest))
    if before is None or not newest.status.phase.is_terminal:
        return before
    text = f"build {newest.name} {newest.status.phase}"
    return Condition(type=DEGRADED, status="False", reason=AS_EXPECTED, message=text)


def config_faults(config: BuildConfig) -> Iterator[HealthFault]:
    """Yield the faults of a BuildConfig, as its conditions store them."""
    degraded = find(config.status.conditions, DEGRADED)
    if degraded is not None and degraded.is_true:
        # Its Event and its notice tell of the cause once, however often it is tried again.
        message = without_next_attempt(degraded.message)
        again = degraded.message[len(message) :].strip()
        told = degraded.model_copy(update={"message": message.removesuffix(".")})
        how = _next_attempt(degraded, again) or f"see `upwell logs buildconfig/{config.name}`"
        yield HealthFault.of(config.key, FaultEvent.BUILD_FAILED, told, how)
    ready = find(config.status.conditions, _READY)
    if ready is not None and ready.status == "False" and ready.reason in _BLOCKING:
        yield HealthFault.of(config.key, FaultEvent.BUILD_BLOCKED, ready)


def _next_attempt(degraded: Condition, again: str) -> str:
    """Return what ends the wait for the next attempt, and when that is; empty: there is none."""
    if not again:
        return ""
    told = again[0].lower() + again[1:].removesuffix(".")
    if degraded.reason == DISK_PRESSURE:
        return f"free space: `upwell prune` lists what may go; {told}"
    return told


def build_faults(build: Build) -> Iterator[HealthFault]:
    """Yield that the image is not signed yet, or that a Build without a BuildConfig has failed.

    Of those with one, only the newest is a fault, and the BuildConfig's.
    """
    unsigned = find(build.status.conditions, SIGNED)
    waits = unsigned is not None and unsigned.status == "False"
    if unsigned is not None and waits and unsigned.reason not in NEVER_SIGNED:
        yield HealthFault.of(build.key, FaultEvent.IMAGE_UNSIGNED, unsigned)
    if has_failed(build) and not build.labels.get(BUILD_CONFIG_LABEL):
        status = build.status
        reason, at = status.reason or "BuildFailed", status.completion_timestamp
        yield HealthFault(build.key, FaultEvent.BUILD_FAILED, reason, outcome_of(build), at)
