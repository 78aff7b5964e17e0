"""Commands by which people act on the rollouts of a workload: Upwell's, or a cluster's kubectl's.

A server on a cluster has no right to write the cluster's own kinds, but for their images.
"""

from upwell.api.apps import DaemonSet, Deployment, DeploymentConfig, StatefulSet
from upwell.api.meta import Resource
from upwell.policy.rollouts.settings import WORKLOADS

_DEPLOYMENT = "deployment.kubernetes.io/revision"
"""Annotation of the cluster's Deployment controller."""
_DAEMON_SET = "deprecated.daemonset.template.generation"
"""Annotation of the API server (apps/v1)."""
_STATEFUL_SET = "updateRevision"


def cluster_revision(workload: Resource) -> int | None:
    """Return the number of the newest revision; None before a cluster's controllers saw it."""
    match workload:
        case StatefulSet():
            known = (workload.status.model_extra or {}).get(_STATEFUL_SET)
            return workload.status.observed_generation if known else None
        case Deployment():
            text = workload.annotations.get(_DEPLOYMENT, "")
        case DaemonSet():
            text = workload.annotations.get(_DAEMON_SET, "")
        case _:
            return None
    return int(text) if text.isascii() and text.isdigit() else None


def is_native(workload: Resource) -> bool:
    """Return True if a cluster's own controllers run a workload, as far as it tells.

    They write its status, where a server of one machine has records of its own revisions. What is
    told as one of those has a record without a hash.
    """
    if isinstance(workload, DeploymentConfig):
        return False
    records = getattr(getattr(workload, "status", None), "revisions", ())
    if records:
        return not records[0].hash
    return cluster_revision(workload) is not None or any(
        entry.get("subresource") == "status" for entry in workload.metadata.managed_fields
    )


def without_annotation(workload: Resource, annotation: str) -> str:
    """Return the command of kubectl that takes an annotation away."""
    return f"`kubectl annotate {_place(workload)} {annotation}-`"


def rollout_command(workload: Resource, verb: str) -> str:
    """Return the command of kubectl for a rollout: `undo`, `history`, `resume`, `restart`."""
    return f"`kubectl rollout {verb} {_place(workload)}`"


def resumes(workload: Resource, here: str) -> str:
    """Return what ends a pause: `here`, unless a cluster runs the workload."""
    return rollout_command(workload, "resume") if is_native(workload) else here


def goes_at_once(workload: Resource) -> str:
    """Name the command that rolls out what is kept back, where there is one; else nothing.

    None is there for what a cluster rolls out by itself.
    """
    if not isinstance(workload, WORKLOADS) or is_native(workload):
        return ""
    kind = "dc" if isinstance(workload, DeploymentConfig) else workload.KIND.singular
    command = f"upwell rollout latest {kind}/{workload.name} -n {workload.namespace}"
    return f"; `{command}` goes at once"


def updated_from_now_on(workload: Resource) -> str:
    """Name the command by which triggers that are not automatic become so."""
    by_kubectl = " --dry-run=client -o yaml | kubectl apply -f -" if is_native(workload) else ""
    command = f"upwell set triggers {_place(workload)} --auto{by_kubectl}"
    return f"`{command}` updates it from now on"


def _place(workload: Resource) -> str:
    return f"{workload.KIND.singular}/{workload.name} -n {workload.namespace}"
