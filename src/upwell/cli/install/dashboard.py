"""Dashboard of Grafana that shows every metric of the server (docs/metrics.md)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from upwell.cli.install.installation import NAME

type Document = dict[str, Any]

_JOB = '{job=~"$job"}'
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
_RATE = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel with its queries (PromQL): legend -> expression, where `@` is the chosen job."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    """Of Grafana's: https://grafana.com/docs/grafana/latest/panels-visualizations."""
    kind: str = "timeseries"
    bad: float | None = None
    """A stat is red from here on."""


def _rate(metric: str, labels: str) -> dict[str, str]:
    legend = " ".join(f"{{{{{label}}}}}" for label in labels.split(", "))
    return {legend: f"sum by ({labels}) (rate({metric}@[{_RATE}]))"}


def _slowest(metric: str, labels: str) -> dict[str, str]:
    legend = " ".join(f"{{{{{label}}}}}" for label in labels.split(", "))
    buckets = f"sum by ({labels}, le) (rate({metric}_bucket@[{_RATE}]))"
    return {legend: f"histogram_quantile(0.99, {buckets})"}


def _stat(title: str, query: str, bad: float | None = None, unit: str = "short") -> Panel:
    return Panel(title, {title: query}, unit, "stat", bad)


# Every replica tells of the same objects: `max` counts them once.
_ROWS: dict[str, tuple[Panel, ...]] = {
    "Now": (
        _stat("Faults", "sum(max by (kind, reason) (upwell_faults@)) or vector(0)", 1),
        _stat("Components down", "count(upwell_component_up@ == 0) or vector(0)", 1),
        _stat("Workloads behind", "max(upwell_workloads_behind@)", 1),
        _stat("Imports failing", "max(upwell_imports_failing@)", 1),
        _stat("Builds waiting", "max(upwell_builds_waiting@)"),
        _stat("Until they have ended", "max(upwell_builds_remaining_seconds@)", unit="s"),
        _stat("Leaders", "sum(upwell_leader@)", 2),
        _stat("Damaged files", "sum(upwell_registry_damaged@)", 1),
    ),
    "Faults": (
        Panel(
            "Faults of objects", {"{{kind}} {{reason}}": "max by (kind, reason) (upwell_faults@)"}
        ),
        Panel("Components", {"{{component}} {{instance}}": "upwell_component_up@"}),
        Panel(
            "Components that were started anew",
            {
                "{{component}}": "sum by (component)"
                " (increase(upwell_component_restarts_total@[1h]))"
            },
        ),
        Panel("Leader", {"{{instance}}": "upwell_leader@"}),
    ),
    "Images": (
        Panel("Checks of tags", _rate("upwell_registry_checks_total", "registry"), "reqps"),
        Panel(
            "Failed checks",
            _rate("upwell_registry_check_failures_total", "registry, reason"),
            "reqps",
        ),
        Panel(
            "Registries that take no more requests",
            {"{{registry}}": "max by (registry) (upwell_registry_budget_closed@)"},
        ),
        Panel(
            "Judgements of image policies",
            _rate("upwell_image_policy_verdicts_total", "at, mode, reason"),
            "cps",
        ),
    ),
    "Builds and rollouts": (
        Panel("Builds", {"{{phase}}": "max by (phase) (upwell_builds@)"}),
        Panel("Rollouts", {"{{state}}": "max by (state) (upwell_rollouts@)"}),
        Panel("Objects", {"{{kind}}": "max by (kind) (upwell_objects@)"}),
    ),
    "Requests": (
        Panel("Requests", _rate("upwell_http_requests_total", "verb, code"), "reqps"),
        Panel(
            "Duration, 99 of 100",
            _slowest("upwell_http_request_duration_seconds", "verb"),
            "s",
        ),
        Panel(
            "Lag of the event loop, 99 of 100",
            _slowest("upwell_event_loop_lag_seconds", "instance"),
            "s",
        ),
        Panel(
            "Connections and watches",
            {
                "connections {{instance}}": "upwell_connections@",
                "watches {{instance}}": "upwell_watches@",
                "watches of the store {{instance}}": "sum by (instance) (upwell_store_watches@)",
            },
        ),
        Panel("Connections refused", _rate("upwell_connections_refused_total", "reason"), "cps"),
    ),
    "Room": (
        Panel("Memory", {"{{instance}}": "process_resident_memory_bytes@"}, "bytes"),
        Panel("Processor", _rate("process_cpu_seconds_total", "instance"), "percentunit"),
        Panel("Disk in use", {"{{instance}} {{path}}": "upwell_disk_used_ratio@"}, "percentunit"),
        Panel("Disk free", {"{{instance}} {{path}}": "upwell_disk_free_bytes@"}, "bytes"),
        Panel(
            "Objects and images on the disk",
            {
                "objects {{instance}}": "upwell_store_bytes@",
                "images {{instance}}": "upwell_registry_bytes@",
            },
            "bytes",
        ),
        Panel(
            "Quotas in use",
            {
                "{{namespace}} {{resource}}": "max by (namespace, resource) (upwell_quota_used@)"
                " / (max by (namespace, resource) (upwell_quota_limit@) > 0)"
            },
            "percentunit",
        ),
        Panel(
            "Ends of tokens",
            {"{{token}}": "min by (token) (upwell_token_expiry_timestamp_seconds@) - time()"},
            "s",
        ),
    ),
}


def dashboard() -> Document:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": NAME,
        "title": "Upwell",
        "tags": [NAME],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [_datasource(), _jobs()]},
        "panels": list(_panels()),
    }


def _datasource() -> Document:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
    }


def _jobs() -> Document:
    return {
        "name": "job",
        "label": "Job",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": "label_values(upwell_component_up, job)", "refId": "job"},
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def _panels() -> Iterator[Document]:
    top, number = 0, 0
    for title, panels in _ROWS.items():
        number += 1
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": title, "gridPos": place, "panels": []}
        top += 1
        width, height = (3, 4) if panels[0].kind == "stat" else (12, 8)
        for index, panel in enumerate(panels):
            number += 1
            row, column = divmod(index * width, _COLUMNS)
            place = {"x": column, "y": top + row * height, "w": width, "h": height}
            yield {"id": number, "gridPos": place, **_panel(panel)}
        top += -(-len(panels) * width // _COLUMNS) * height


def _panel(panel: Panel) -> Document:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": _SOURCE,
            "expr": expression.replace("@", _JOB),
            "legendFormat": legend,
        }
        for index, (legend, expression) in enumerate(panel.queries.items())
    ]
    defaults: Document = {"unit": panel.unit}
    if panel.kind == "stat":
        steps: list[Document] = [{"color": "green", "value": None}]
        if panel.bad is not None:
            steps.append({"color": "red", "value": panel.bad})
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return {
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }
