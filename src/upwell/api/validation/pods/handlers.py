"""Probes of containers, and actions at moments of their life."""

from collections.abc import Iterator, Mapping
from typing import Any

from upwell.api.validation.formats import header_problem
from upwell.api.validation.shapes import (
    INT64,
    Check,
    forbidden_together,
    integer,
    listed,
    one_of,
    one_required,
    port_or_name,
    record,
    text,
)
from upwell.api.values.faults import Fault

_PORT = {"port": port_or_name, "host": text()}
_HANDLERS: dict[str, Check] = {
    "exec": record({"command": listed(text())}, required=("command",)),
    "httpGet": record(
        {
            **_PORT,
            "path": text(),
            "scheme": one_of("HTTP", "HTTPS"),
            "httpHeaders": listed(
                record({"name": text(header_problem), "value": text()}, required=("name",))
            ),
        },
        required=("port",),
    ),
    "tcpSocket": record(_PORT, required=("port",)),
}
_OF_PROBES = {
    **_HANDLERS,
    "grpc": record({"port": integer(1, 65535), "service": text()}, required=("port",)),
}
_OF_MOMENTS = {
    **_HANDLERS,
    "sleep": record({"seconds": integer(0, INT64)}),
}
_SEVERAL = "may not specify more than 1 handler type"
_NONE = "must specify a handler type"
_NUMBERS = dict.fromkeys(
    (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ),
    integer(),
)


def _one_success(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if (found := value.get("successThreshold") or 1) != 1:
        yield Fault.invalid(f"{path}.successThreshold", found, "must be 1")


def _no_grace(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    field = "terminationGracePeriodSeconds"
    if value.get(field) is not None:
        yield Fault.invalid(f"{path}.{field}", value[field], "must not be set for readinessProbes")


_PROBE = {**_OF_PROBES, **_NUMBERS, "terminationGracePeriodSeconds": integer(1, INT64)}
_ONE_HANDLER = (
    forbidden_together(*_OF_PROBES, because=_SEVERAL),
    one_required(*_OF_PROBES, because=_NONE),
)
probes: dict[str, Check] = {
    "livenessProbe": record(_PROBE, *_ONE_HANDLER, _one_success),
    "readinessProbe": record(_PROBE, *_ONE_HANDLER, _no_grace),
    "startupProbe": record(_PROBE, *_ONE_HANDLER, _one_success),
}
"""Probes of a container by their fields."""

_MOMENT = record(
    _OF_MOMENTS,
    forbidden_together(*_OF_MOMENTS, because=_SEVERAL),
    one_required(*_OF_MOMENTS, because=_NONE),
)
lifecycle = record({"postStart": _MOMENT, "preStop": _MOMENT, "stopSignal": text()})
"""`lifecycle` of a container."""


def sleep_faults(container: Mapping[str, Any], grace: int, path: str) -> Iterator[Fault]:
    """Yield the pauses of a valid container that last longer than its grace period, in seconds."""
    for moment, action in (container.get("lifecycle") or {}).items():
        if isinstance(action, dict) and (sleep := action.get("sleep")):
            seconds = sleep.get("seconds") or 0
            if seconds > grace:
                why = f"must be less than terminationGracePeriodSeconds ({grace})"
                yield Fault.invalid(f"{path}.lifecycle.{moment}.sleep", seconds, why)
