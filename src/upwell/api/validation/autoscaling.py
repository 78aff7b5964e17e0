"""Rules of a HorizontalPodAutoscaler, of every version of its API, which is kept as it is written.

Source: autoscaling/v2 ValidateHorizontalPodAutoscaler; `targetCPUUtilizationPercentage` is v1's.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from upwell.api.meta import Resource
from upwell.api.validation.shapes import Check, integer, listed, one_of, record, text
from upwell.api.values.faults import Fault

_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
"""Fields of metrics by their types."""
_MAX_WINDOW, _MAX_PERIOD = 3600, 1800
_TARGET = record(
    {
        "type": one_of("AverageValue", "Utilization", "Value", empty=False),
        "averageUtilization": integer(1),
    },
    required=("type",),
)
_NAMED = record({"name": text(), "target": _TARGET}, required=("name",))
_MEASURED = record({"target": _TARGET})


def _of_its_type(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    wanted = _SOURCES.get(value.get("type", ""))
    if wanted is None:
        return
    if value.get(wanted) is None:
        yield Fault.required(f"{path}.{wanted}", "must populate information for the given metric")
    for name in _SOURCES.values():
        if name != wanted and value.get(name) is not None:
            why = "must populate the given metric source only"
            yield Fault.forbidden(f"{path}.{name}", why)


def _bounds(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    least, most = value.get("minReplicas"), value.get("maxReplicas")
    if least is not None and most is not None and most < least:
        why = "must be greater than or equal to `minReplicas`"
        yield Fault.invalid(f"{path}.maxReplicas", most, why)


_METRIC: dict[str, Check] = {
    "type": one_of(*_SOURCES, empty=False),
    "containerResource": _NAMED,
    "resource": _NAMED,
    "external": _MEASURED,
    "object": _MEASURED,
    "pods": _MEASURED,
}
_SCALING = record(
    {
        "stabilizationWindowSeconds": integer(0, _MAX_WINDOW),
        "selectPolicy": one_of("Disabled", "Max", "Min", empty=False),
        "policies": listed(
            record(
                {
                    "type": one_of("Percent", "Pods", empty=False),
                    "value": integer(1),
                    "periodSeconds": integer(1, _MAX_PERIOD),
                },
                required=("type", "value", "periodSeconds"),
            )
        ),
    }
)
_SPEC = record(
    {
        "scaleTargetRef": record(
            {"apiVersion": text(), "kind": text(), "name": text()}, required=("kind", "name")
        ),
        "minReplicas": integer(1),
        "maxReplicas": integer(1),
        "targetCPUUtilizationPercentage": integer(1),
        "metrics": listed(record(_METRIC, _of_its_type, required=("type",))),
        "behavior": record({"scaleUp": _SCALING, "scaleDown": _SCALING}),
    },
    _bounds,
    required=("scaleTargetRef", "maxReplicas"),
)


def autoscaler_faults(autoscaler: Resource) -> Iterator[Fault]:
    """Yield every fault of an autoscaler's spec."""
    yield from _SPEC((autoscaler.model_extra or {}).get("spec") or {}, "spec")
