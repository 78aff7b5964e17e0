"""Alerts on the server's metrics (docs/metrics.md), as rules of Prometheus."""

from dataclasses import dataclass
from typing import Any

from upwell.cli.install.installation import NAME, PART_OF

type Document = dict[str, Any]

_WEEK = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Alert:
    """An alerting rule: https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules.

    Every replica of a cluster tells of the same objects: `max by` counts them once.
    """

    name: str
    severity: str
    expression: str
    duration: str
    """Time for which the expression has to hold; a failover in good order takes less."""
    summary: str
    """With `{{ $labels.… }}` and `{{ $value }}`, and the next step."""

    def document(self) -> Document:
        """Return the rule as Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.duration,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary},
        }


ALERTS = (
    Alert(
        "UpwellAbsent",
        "critical",
        "absent(upwell_component_up)",
        "5m",
        "No server tells its metrics: it is away, or its token no longer counts (/readyz?verbose).",
    ),
    Alert(
        "UpwellComponentDown",
        "critical",
        "upwell_component_up == 0",
        "5m",
        "Component {{ $labels.component }} of {{ $labels.instance }} is faulty: see"
        " `upwell describe clusteroperator/{{ $labels.component }}`.",
    ),
    Alert(
        "UpwellLeaders",
        "critical",
        "sum by (job) (upwell_leader) != 1",
        "2m",
        "{{ $value }} replicas lead: without a leader nothing is decided (/readyz?verbose of each"
        " replica says why).",
    ),
    Alert(
        "UpwellFault",
        "warning",
        "max by (job, kind, reason) (upwell_faults) > 0",
        "30m",
        "{{ $value }} of kind {{ $labels.kind }} have a fault, {{ $labels.reason }}: see"
        " `upwell status -A`.",
    ),
    Alert(
        "UpwellWorkloadsBehind",
        "warning",
        "max by (job) (upwell_workloads_behind) > 0",
        "2h",
        "{{ $value }} workloads lack a change of an image that they follow: `upwell status -A`"
        " names them, `upwell explain` says what they wait for.",
    ),
    Alert(
        "UpwellImportsFailing",
        "warning",
        "max by (job) (upwell_imports_failing) > 0",
        "1h",
        "{{ $value }} tags cannot be imported: changes of their images are not seen.",
    ),
    Alert(
        "UpwellRegistryClosed",
        "warning",
        "max by (job, registry) (upwell_registry_budget_closed) == 1",
        "1h",
        "Registry {{ $labels.registry }} answers no more until its rate limit ends: log in there,"
        " or ask it less often.",
    ),
    Alert(
        "UpwellBuildsWait",
        "warning",
        "max by (job) (upwell_builds_waiting) > 0"
        " and max by (job) (delta(upwell_builds_waiting[1h])) > 0",
        "1h",
        "{{ $value }} builds wait, and there are ever more: give more build slots.",
    ),
    Alert(
        "UpwellRequestsFail",
        "warning",
        'sum by (job) (rate(upwell_http_requests_total{code=~"5.."}[10m]))'
        " / sum by (job) (rate(upwell_http_requests_total[10m])) > 0.05",
        "10m",
        "{{ $value | humanizePercentage }} of all requests fail in the server: see its log.",
    ),
    Alert(
        "UpwellSlow",
        "warning",
        "histogram_quantile(0.99, sum by (job, instance, le)"
        " (rate(upwell_event_loop_lag_seconds_bucket[10m]))) > 1",
        "15m",
        "{{ $labels.instance }} comes to its work {{ $value | humanizeDuration }} late: it lacks"
        " processor time.",
    ),
    Alert(
        "UpwellDiskFills",
        "warning",
        "upwell_disk_used_ratio > 0.9",
        "15m",
        "{{ $labels.path }} of {{ $labels.instance }} is"
        " {{ $value | humanizePercentage }} full: `upwell prune`, or give it room.",
    ),
    Alert(
        "UpwellRegistryDamaged",
        "critical",
        "upwell_registry_damaged > 0",
        "1m",
        "{{ $value }} blobs, manifests or tags of the registry of {{ $labels.instance }} are not"
        " what they were, and not served (docs/data-folder.md, docs/registry-storage.md).",
    ),
    Alert(
        "UpwellTokenEnds",
        "warning",
        "min by (job, token) (upwell_token_expiry_timestamp_seconds) - time()"
        f" < {_WEEK} and min by (job, token) (upwell_token_expiry_timestamp_seconds) > time()",
        "1h",
        "Token {{ $labels.token }} ends in {{ $value | humanizeDuration }}: make another one"
        " (`upwell token create`).",
    ),
)


def rule_groups() -> Document:
    """Return the alerts as a file of rules (`rule_files` of Prometheus)."""
    return {"groups": [{"name": NAME, "rules": [one.document() for one in ALERTS]}]}


def prometheus_rule() -> Document:
    """Return them as an object of the Prometheus Operator (monitoring.coreos.com/v1)."""
    return {**_object("PrometheusRule"), "spec": rule_groups()}


def pod_monitor() -> Document:
    """Return what has the Prometheus Operator read the metrics of every replica.

    The token is in the Secret `upwell-metrics`. Each replica has a certificate for the name of the
    Service, of its own authority.
    """
    endpoint = {
        "port": "https",
        "scheme": "https",
        "path": "/metrics",
        "interval": "30s",
        "authorization": {"credentials": {"name": f"{NAME}-metrics", "key": "token"}},
        "tlsConfig": {"insecureSkipVerify": True},
    }
    spec = {
        "selector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
        "podMetricsEndpoints": [endpoint],
    }
    return {**_object("PodMonitor"), "spec": spec}


def _object(kind: str) -> Document:
    metadata = {"name": NAME, "namespace": NAME, "labels": {PART_OF: NAME}}
    return {"apiVersion": "monitoring.coreos.com/v1", "kind": kind, "metadata": metadata}
