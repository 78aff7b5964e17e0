"""config.openshift.io/v1: states of components, as `oc get clusteroperators` shows them.

The server writes these objects; there is nothing to declare in them.
"""

from typing import ClassVar

from pydantic import Field

from upwell.api.conditions import DEGRADED, find
from upwell.api.meta import (
    Column,
    ColumnType,
    Condition,
    Kind,
    Model,
    Resource,
    Scope,
    Time,
)

AVAILABLE, PROGRESSING = "Available", "Progressing"


class OperandVersion(Model):
    """Version of a part."""

    name: str
    version: str


class OperatorFault(Model):
    """A time in which the component was faulty."""

    since: Time
    reason: str = ""
    message: str = ""
    until: Time | None = None
    """None while it lasts."""


class OperatorExtension(Model):
    """Additional status, which OpenShift leaves to each operator."""

    faults: tuple[OperatorFault, ...] = ()
    """Last ones, in order."""


class ClusterOperatorStatus(Model):
    """Status of a component."""

    conditions: tuple[Condition, ...] = ()
    versions: tuple[OperandVersion, ...] = ()
    extension: OperatorExtension = Field(default_factory=OperatorExtension)


def _of(condition: str, field: str) -> str:
    return f'status.conditions[?(@.type=="{condition}")].{field}'


class ClusterOperator(Resource):
    """State of what the server starts or stands on: router, runtime, storage, clock."""

    KIND: ClassVar[Kind] = Kind(
        "config.openshift.io",
        "v1",
        "ClusterOperator",
        "clusteroperators",
        ("co",),
        scope=Scope.CLUSTER,
        read_only=True,
        has_age=False,
        columns=(
            Column("VERSION", 'status.versions[?(@.name=="operator")].version'),
            Column("AVAILABLE", _of(AVAILABLE, "status")),
            Column("PROGRESSING", _of(PROGRESSING, "status")),
            Column("DEGRADED", _of(DEGRADED, "status")),
            Column("SINCE", _of(DEGRADED, "lastTransitionTime"), ColumnType.DATE),
            Column("MESSAGE", _of(DEGRADED, "message")),
        ),
    )

    status: ClusterOperatorStatus = Field(default_factory=ClusterOperatorStatus)

    @property
    def fault(self) -> Condition | None:
        """The condition that says what is wrong; None while nothing is."""
        found = find(self.status.conditions, DEGRADED)
        return found if found is not None and found.is_true else None
