"""Volumes that outlive instances: PersistentVolumeClaims (v1), each a folder of the data folder."""

from typing import Any, ClassVar

from pydantic import Field

from upwell.api.columns import core
from upwell.api.core import Quantity
from upwell.api.meta import Kind, Model, Resource

BLOCK = "Block"
"""The volumeMode of a device, which no claim is here."""


class ClaimResources(Model):
    """Bytes that a claim asks for, and its most."""

    requests: dict[str, Quantity] = Field(default_factory=dict)
    limits: dict[str, Quantity] = Field(default_factory=dict)


class PersistentVolumeClaimSpec(Model):
    """Desired state of a claim; all are served alike: a class or a volume selects nothing."""

    access_modes: tuple[str, ...] = ()
    resources: ClaimResources = Field(default_factory=ClaimResources)
    volume_mode: str | None = None
    storage_class_name: str | None = None
    volume_name: str | None = None
    selector: dict[str, Any] | None = None
    data_source: dict[str, Any] | None = None
    data_source_ref: dict[str, Any] | None = None
    volume_attributes_class_name: str | None = None


class PersistentVolumeClaimStatus(Model):
    """State of a claim: bound as soon as it is there."""

    phase: str = ""
    access_modes: tuple[str, ...] = ()
    capacity: dict[str, Quantity] = Field(default_factory=dict)


class PersistentVolumeClaim(Resource):
    """A named volume of a namespace, which workloads mount."""

    KIND: ClassVar[Kind] = Kind(
        "",
        "v1",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        ("pvc",),
        columns=core.CLAIM,
    )

    spec: PersistentVolumeClaimSpec = Field(default_factory=PersistentVolumeClaimSpec)
    status: PersistentVolumeClaimStatus = Field(default_factory=PersistentVolumeClaimStatus)
