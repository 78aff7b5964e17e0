"""Events of an object, as its status shows them: for its history, and for Subscriptions."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from upwell.api.apps import Job, RevisionRecord
from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.cluster_operator import ClusterOperator
from upwell.api.clusters.cluster import REACHABLE, Cluster
from upwell.api.conditions import DEGRADED, find
from upwell.api.core import ResourceQuota, Service
from upwell.api.image import ImageStream, NamedTagEventList
from upwell.api.image_policies.policy import ImagePolicyResource, PolicyFinding
from upwell.api.meta import Condition, Resource
from upwell.api.networking.ingress import Ingress
from upwell.api.pipeline import Freeze, Pipeline, Quarantine
from upwell.api.promotion import APPROVED, Promotion, PromotionPhase, Release, ReleasePhase
from upwell.api.route import Route
from upwell.api.waves.wave import Wave
from upwell.policy.builds.failures import waits_for_retry, without_next_attempt
from upwell.policy.builds.triggers import BASE_CHANGED, CURRENT, digest_of
from upwell.policy.clusters.condition import RECOVERED
from upwell.policy.health.builds import outcome_of
from upwell.policy.health.fault import FaultEvent
from upwell.policy.health.judgement import faults_of
from upwell.policy.health.promotion import rejection_of
from upwell.policy.jobs.awaited_pods import awaited_pod
from upwell.policy.notifications.record import EventRecord
from upwell.policy.notifications.waves import events_of_wave
from upwell.policy.rollouts.history import Phase, RolloutCause
from upwell.policy.rollouts.settings import WORKLOADS, Workload
from upwell.policy.signatures.selection import is_enforced
from upwell.policy.signatures.verification import VerdictReason
from upwell.policy.signatures.wording import policy_name


def events_of(resource: Resource) -> Iterator[EventRecord]:
    """Yield all that the object tells: of one history, the oldest first, and else in no order."""
    match resource:
        case Build() | BuildConfig():
            yield from _of_build(resource) if isinstance(resource, Build) else _of_base(resource)
            yield from _of_faults(resource)
        case ImageStream():
            yield from _of_stream(resource)
        case Job():
            yield from _of_conditions(resource.status.conditions, {"Complete": "", "Failed": "!"})
            yield from _of_awaited_pod(resource)
        case Pipeline() | Service() | Route() | Ingress() | ResourceQuota():
            yield from _of_faults(resource)
        case ImagePolicyResource():
            yield from _of_image_policy(resource)
        case Release():
            yield from _of_release(resource)
        case Promotion():
            yield from _of_promotion(resource)
        case Quarantine() | Freeze():
            yield from (
                _of_freeze(resource) if isinstance(resource, Freeze) else _of_quarantine(resource)
            )
        case ClusterOperator() | Cluster():
            yield from (
                _of_cluster(resource) if isinstance(resource, Cluster) else _of_component(resource)
            )
        case Wave():
            yield from events_of_wave(resource)
        case _ if isinstance(resource, WORKLOADS):
            yield from _of_workload(resource)
            yield from _of_awaited_pod(resource)


def _failure(
    reason: str, message: str, at: datetime, occasion: str, details: Mapping[str, object]
) -> EventRecord:
    return EventRecord(reason, message, at, warning=True, occasion=occasion, details=details)


def _of_build(build: Build) -> Iterator[EventRecord]:
    status = build.status
    about: dict[str, object] = {"phase": status.phase.value}
    if status.output is not None and status.output.to is not None:
        about["digest"] = status.output.to.image_digest
    if build.spec.output.to is not None:
        about["output"] = build.spec.output.to.name
    if status.start_timestamp is not None:
        message = f"build {build.name} started"
        yield EventRecord("BuildStarted", message, status.start_timestamp, details=about)
    if waits_for_retry(build) and status.start_timestamp is not None:
        text = without_next_attempt(f"{status.reason}: {status.message}")
        message = without_next_attempt(outcome_of(build))
        # Each attempt is counted, and one outage makes one event.
        yield _failure("BuildBackOff", message, status.start_timestamp, text, about)
    if not status.phase.is_terminal or status.completion_timestamp is None:
        return
    good = status.phase is BuildPhase.COMPLETE
    why = ": ".join(part for part in (status.reason, status.message) if part and not good)
    message = outcome_of(build) if why else f"build {build.name} {status.phase.value.lower()}"
    if good and status.rebase is not None and status.rebase.rebased:
        message += ": rebased"
    reason = f"Build{'Completed' if good else status.phase.value}"
    bad = not good and status.phase is not BuildPhase.CANCELLED
    yield EventRecord(reason, message, status.completion_timestamp, bad, details=about)


def _of_base(config: BuildConfig) -> Iterator[EventRecord]:
    """Yield that a base has changed on which nothing is built by itself."""
    current = find(config.status.conditions, CURRENT)
    if current is not None and current.reason == BASE_CHANGED and current.last_transition_time:
        yield EventRecord(BASE_CHANGED, current.message, current.last_transition_time)


def _of_stream(stream: ImageStream) -> Iterator[EventRecord]:
    for entry in stream.status.tags:
        yield from _of_tag(stream, entry)
    states = {entry.tag: entry.import_state for entry in stream.status.tags}
    for fault in faults_of(stream):
        state = states.get(fault.part)
        attempts = (fault.since, state.last_check_time if state else None)
        message = f"tag {fault.part}: {fault.message}"
        if fault.since is not None:
            yield EventRecord(
                fault.event.value,
                message,
                max(filter(None, attempts)),  # each attempt is counted
                warning=True,
                occasion=message,  # without a time: a source that comes and goes makes one event
                details={"tag": fault.part},
            )


def _of_tag(stream: ImageStream, entry: NamedTagEventList) -> Iterator[EventRecord]:
    for at, event in reversed([*enumerate(entry.items)]):
        before = entry.items[at + 1].image if at + 1 < len(entry.items) else ""
        image = event.image or event.docker_image_reference
        yield EventRecord(
            "TagChanged",
            f"tag {entry.tag} is {image}",
            event.created,
            occasion=f"{entry.tag} {image} {event.created.isoformat()}",
            details={
                "stream": stream.name,
                "tag": entry.tag,
                "old": before or None,
                "new": event.image or None,
                "image": event.docker_image_reference,
            },
        )


def _of_workload(workload: Workload) -> Iterator[EventRecord]:
    for record in reversed(workload.status.revisions):
        yield from _of_revision(record)
    yield from _of_faults(workload)
    recovered = find(workload.status.conditions, DEGRADED)
    if recovered is not None and recovered.status == "False" and recovered.last_transition_time:
        at = recovered.last_transition_time
        about = _about_newest(workload)
        yield EventRecord(
            "WorkloadRecovered", recovered.message, at, occasion=at.isoformat(), details=about
        )


def _of_awaited_pod(workload: Workload | Job) -> Iterator[EventRecord]:
    """Yield that the image of its Pod cannot be had, in kubelet's word: once, however often tried.

    No Subscription is told of it: the workload tells them.
    """
    awaited = awaited_pod(workload)
    pod = awaited.reference() if awaited is not None else None
    if awaited is not None and pod is not None and awaited.since is not None:
        message = f"Back-off pulling image: {awaited.missing.message}"
        yield EventRecord(
            "BackOff", message, awaited.since, warning=True, identity=pod.uid or "", pod=pod
        )


def _of_revision(record: RevisionRecord) -> Iterator[EventRecord]:
    images = ", ".join(f"{name} = {image}" for name, image in sorted(record.images.items()))
    what = f"revision {record.revision} ({images})"
    about, number = _about(record), str(record.revision)
    reason = "TriggerFired" if record.cause == RolloutCause.IMAGE_CHANGE else "RolloutStarted"
    begun = f"{what} begins: {record.cause or 'unknown cause'}"
    yield EventRecord(reason, begun, record.created, occasion=number, details=about)
    for name, hook in record.hooks.items():
        failed = hook.phase != "Complete"
        what_ran = "custom command" if name == "custom" else f"{name} hook"
        message = f"revision {record.revision}: the {what_ran} ended: {hook.phase}"
        detail = f": {hook.message}" if hook.message else ""
        yield EventRecord(
            "HookFailed" if failed else "HookRan", message + detail, hook.ended, failed
        )
    if record.phase == Phase.COMPLETE:
        # A revision that is rolled out again keeps the time from which it served before.
        since = max(record.completed_at or record.live_at or record.created, record.created)
        yield EventRecord(
            "RolloutComplete", f"{what} serves", since, occasion=number, details=about
        )


def _of_faults(resource: Resource) -> Iterator[EventRecord]:
    """Yield what is wrong with an object, in the words of every other surface."""
    about = _about_newest(resource) if isinstance(resource, WORKLOADS) else {}
    for fault in faults_of(resource):
        if fault.since is None or fault.event is FaultEvent.BUILD_FAILED:
            continue  # a Build tells of its own end
        of_rollout = fault.event in {FaultEvent.ROLLED_BACK, FaultEvent.ROLLOUT_FAILED}
        number = str(about.get("revision", ""))
        occasion = number if of_rollout else f"{fault.since.isoformat()} {fault.reason}"
        details = {**about, "reason": fault.reason}
        if fault.event is FaultEvent.ROLLED_BACK:
            failed = FaultEvent.ROLLOUT_FAILED.value
            record = _failure(failed, fault.message, fault.since, occasion, details)
            yield replace(record, told_by=fault.event.value)
        yield _failure(fault.event.value, fault.message, fault.since, occasion, details)


def _about_newest(workload: Workload) -> dict[str, object]:
    newest = next(iter(workload.status.revisions), None)
    return {} if newest is None else _about(newest)


def _about(record: RevisionRecord) -> dict[str, object]:
    return {
        "revision": record.revision,
        "cause": record.cause,
        "images": dict(sorted(record.images.items())),
    }


def _of_release(release: Release) -> Iterator[EventRecord]:
    spec, status = release.spec, release.status
    about: dict[str, object] = {
        "pipeline": spec.pipeline,
        "release": release.name,
        "number": spec.number,
        "components": {one.name: one.image for one in spec.components},
    }
    if release.metadata.creation_timestamp is not None:
        message = f"release {release.name} was made" + (f": {spec.cause}" if spec.cause else "")
        yield EventRecord(
            "ReleaseCreated", message, release.metadata.creation_timestamp, details=about
        )
    if status.rejection is not None:
        no = status.rejection
        message = rejection_of(release)
        more = {**about, "stage": no.stage, "by": no.by}
        yield _failure("ReleaseRejected", message, no.at, no.at.isoformat(), more)
    if status.phase is ReleasePhase.PROMOTED and status.verified:
        stages = ", ".join(one.name for one in status.verified)
        message = f"release {release.name} is verified in every last stage ({stages})"
        at = max(one.at for one in status.verified)
        yield EventRecord("ReleasePromoted", message, at, details=about)


_ENDED = {
    PromotionPhase.SUCCEEDED: ("PromotionSucceeded", "has succeeded", False),
    PromotionPhase.FAILED: ("PromotionFailed", "has failed", True),
    PromotionPhase.REJECTED: ("PromotionRejected", "was rejected", True),
    PromotionPhase.SUPERSEDED: ("PromotionSuperseded", "was superseded", False),
}


def _of_promotion(promotion: Promotion) -> Iterator[EventRecord]:
    spec, status = promotion.spec, promotion.status
    what = f"{spec.purpose.value} of {spec.release} in stage {spec.stage}"
    why = f": {status.message}" if status.message else ""
    about: dict[str, object] = {
        "pipeline": spec.pipeline,
        "release": spec.release,
        "stage": spec.stage,
        "purpose": spec.purpose.value,
        "phase": status.phase.value,
        "requestedBy": spec.requested_by,
        "checks": {check.name: check.phase.value for check in status.checks},
    }
    waiting = status.phase is PromotionPhase.WAITING
    if waiting and status.waiting_since is not None:
        message = f"{what} {status.message or 'waits'}"
        yield EventRecord("PromotionWaiting", message, status.waiting_since, details=about)
    approved = find(status.conditions, APPROVED)
    if waiting and approved is not None and approved.status == "False":
        since = approved.last_transition_time or status.waiting_since
        if since is not None:
            message = f"{what} {status.message or 'needs approval'}"
            yield EventRecord("ApprovalNeeded", message, since, warning=True, details=about)
    if status.started is not None:
        yield EventRecord("PromotionStarted", f"{what} has begun", status.started, details=about)
    if status.ended is not None and status.phase in _ENDED:
        reason, verb, bad = _ENDED[status.phase]
        yield EventRecord(reason, f"{what} {verb}{why}", status.ended, bad, details=about)


def _of_quarantine(quarantine: Quarantine) -> Iterator[EventRecord]:
    spec, since = quarantine.spec, quarantine.metadata.creation_timestamp
    if since is not None:
        image = f"{spec.image}@{spec.digest}" if spec.image else spec.digest
        message = f"base image {image} is quarantined: {spec.reason or 'no reason given'}"
        about = {"image": spec.image, "digest": spec.digest, "releases": list(spec.releases)}
        yield EventRecord("BaseQuarantined", message, since, warning=True, details=about)


def _of_freeze(freeze: Freeze) -> Iterator[EventRecord]:
    spec, since = freeze.spec, freeze.metadata.creation_timestamp
    if since is not None:
        who = f" by {spec.by}" if spec.by else ""
        message = f"promotion is frozen{who}: {spec.reason or 'no reason given'}"
        yield EventRecord("Frozen", message, since, warning=True, details={"reason": spec.reason})


def _of_image_policy(policy: ImagePolicyResource) -> Iterator[EventRecord]:
    """Yield what a policy keeps out, or would: each digest once in a namespace, however often.

    An image whose registry did not answer is told of by whoever waits for it.
    """
    status = policy.status
    if status.observed_generation != policy.generation:
        return  # it is of what the policy was before
    first: dict[tuple[str, str], PolicyFinding] = {}
    for found in sorted(status.findings, key=lambda one: one.since):
        if found.reason != VerdictReason.UNKNOWN:
            first.setdefault((digest_of(found.image), found.namespace), found)
    enforced = is_enforced(policy)
    reason, verb = ("ImageRefused", "does") if enforced else ("ImagePolicyWarning", "would")
    for (digest, namespace), found in first.items():
        identity = f"{policy.generation} {digest} {namespace}"
        text = f"image {found.image} {verb} not satisfy {policy_name(policy)}: {found.message}"
        about = {
            "policy": policy_name(policy),
            "image": found.image,
            "namespace": namespace,
            "at": found.at,
            "reason": found.reason,
        }
        yield EventRecord(
            reason,
            text,
            found.since,
            warning=True,
            occasion=identity,
            details=about,
            namespace=namespace,
            identity=identity,
        )


def _of_component(component: ClusterOperator) -> Iterator[EventRecord]:
    for fault in component.status.extension.faults:
        about: dict[str, object] = {"component": component.name, "reason": fault.reason}
        occasion = fault.since.isoformat()
        message = f"component {component.name} is faulty: {fault.message or fault.reason}"
        told = _failure("ComponentDegraded", message, fault.since, occasion, about)
        # While it lasts, what else is at fault changes its message, and is nothing new.
        yield replace(told, identity=fault.reason)
        if fault.until is not None:
            text = f"component {component.name} works again"
            yield EventRecord(
                "ComponentRecovered", text, fault.until, occasion=occasion, details=about
            )


def _of_cluster(cluster: Cluster) -> Iterator[EventRecord]:
    yield from _of_faults(cluster)
    reachable = find(cluster.status.conditions, REACHABLE)
    since = reachable.last_transition_time if reachable is not None else None
    if reachable is not None and reachable.reason == RECOVERED and since is not None:
        text = f"cluster {cluster.name} answers again"
        yield EventRecord("ClusterRecovered", text, since, occasion=since.isoformat())


def _of_conditions(
    conditions: tuple[Condition, ...], watched: dict[str, str]
) -> Iterator[EventRecord]:
    for condition in conditions:
        since = condition.last_transition_time
        if condition.type in watched and condition.is_true and since is not None:
            message = condition.message or condition.reason
            yield EventRecord(condition.type, message, since, bool(watched[condition.type]))
