"""The clusters that a stage means, and what keeps it from them; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from upwell.api.apps import DeploymentConfig, LabelSelector
from upwell.api.clusters.cluster import AUTHORIZED, CHECKS_AUTHORIZED, LOCAL, Cluster
from upwell.api.conditions import find
from upwell.api.pipeline import Check, ClusterPhase, ClusterProgress, Pipeline, Stage
from upwell.policy.clusters.condition import (
    MISSING_RIGHTS,
    away_text,
    is_reachable,
    unusable_since,
)
from upwell.policy.health.promotion import StageObstacle
from upwell.policy.promotion.stages import namespace_of
from upwell.policy.promotion.verification.junit import PRINTED

MAX_MESSAGE = 500
"""Characters that are kept of a cluster."""


@dataclass(frozen=True, slots=True)
class ClusterTarget:
    """A cluster that a stage means."""

    cluster: Cluster
    is_canary: bool = False
    away: str = ""
    """Reason why nothing can be set there now, for people; empty: it can."""
    lacks_rights: bool = False
    """True if it is away for want of rights alone."""

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return self.cluster.name


def targets_of(
    pipeline: Pipeline, stage: Stage, clusters: Iterable[Cluster]
) -> tuple[ClusterTarget, ...]:
    """Return the clusters that a stage means, in the order in which they get a Release."""
    found = [
        _target(pipeline, stage, one)
        for one in clusters
        if not one.is_deleting and _is_meant(stage, one)
    ]
    return tuple(sorted(found, key=lambda one: (not one.is_canary, one.name)))


def checked_clusters(
    pipeline: Pipeline,
    stage: Stage,
    clusters: Iterable[Cluster],
    progress: Iterable[ClusterProgress],
) -> tuple[Cluster, ...]:
    """Return the clusters in which the Jobs of a stage's checks can run: those with the Release.

    They are in the order in which they got it; Jobs run in the first, or in each.
    """
    done = {one.name for one in progress if one.phase is ClusterPhase.COMPLETE}
    targets = targets_of(pipeline, stage, clusters)
    return tuple(one.cluster for one in targets if one.name in done and not one.away)


def away_now(
    targets: Iterable[ClusterTarget], progress: Iterable[ClusterProgress]
) -> dict[str, ClusterProgress]:
    """Return the clusters of a record that are away now, as such, though they had the Release."""
    known = {one.name: one for one in targets if one.away}
    return {
        one.name: one.model_copy(
            update={
                "phase": ClusterPhase.AWAY,
                "message": target.away[:MAX_MESSAGE],
                "since": unusable_since(target.cluster),
            }
        )
        for one in progress
        if (target := known.get(one.name)) is not None and one.phase.had_turn
    }


def runs_checks_in(stage: Stage, cluster: Cluster) -> bool:
    """Return True if checks of a stage are Jobs, and the stage means the cluster."""
    return _has_jobs(stage) and _is_meant(stage, cluster)


def most_unavailable(stage: Stage) -> int:
    """Return how many clusters of a stage may be away or fail."""
    return 0 if stage.clusters is None else stage.clusters.max_unavailable


def cluster_obstacle(
    pipeline: Pipeline, stage: Stage, clusters: Iterable[Cluster]
) -> StageObstacle | None:
    """Return why no Release is set on the clusters of a stage; None: one may be."""
    if stage.runs_here:
        return None
    if (unsupported := _unsupported(stage)) is not None:
        return unsupported
    targets = targets_of(pipeline, stage, clusters)
    if not targets and stage.clusters is None:
        return StageObstacle("ClusterNotFound", f"there is no Cluster {stage.cluster}")
    if not targets:
        why = "no Cluster has the labels of its selector"
        return StageObstacle("ClusterNotFound", why)
    return unavailable(stage, targets)


def unavailable(stage: Stage, targets: Sequence[ClusterTarget]) -> StageObstacle | None:
    """Return that too many clusters are away; None: no more than may be."""
    away = [one for one in targets if one.away]
    canaries = [one for one in away if one.is_canary]
    if not canaries and len(away) <= most_unavailable(stage):
        return None
    named = canaries or away
    is_denied = all(one.lacks_rights for one in named)
    reason = MISSING_RIGHTS if is_denied else "ClusterUnavailable"
    return StageObstacle(reason, "; ".join(f"cluster {one.name}: {one.away}" for one in named))


def _has_jobs(stage: Stage) -> bool:
    return any(check.job is not None for check in stage.verification.checks)


def _is_meant(stage: Stage, cluster: Cluster) -> bool:
    if stage.clusters is None:
        return stage.cluster == cluster.name
    return cluster.name != LOCAL and _matches(stage.clusters.selector, cluster)


def _is_canary(stage: Stage, cluster: Cluster) -> bool:
    chosen = stage.clusters
    return chosen is not None and chosen.canary is not None and _matches(chosen.canary, cluster)


def _matches(selector: LabelSelector, cluster: Cluster) -> bool:
    wanted = selector.match_labels
    return bool(wanted) and wanted.items() <= cluster.labels.items()


def _target(pipeline: Pipeline, stage: Stage, cluster: Cluster) -> ClusterTarget:
    unreached = _unreached(pipeline, stage, cluster)
    denied = "" if unreached else _denied(stage, cluster)
    is_canary = _is_canary(stage, cluster)
    return ClusterTarget(cluster, is_canary, unreached or denied, lacks_rights=bool(denied))


def _unreached(pipeline: Pipeline, stage: Stage, cluster: Cluster) -> str:
    namespace, allowed = namespace_of(pipeline, stage), cluster.spec.namespaces
    if allowed and namespace not in allowed:
        return f"namespace {namespace} is none of its `namespaces`"
    return "" if is_reachable(cluster) else away_text(cluster)


def _denied(stage: Stage, cluster: Cluster) -> str:
    """Return which rights the access lacks of those that the stage takes."""
    asked = [AUTHORIZED, *([CHECKS_AUTHORIZED] if _has_jobs(stage) else ())]
    for kind in asked:
        found = find(cluster.status.conditions, kind)
        if found is not None and found.status == "False":
            return found.message
    return ""


def _unsupported(stage: Stage) -> StageObstacle | None:
    config = DeploymentConfig.KIND.kind
    if any(one.kind == config for one in stage.workloads):
        why = f"no {config} is rolled out on another cluster: let the stage name a Deployment"
        hint = "or have an Upwell in that cluster, with a Pipeline of its own"
        return StageObstacle("UnsupportedWorkload", f"{why}, {hint}")
    for check in stage.verification.checks:
        if check.job is not None and check.job.junit not in {"", PRINTED}:
            why = f"check {check.name} asks for a report, and no files of a test are read there"
            hint = f"have it print the report, with `junit: {PRINTED}`"
            return StageObstacle("UnsupportedCheck", f"{why}: {hint}")
        if not stage.address and _asks_address(check):
            why = f"check {check.name} asks the stage's address, which is not known of a cluster"
            return StageObstacle("UnsupportedCheck", f"{why}: set `address`")
    return None


def _asks_address(check: Check) -> bool:
    if check.http is not None:
        return "://" not in check.http.url
    return check.tcp is not None and not check.tcp.address
