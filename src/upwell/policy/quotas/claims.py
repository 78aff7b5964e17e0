"""Bytes that claims ask for: of their own, and of the templates of a StatefulSet; pure."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from upwell.api.apps import StatefulSet
from upwell.api.codec import encode
from upwell.api.core import STORAGE
from upwell.api.meta import Resource
from upwell.api.storage import PersistentVolumeClaim
from upwell.api.values.quantities import InvalidQuantityError, parse_quantity


def asked_of_claims(resource: Resource) -> Mapping[str, Decimal]:
    """Return the bytes of each claim of an object (of a set: of one replica), by their paths."""
    return {
        f"{path}.resources.requests[{STORAGE}]": _bytes(spec) for path, spec in _specs(resource)
    }


def _specs(resource: Resource) -> Iterator[tuple[str, Any]]:
    match resource:
        case PersistentVolumeClaim():
            yield "spec", encode(resource).get("spec")
        case StatefulSet():
            for at, template in enumerate(resource.spec.volume_claim_templates):
                yield f"spec.volumeClaimTemplates[{at}].spec", template.spec


def _bytes(spec: Any) -> Decimal:
    for step in ("resources", "requests", STORAGE):
        spec = spec.get(step) if isinstance(spec, dict) else None
    try:
        return parse_quantity(spec) if isinstance(spec, str | int) else Decimal(0)
    except InvalidQuantityError:
        return Decimal(0)
