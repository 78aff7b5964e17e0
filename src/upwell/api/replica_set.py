"""apps/v1 ReplicaSet: a revision of a Deployment as Kubernetes' clients see it; never stored."""

from typing import ClassVar

from pydantic import Field

from upwell.api.apps import LabelSelector
from upwell.api.core import PodTemplate
from upwell.api.meta import Column, ColumnType, Kind, Model, Resource


class ReplicaSetSpec(Model):
    """Content of the revision."""

    replicas: int = 0
    """0 for every revision but the one that is wanted."""
    selector: LabelSelector = Field(default_factory=LabelSelector)
    template: PodTemplate = Field(default_factory=PodTemplate)


class ReplicaSetStatus(Model):
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
        columns=(
            Column("DESIRED", "spec.replicas", ColumnType.INTEGER),
            Column("CURRENT", "status.replicas", ColumnType.INTEGER),
            Column("READY", "status.readyReplicas", ColumnType.INTEGER),
            Column("IMAGES", "spec.template.spec.containers[*].image", wide=True),
        ),
    )

    spec: ReplicaSetSpec = Field(default_factory=ReplicaSetSpec)
    status: ReplicaSetStatus = Field(default_factory=ReplicaSetStatus)
