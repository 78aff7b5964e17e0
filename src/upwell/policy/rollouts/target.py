"""Revision of a workload that shall serve: the declared one, unless something speaks against."""

from dataclasses import dataclass
from enum import StrEnum

from upwell.api.apps import RevisionRecord
from upwell.policy.rollouts.history import Phase, Records, find, last_good


class TargetReason(StrEnum):
    """Reason why this revision is the target."""

    DECLARED = "Declared"
    """It is what the template says."""
    BEGIN = "Begin"
    """The template says something new, and nothing speaks against it: a revision has to begin."""
    FALLEN_BACK = "FallenBack"
    """The revision of the template has failed; the last good revision serves."""
    KEPT = "Kept"
    """The revision of the template may not begin now; what was in force stays."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The revision that shall serve, if there is one, and why."""

    choice: TargetReason
    record: RevisionRecord | None


def choose(records: Records, wanted: str, failed: str | None, *, may_begin: bool) -> Chosen:
    """Choose the target, given the hash of the declared template and that of the one that failed.

    `may_begin` is false while the rollout is paused or the template cannot be run yet.
    """
    good = last_good(records, besides=wanted)
    if failed == wanted and good is not None:
        return Chosen(TargetReason.FALLEN_BACK, good)
    # One that has failed begins anew when the template came back to it after a change.
    if records and records[0].hash == wanted and (records[0].phase != Phase.FAILED or not good):
        return Chosen(TargetReason.DECLARED, records[0])
    if may_begin:
        return Chosen(TargetReason.BEGIN, find(records, wanted))
    if records and records[0].phase == Phase.PROGRESSING:
        return Chosen(TargetReason.KEPT, records[0])
    return Chosen(TargetReason.KEPT, last_good(records) or (records[0] if records else None))
