"""upwell.dev/v1alpha1 Wave: one change of a base image, and all that follows from it."""

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import Any, ClassVar

from pydantic import Field

from upwell.api.meta import Column, Kind, Model, Resource, Scope, Time
from upwell.api.pipeline import GROUP


class WavePhase(StrEnum):
    """Phase of a Wave."""

    RUNNING = "Running"
    """Builds, rollouts and promotions go on, or wait for their turn."""
    WAITING = "Waiting"
    """None of what is left goes on by itself: `status.held` says what it waits for."""
    STOPPED = "Stopped"
    """Too much of what it has reached failed: nothing more begins on its image."""
    PAUSED = "Paused"
    """No further build begins on the image: `spec.paused` is set."""
    COMPLETE = "Complete"
    """Objects that follow the image have it, all of them."""
    SUPERSEDED = "Superseded"
    """The image has changed again: what was left belongs to the next Wave."""
    CANCELLED = "Cancelled"
    """It was cancelled: builds that had not begun do not begin."""


ENDED_WAVES = frozenset({WavePhase.COMPLETE, WavePhase.SUPERSEDED, WavePhase.CANCELLED})
"""Phases in which a Wave does nothing any more."""

SEVERITY = "upwell.dev/severity"
"""Label of a Wave, annotation of an ImageStream: how urgent its changes are."""
SEVERITIES = ("critical", "high", "medium", "low")
"""Values of it."""

APPROVAL_ANNOTATION = "upwell.dev/wave-approval"
"""On an ImageStream, `manual`: what builds on its imports waits until each change is approved."""


class WaveApproval(StrEnum):
    """Approval that a change needs before anything is built on it."""

    AUTO = "auto"
    MANUAL = "manual"


class WaveDecision(Model):
    """A person's word about a Wave, as the server has recorded it."""

    by: str
    at: Time
    reason: str = ""
    override: str = ""
    """Reason for which it counts although its author has caused the change."""


class StreamApproval(WaveDecision):
    """Approval of a change for what builds on it through one stream."""

    namespace: str
    stream: str


class WaveCancellation(WaveDecision):
    """Cancellation of what has not begun."""

    running: bool = False
    """Builds that had begun are cancelled too."""


class WaveRetry(WaveDecision):
    """Builds and rollouts that had failed and were begun again."""

    begun: tuple[str, ...] = ()
    """`kind namespace/name` of each, the first fifty."""


class WaveSpec(Model):
    """The change; the server makes a Wave when an imported tag gets another digest."""

    image: str = ""
    """The image as its registry names it: `docker.io/library/debian:11`."""
    digest: str = ""
    """Digest of the new image."""
    previous: str = ""
    """Digest of the one before."""
    changed: Time | None = None
    """Time of the import that brought it first."""
    paused: bool = False
    """No build on this digest begins until it is unset; what runs goes on."""
    reason: str = ""
    """Reason of the pause, or of going on, for people."""
    resumed: bool = False
    """It goes on although it was stopped, and is not stopped again."""
    approval: WaveApproval = WaveApproval.AUTO
    """With `manual`, no build on this digest begins before somebody has approved the Wave."""
    requested_by: str = ""
    """People who had the image imported by hand, one a line; empty: the schedule found it."""


class WaveCount(Model):
    """Objects of a sort, by how far they are."""

    total: int = 0
    done: int = 0
    failed: int = 0
    held: int = 0
    """Those that do not get the change by themselves, now."""
    rebased: int = 0
    """Builds, of those that are done, that have put their last image on the new base."""


class HeldObject(Model):
    """An object at which the change does not go on by itself."""

    kind: str
    namespace: str
    name: str
    reason: str
    until: Time | None = None


class WaveObject(Model):
    """An object that a Wave reaches."""

    kind: str
    namespace: str
    name: str


class CanaryState(StrEnum):
    """State of the workloads that go first."""

    ROLLING_OUT = "RollingOut"
    """They do not all run the new image yet, or are not healthy yet."""
    FAILING = "Failing"
    """One of them has failed on it: the others wait until it is mended, or goes."""
    SOAKING = "Soaking"
    """They are healthy: the others follow when they have been for long enough."""
    PASSED = "Passed"
    """The others have followed, or do."""


class WaveCanary(Model):
    """The workloads that go first, and how they are."""

    state: CanaryState = CanaryState.ROLLING_OUT
    message: str = ""
    workloads: tuple[WaveObject, ...] = ()
    healthy: int = 0
    """Those that run the new image and are healthy."""
    healthy_since: Time | None = None
    """Time since which all of them are."""
    until: Time | None = None
    """Time at which the others follow if they stay so."""
    apart: tuple[str, ...] = ()
    """Namespaces whose own fail while those of others do not: they alone are held for it."""


class WaveStop(Model):
    """The stop of a Wave of which too much failed."""

    stopped: Time
    message: str = ""
    failures: tuple[HeldObject, ...] = ()
    """Objects that failed, the first ten."""
    quarantined: bool = False
    """Its digests were put into quarantine."""
    lifted: bool = False
    """A person has lifted the quarantine: it goes on."""


class WaveStatus(Model):
    """Progress of a Wave."""

    observed_generation: int | None = None
    phase: WavePhase | None = None
    message: str = ""
    builds: WaveCount = Field(default_factory=WaveCount)
    workloads: WaveCount = Field(default_factory=WaveCount)
    levels: int = 0
    """Builds one after the other on the longest way."""
    held: tuple[HeldObject, ...] = ()
    """Objects at which the change stops, the first fifty."""
    estimated_end: Time | None = None
    """Time at which the last step that goes on by itself will have ended, by what earlier took."""
    ended: Time | None = None
    digests: tuple[str, ...] = ()
    """Digests that tags have taken of the image: its own, or of one manifest of it."""
    canary: WaveCanary | None = None
    """Workloads that go first, where the settings of the server ask for that."""
    stop: WaveStop | None = None
    approval: WaveDecision | None = None
    """The approval of a Wave that needs one."""
    stream_approvals: tuple[StreamApproval, ...] = ()
    """Approvals for streams whose owners have asked for them."""
    cancelled: WaveCancellation | None = None
    lifted: Time | None = None
    """Time from which a cancelled Wave keeps nothing back: its image has changed again."""
    retries: tuple[WaveRetry, ...] = ()
    """The last ten."""


def _progress(wave: Mapping[str, Any], part: str) -> str:
    """Return how many have the image, of how many: `3/12`."""
    count = (wave.get("status") or {}).get(part) or {}
    return f"{count.get('done', 0)}/{count.get('total', 0)}"


class Wave(Resource):
    """One change of a base image, and all that follows from it."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1alpha1",
        "Wave",
        "waves",
        scope=Scope.CLUSTER,
        columns=(
            Column("IMAGE", "spec.image"),
            Column("PHASE", "status.phase"),
            Column("BUILDS", "status.builds", text=partial(_progress, part="builds")),
            Column("WORKLOADS", "status.workloads", text=partial(_progress, part="workloads")),
            Column("MESSAGE", "status.message", wide=True),
        ),
    )

    spec: WaveSpec = Field(default_factory=WaveSpec)
    status: WaveStatus = Field(default_factory=WaveStatus)

    @property
    def digests(self) -> tuple[str, ...]:
        """Digests of its image: the one upstream names, and those of its manifests in tags."""
        return tuple(dict.fromkeys((self.spec.digest, *self.status.digests)))
