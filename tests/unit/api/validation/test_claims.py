"""Faults of PersistentVolumeClaims, as Kubernetes says them."""

from typing import Any

import pytest

from upwell.api.codec import decode_as
from upwell.api.storage import PersistentVolumeClaim
from upwell.api.validation.objects import validate

METADATA = {"name": "data", "namespace": "shop"}
VALID = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


@pytest.mark.parametrize(
    ("changes", "path", "cause"),
    [
        ({"accessModes": []}, "spec.accessModes", "FieldValueRequired"),
        ({"accessModes": ["RWO"]}, "spec.accessModes[0]", "FieldValueNotSupported"),
        ({"resources": {}}, "spec.resources.requests[storage]", "FieldValueRequired"),
        (
            {"resources": {"requests": {"storage": "0"}}},
            "spec.resources.requests[storage]",
            "FieldValueInvalid",
        ),
        (
            {"resources": {"requests": {"storage": "much"}}},
            "spec.resources.requests[storage]",
            "FieldValueInvalid",
        ),
        (
            {"resources": {"requests": {"storage": "1Gi", "cpu": "much"}}},
            "spec.resources.requests[cpu]",
            "FieldValueInvalid",
        ),
        ({"storageClassName": "Very fast"}, "spec.storageClassName", "FieldValueInvalid"),
        ({"volumeMode": "Folder"}, "spec.volumeMode", "FieldValueNotSupported"),
    ],
)
def test_a_fault_has_its_path(changes: dict[str, Any], path: str, cause: str) -> None:
    claim = decode_as(PersistentVolumeClaim, {"metadata": METADATA, "spec": VALID | changes})
    (fault,) = validate(claim)
    assert (fault.path, fault.cause) == (path, cause)


@pytest.mark.parametrize(
    "changes", [{}, {"storageClassName": "fast"}, {"volumeMode": "Block"}, {"selector": {}}]
)
def test_what_kubernetes_takes_is_taken(changes: dict[str, Any]) -> None:
    claim = decode_as(PersistentVolumeClaim, {"metadata": METADATA, "spec": VALID | changes})
    assert validate(claim) == ()
