"""CloudEvents 1.0 about objects: their types, ids and audience; pure.

An event follows from an object's status, as its Events do, and so does its id: however often it is
derived, before and after a restart, it is the same event.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.meta import Resource
from upwell.api.pipeline import Freeze, Pipeline, Quarantine
from upwell.api.promotion import Promotion, Release
from upwell.api.subscription import Severity
from upwell.formats.cloud_events import CloudEvent
from upwell.policy.notifications.events import events_of
from upwell.policy.notifications.record import EventRecord

PREFIX = "dev.upwell."
TRIAL_TYPE = f"{PREFIX}test"
_MAX_MESSAGE = 4096
"""Characters."""

_INFO, _WARNING, _ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR
_TYPES: Mapping[str, tuple[str, Severity]] = {
    "TagChanged": ("image.changed", _INFO),
    "ImportFailed": ("image.importfailed", _WARNING),
    "BuildStarted": ("build.started", _INFO),
    "BuildCompleted": ("build.completed", _INFO),
    "BuildBackOff": ("build.backoff", _WARNING),
    "BuildFailed": ("build.failed", _ERROR),
    "BuildError": ("build.failed", _ERROR),
    "BuildCancelled": ("build.cancelled", _INFO),
    "RolloutStarted": ("rollout.started", _INFO),
    "TriggerFired": ("rollout.started", _INFO),
    "RolloutComplete": ("rollout.completed", _INFO),
    "RolloutFailed": ("rollout.failed", _ERROR),
    "RolledBack": ("rollout.rolledback", _ERROR),
    "ReleaseCreated": ("release.created", _INFO),
    "ReleaseRejected": ("release.rejected", _ERROR),
    "ReleasePromoted": ("release.promoted", _INFO),
    "PromotionWaiting": ("promotion.waiting", _INFO),
    "ApprovalNeeded": ("promotion.approvalneeded", _WARNING),
    "PromotionStarted": ("promotion.started", _INFO),
    "PromotionSucceeded": ("promotion.succeeded", _INFO),
    "PromotionFailed": ("promotion.failed", _ERROR),
    "PromotionRejected": ("promotion.rejected", _WARNING),
    "PromotionSuperseded": ("promotion.superseded", _INFO),
    "BaseChanged": ("base.changed", _WARNING),
    "BaseQuarantined": ("base.quarantined", _ERROR),
    "WaveBegun": ("wave.begun", _INFO),
    "WaveApprovalNeeded": ("wave.approvalneeded", _WARNING),
    "WaveStopped": ("wave.stopped", _ERROR),
    "WaveCancelled": ("wave.cancelled", _INFO),
    "WaveComplete": ("wave.completed", _INFO),
    "Frozen": ("freeze.begun", _WARNING),
    "WorkloadDegraded": ("workload.degraded", _ERROR),
    "WorkloadRecovered": ("workload.recovered", _INFO),
    "RolloutBlocked": ("rollout.blocked", _WARNING),
    "Drifted": ("workload.drifted", _WARNING),
    "NotServed": ("routing.notserved", _ERROR),
    "BuildBlocked": ("build.blocked", _WARNING),
    "ImageUnsigned": ("build.unsigned", _WARNING),
    "ImageRefused": ("image.refused", _WARNING),
    "ImagePolicyWarning": ("image.policywarning", _WARNING),
    "PipelineDegraded": ("pipeline.degraded", _ERROR),
    "ComponentDegraded": ("component.degraded", _ERROR),
    "ComponentRecovered": ("component.recovered", _INFO),
    "ClusterDegraded": ("cluster.degraded", _ERROR),
    "ClusterRecovered": ("cluster.recovered", _INFO),
    "QuotaFilling": ("quota.filling", _WARNING),
}
"""Types by the reason of the event; events of other reasons are not sent."""


def trial_event(subscription: Resource, now: datetime) -> CloudEvent:
    """Return the event that a person sends to try a Subscription."""
    return CloudEvent(
        event_id(subscription.uid, TRIAL_TYPE, now.isoformat()),
        TRIAL_TYPE,
        subject_of(subscription),
        now,
        Severity.INFO,
        f"a test of subscription {subscription.name} in namespace {subscription.namespace}",
    )


@dataclass(frozen=True, slots=True)
class Audience:
    """Audience that an event concerns."""

    namespaces: frozenset[str] | None
    """None: every one."""
    pipelines: frozenset[str] | None = frozenset()
    """None: every one; empty: it belongs to none."""


def cloud_events(resource: Resource) -> Iterator[CloudEvent]:
    """Yield every event that the object tells, the earliest first."""
    yield from (event for event, _ in addressed_events(resource))


def addressed_events(resource: Resource) -> Iterator[tuple[CloudEvent, Audience]]:
    """Yield the same events, each with whom it concerns."""
    whole = audience_of(resource)
    for record in sorted(events_of(resource), key=lambda one: one.at):
        if record.reason in _TYPES:
            own = Audience(frozenset({record.namespace})) if record.namespace else whole
            yield _event(resource, record), own


def audience_of(resource: Resource) -> Audience:
    """Return whom the events of an object concern."""
    own = frozenset({resource.namespace})
    match resource:
        case Release() | Promotion():
            return Audience(own, frozenset({resource.spec.pipeline}))
        case Pipeline():
            return Audience(own, frozenset({resource.name}))
        case Quarantine():
            places = [name.partition("/") for name in resource.spec.releases]
            return Audience(
                frozenset(namespace for namespace, _, _ in places),
                frozenset(release.rpartition("-")[0] for _, _, release in places),
            )
        case Freeze():
            spec = resource.spec
            return Audience(frozenset(spec.namespaces) or None, frozenset(spec.pipelines) or None)
        case ClusterOperator():
            return Audience(None)  # what the server stands on, all namespaces do
        case _:
            return Audience(own)


def event_id(*parts: str) -> str:
    """Return the id that follows from what makes an event the one that it is."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def subject_of(resource: Resource) -> str:
    """Return `namespace/Kind/name`, without the namespace for what lies in none."""
    return "/".join(
        part for part in (resource.namespace, resource.KIND.kind, resource.name) if part
    )


def _event(resource: Resource, record: EventRecord) -> CloudEvent:
    name, severity = _TYPES[record.reason]
    about = {
        "object": {
            "apiVersion": resource.KIND.api_version,
            "kind": resource.KIND.kind,
            "namespace": resource.namespace,
            "name": resource.name,
            "uid": resource.uid,
        }
    }
    return CloudEvent(
        event_id(resource.uid, name, record.occasion),
        f"{PREFIX}{name}",
        subject_of(resource),
        record.at,
        severity,
        record.message[:_MAX_MESSAGE],
        {**about, **record.details},
        f"{PREFIX}{_TYPES[record.told_by][0]}" if record.told_by else "",
    )
