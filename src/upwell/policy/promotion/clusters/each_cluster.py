"""Checks whose Jobs run in each cluster of a stage: a result for each, named `CHECK.CLUSTER`; pure.

In each cluster a check has its own name, as everywhere: names of checks are DNS labels, so that no
check has the name of such a result.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.clusters.cluster import Cluster
from upwell.api.pipeline import Check, Stage
from upwell.api.promotion import CheckResult, Promotion
from upwell.policy.promotion.verification.checks import (
    CheckStep,
    VerificationProgress,
    concluded,
)
from upwell.policy.promotion.verification.soak import soak_of


@dataclass(frozen=True, slots=True)
class ClusterPart:
    """The part of a stage's verification that is taken further by way of one cluster."""

    cluster: Cluster | None
    """None: no cluster runs the Release now, and Jobs wait for one."""
    checks: tuple[Check, ...]
    results: tuple[CheckResult, ...]
    """Those stored, by the names of their checks."""


def runs_in_each(stage: Stage, check: Check) -> bool:
    """Return True if the Job of a check runs in each cluster of the stage."""
    return stage.clusters is not None and check.job is not None and check.job.each_cluster


def parts_of(
    stage: Stage, stored: Sequence[CheckResult], clusters: Sequence[Cluster]
) -> tuple[ClusterPart, ...]:
    """Return the parts by way of `clusters`, which have the Release: the first has all checks."""
    checks = stage.verification.checks
    each = tuple(check for check in checks if runs_in_each(stage, check))
    names = {check.name for check in each}
    if not clusters:
        return (ClusterPart(None, checks, _without_each(stored, set())),)
    known = {result.name: result for result in stored}
    first, *others = clusters
    once = _without_each(stored, names)
    parts = [ClusterPart(first, checks, (*_of_cluster(names, known, first), *once))]
    if each:
        parts += [ClusterPart(one, each, _of_cluster(names, known, one)) for one in others]
    return tuple(parts)


def joined(
    stage: Stage,
    promotion: Promotion,
    parts: Sequence[tuple[ClusterPart, VerificationProgress]],
    now: datetime,
) -> VerificationProgress:
    """Return what the parts come to together; all have to pass.

    What has ended in a cluster that is away since counts; what has not is left out there.
    """
    each = {check.name for check in stage.verification.checks if runs_in_each(stage, check)}
    if not each:
        [(_, whole)] = parts
        return whole
    steps: dict[str, CheckStep] = {}
    for part, progress in parts:
        for result in progress.checks:
            is_of_each = part.cluster is not None and result.name in each
            name = f"{result.name}.{part.cluster.name}" if is_of_each and part.cluster else ""
            named = result.model_copy(update={"name": name}) if name else result
            steps[named.name] = CheckStep(named, progress.again)
    for result in promotion.status.checks:
        is_of_each = result.name.partition(".")[0] in each and "." in result.name
        if is_of_each and result.phase.is_final and result.name not in steps:
            steps[result.name] = CheckStep(result)
    return concluded(steps.values(), soak_of(stage, promotion), now)


def _of_cluster(
    names: Iterable[str], known: Mapping[str, CheckResult], cluster: Cluster
) -> tuple[CheckResult, ...]:
    """Return the results of checks in a cluster, by the names of the checks."""
    found = ((name, known.get(f"{name}.{cluster.name}")) for name in sorted(names))
    return tuple(
        result.model_copy(update={"name": name}) for name, result in found if result is not None
    )


def _without_each(stored: Iterable[CheckResult], names: set[str]) -> tuple[CheckResult, ...]:
    """Return the results that are of no cluster, but for those of `names`."""
    return tuple(one for one in stored if "." not in one.name and one.name not in names)
