"""What has happened to an object, as its status tells: what becomes its Events."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from upwell.api.apps import Job, RevisionRecord
from upwell.api.build import Build, BuildPhase
from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.api.meta import Condition, Resource
from upwell.policy.rollout_history import Cause, Phase
from upwell.policy.rollout_settings import WORKLOADS, Workload

_MAX_MESSAGE = 1024
"""Characters, as the Kubernetes API limits an Event's message."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened; the same thing later is the same happening, once more."""

    reason: str
    message: str
    at: datetime
    warning: bool = False

    def name(self, resource: Resource) -> str:
        """Return the one name of its Event: telling it twice tells it once."""
        seed = "\n".join((resource.metadata.uid or "", self.reason, self.message))
        return f"{resource.name[:200]}.{hashlib.sha256(seed.encode()).hexdigest()[:16]}"

    @property
    def text(self) -> str:
        """The message, cut to what an Event may hold."""
        return self.message[:_MAX_MESSAGE]


def happenings(resource: Resource) -> Iterator[Happening]:
    """Yield all that the status tells, in no order."""
    match resource:
        case Build():
            yield from _of_build(resource)
        case ImageStream():
            yield from _of_stream(resource)
        case Job():
            yield from _of_conditions(resource.status.conditions, {"Complete": "", "Failed": "!"})
        case _ if isinstance(resource, WORKLOADS):
            yield from _of_workload(resource)


def _of_build(build: Build) -> Iterator[Happening]:
    status = build.status
    if status.start_timestamp is not None:
        yield Happening("BuildStarted", f"build {build.name} started", status.start_timestamp)
    if not status.phase.is_terminal or status.completion_timestamp is None:
        return
    good = status.phase is BuildPhase.COMPLETE
    why = ": ".join(part for part in (status.reason, status.message) if part and not good)
    told = f"build {build.name} {status.phase.value.lower()}" + (f": {why}" if why else "")
    reason = f"Build{'Completed' if good else status.phase.value}"
    cancelled = status.phase is BuildPhase.CANCELLED
    yield Happening(reason, told, status.completion_timestamp, not good and not cancelled)


def _of_stream(stream: ImageStream) -> Iterator[Happening]:
    for entry in stream.status.tags:
        if entry.latest is not None:
            told = f"tag {entry.tag} is {entry.latest.image or entry.latest.docker_image_reference}"
            yield Happening("TagChanged", told, entry.latest.created)
        failed = find(entry.conditions, "ImportSuccess")
        if failed is not None and failed.status == "False" and failed.last_transition_time:
            told = f"tag {entry.tag}: {failed.message}"
            yield Happening("ImportFailed", told, failed.last_transition_time, warning=True)


def _of_workload(workload: Workload) -> Iterator[Happening]:
    for record in workload.status.revisions:
        yield from _of_revision(record)
    watched = {"RolledBack": "!", "Drifted": "!", "ImageTriggered": ""}
    yield from _of_conditions(workload.status.conditions, watched)


def _of_revision(record: RevisionRecord) -> Iterator[Happening]:
    images = ", ".join(f"{name} = {image}" for name, image in sorted(record.images.items()))
    what = f"revision {record.revision} ({images})"
    reason = "TriggerFired" if record.cause == Cause.IMAGE_CHANGE else "RolloutStarted"
    yield Happening(reason, f"{what} begins: {record.cause or 'unknown cause'}", record.created)
    for name, hook in record.hooks.items():
        failed = hook.phase != "Complete"
        told = f"revision {record.revision}: the {name} hook ended: {hook.phase}"
        detail = f": {hook.message}" if hook.message else ""
        yield Happening("HookFailed" if failed else "HookRan", told + detail, hook.ended, failed)
    if record.phase == Phase.COMPLETE:
        since = record.live_at or record.created
        yield Happening("RolloutComplete", f"{what} serves", since)


def _of_conditions(
    conditions: tuple[Condition, ...], watched: dict[str, str]
) -> Iterator[Happening]:
    for condition in conditions:
        since = condition.last_transition_time
        if condition.type in watched and condition.is_true and since is not None:
            told = condition.message or condition.reason
            yield Happening(condition.type, told, since, bool(watched[condition.type]))
