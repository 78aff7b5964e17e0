"""Rules of a HorizontalPodAutoscaler, of every version of its API, which is kept as it is written.

Source: autoscaling/v2 ValidateHorizontalPodAutoscaler; `targetCPUUtilizationPercentage` is v1's.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from upwell.api.meta import Resource
from upwell.api.validation.shapes import (
    Check,
    Rule,
    integer,
    listed,
    mapped,
    one_of,
    quantity,
    record,
    text,
)
from upwell.api.values.faults import Fault
from upwell.api.values.quantities import parse_quantity

_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
"""Fields of metrics by their types."""
_MAX_WINDOW, _MAX_PERIOD = 3600, 1800
_BETA = {"metricName", "targetAverageUtilization", "targetAverageValue", "targetValue"}
"""Fields of sources in v2beta1 alone, whose other fields have other meanings."""


def _segment_problem(name: str) -> str:
    if name in {".", ".."}:
        return f"may not be '{name}'"
    return "may not contain '/' or '%'" if {"/", "%"} & set(name) else ""


def _positive(value: object, path: str) -> Iterator[Fault]:
    faults = list(quantity(value, path))
    yield from faults
    if not faults and isinstance(value, int | float | str) and parse_quantity(value) == 0:
        yield Fault.invalid(path, value, "must be positive")


def _set(*names: str, one: bool = False) -> Rule:
    """Return the rule that the target has one of the fields; `one` says whether no two."""

    def rule(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
        target = value.get("target")
        if not isinstance(target, dict):
            return
        found = [name for name in names if target.get(name) is not None]
        if not found:
            yield Fault.required(f"{path}.target.{names[0]}", f"must set {' or '.join(names)}")
        elif one and len(found) > 1:
            why = f"may not be set together with {found[0]}"
            yield Fault.forbidden(f"{path}.target.{found[1]}", why)

    return rule


_REFERENCE = record(
    {"apiVersion": text(), "kind": text(_segment_problem), "name": text(_segment_problem)},
    required=("kind", "name"),
)
_TARGET = record(
    {
        "type": one_of("AverageValue", "Utilization", "Value", empty=False),
        "averageUtilization": integer(1),
        "averageValue": _positive,
        "value": _positive,
    },
    required=("type",),
)
_FIELDS: dict[str, Check] = {
    "name": text(),
    "describedObject": _REFERENCE,
    "metric": record(
        {"name": text(_segment_problem), "selector": record({"matchLabels": mapped(text())})},
        required=("name",),
    ),
    "target": _TARGET,
}


def _source(rule: Rule, *required: str) -> Check:
    """Return the check of a metric's source; one in v2beta1's form passes."""
    measured = record(_FIELDS, rule, required=(*required, "target"))

    def check(value: object, path: str) -> Iterator[Fault]:
        if not (isinstance(value, dict) and _BETA & value.keys()):
            yield from measured(value, path)

    return check


_OF_RESOURCES = _source(_set("averageUtilization", "averageValue", one=True), "name")


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
    "containerResource": _OF_RESOURCES,
    "resource": _OF_RESOURCES,
    "external": _source(_set("value", "averageValue", one=True), "metric"),
    "object": _source(_set("value", "averageValue"), "describedObject", "metric"),
    "pods": _source(_set("averageValue"), "metric"),
}


def _some_policy(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if value.get("policies") == []:
        yield Fault.required(f"{path}.policies", "must specify at least one Policy")


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
    },
    _some_policy,
)
_SPEC = record(
    {
        "scaleTargetRef": _REFERENCE,
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
