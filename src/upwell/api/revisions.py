"""Revisions of workloads as clients see them: ReplicaSets, ReplicationControllers; never stored."""

from typing import ClassVar

from pydantic import Field

from upwell.api.apps import LabelSelector
from upwell.api.columns import workloads
from upwell.api.meta import Kind, Model, Resource
from upwell.api.pod_template import PodTemplate


class ReplicaSetSpec(Model):
    """Content of the revision."""

    replicas: int = 0
    """0 for every revision but the one that is wanted."""
    selector: LabelSelector = Field(default_factory=LabelSelector)
    template: PodTemplate = Field(default_factory=PodTemplate)


class RevisionStatus(Model):
    """Status of the revision that is wanted; that of others is empty."""

    replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    observed_generation: int | None = None


class ReplicaSet(Resource):
    """One revision of a Deployment."""

    KIND: ClassVar[Kind] = Kind(
        "apps",
        "v1",
        "ReplicaSet",
        "replicasets",
        ("rs",),
        has_status=False,
        verbs=("get", "list", "watch"),
        columns=workloads.REPLICA_SET,
    )

    spec: ReplicaSetSpec = Field(default_factory=ReplicaSetSpec)
    status: RevisionStatus = Field(default_factory=RevisionStatus)


class ReplicationControllerSpec(Model):
    """Content of the revision."""

    replicas: int = 0
    """0 for every revision but the one that is wanted."""
    min_ready_seconds: int | None = None
    selector: dict[str, str] = Field(default_factory=dict)
    template: PodTemplate = Field(default_factory=PodTemplate)


class ReplicationController(Resource):
    """One revision of a DeploymentConfig; writing it cancels or retries its rollout."""

    KIND: ClassVar[Kind] = Kind(
        "",
        "v1",
        "ReplicationController",
        "replicationcontrollers",
        ("rc",),
        has_status=False,
        verbs=("get", "list", "patch", "update", "watch"),
        columns=workloads.REPLICATION_CONTROLLER,
    )

    spec: ReplicationControllerSpec = Field(default_factory=ReplicationControllerSpec)
    status: RevisionStatus = Field(default_factory=RevisionStatus)
