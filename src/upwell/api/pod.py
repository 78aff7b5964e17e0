"""core/v1 Pod: an instance as Kubernetes' clients see it.

An instance of a workload is a view of what runs. A Pod that a person makes is stored, and has one
instance of its own.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from upwell.api.meta import Column, Condition, Kind, Model, Resource, Time
from upwell.api.pod_template import PodSpec, PodTemplate, PodTemplateMeta


class ContainerRunning(Model):
    """Since when a container runs."""

    started_at: Time | None = None


class ContainerTerminated(Model):
    """End of a container."""

    exit_code: int
    reason: str = ""
    """Word of the kubelet; some tell none."""
    message: str = ""
    started_at: Time | None = None
    finished_at: Time | None = None


class ContainerWaiting(Model):
    """Reason why a container does not run yet, or again."""

    reason: str = ""
    message: str = ""


class ContainerState(Model):
    """State of a container: exactly one field is set."""

    running: ContainerRunning | None = None
    terminated: ContainerTerminated | None = None
    waiting: ContainerWaiting | None = None


class ContainerStatus(Model):
    """One container as it is observed."""

    name: str
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    image_id: str = Field(default="", alias="imageID")
    container_id: str = Field(default="", alias="containerID")
    started: bool = False
    state: ContainerState = Field(default_factory=ContainerState)
    last_state: ContainerState = Field(default_factory=ContainerState)
    """Its last end, while it waits to be started anew."""


class PodIP(Model):
    """An address of a Pod."""

    ip: str


class PodStatus(Model):
    """Status of an instance."""

    phase: str = ""
    message: str = ""
    reason: str = ""
    conditions: tuple[Condition, ...] = ()
    pod_ip: str | None = Field(default=None, alias="podIP")
    pod_ips: tuple[PodIP, ...] = Field(default=(), alias="podIPs")
    start_time: Time | None = None
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    images: dict[str, str] = Field(default_factory=dict)
    """Container name -> pull spec with digest, of a stored Pod: what it was started with."""
    grace_seconds: int | None = None
    """Time that whoever deletes it gives its instance to end."""


def _statuses(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = (pod.get("status") or {}).get("containerStatuses") or []
    return [status for status in found if isinstance(status, Mapping)]


def _ready(pod: Mapping[str, Any]) -> str:
    statuses = _statuses(pod)
    return f"{sum(bool(status.get('ready')) for status in statuses)}/{len(statuses)}"


def _status(pod: Mapping[str, Any]) -> str:
    """Say what the first container that does not run waits for or ended with, else the phase."""
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return "Terminating"
    for status in _statuses(pod):
        state = status.get("state") or {}
        for kind in ("waiting", "terminated"):
            if reason := (state.get(kind) or {}).get("reason"):
                return str(reason)
    status = pod.get("status") or {}
    return str(status.get("reason") or status.get("phase") or "Unknown")


def _restarts(pod: Mapping[str, Any]) -> str:
    return str(sum(int(status.get("restartCount") or 0) for status in _statuses(pod)))


class Pod(Resource):
    """One instance: of a workload, or of a Pod that is stored."""

    KIND: ClassVar[Kind] = Kind(
        "",
        "v1",
        "Pod",
        "pods",
        ("po",),
        columns=(
            Column("READY", "status.containerStatuses[*].ready", text=_ready),
            Column("STATUS", "status.phase", text=_status),
            Column("RESTARTS", "status.containerStatuses[*].restartCount", text=_restarts),
            Column("IP", "status.podIP", wide=True),
            Column("NODE", "spec.nodeName", wide=True),
            Column("NOMINATED NODE", "status.nominatedNodeName", wide=True),
            Column("READINESS GATES", "spec.readinessGates[*].conditionType", wide=True),
            Column("IMAGES", "spec.containers[*].image", wide=True),
        ),
    )

    spec: PodSpec = Field(default_factory=PodSpec)
    status: PodStatus = Field(default_factory=PodStatus)


_OWN_ANNOTATIONS = "upwell.dev/"
PULL_BACK_OFF = "ImagePullBackOff"
"""Reason why a container waits whose image cannot be had, as kubelet has it."""
SUCCEEDED, FAILED = "Succeeded", "Failed"
"""Phases in which a Pod has ended (core/v1 PodPhase)."""


def template_of_pod(pod: Pod) -> PodTemplate:
    """Return what the one instance of a stored Pod is made from."""
    annotations = {
        name: value
        for name, value in pod.annotations.items()
        if not name.startswith(_OWN_ANNOTATIONS)
    }
    return PodTemplate(
        metadata=PodTemplateMeta(labels=dict(pod.labels), annotations=annotations), spec=pod.spec
    )
