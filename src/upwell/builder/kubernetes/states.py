"""State of a build by its Pod: it waits, runs, has ended with a result, or was lost."""

from collections.abc import Iterator
from dataclasses import dataclass

from upwell.api.pod import ContainerState, Pod
from upwell.builder.interface import (
    BUILDER_KILLED,
    DISK_PRESSURE,
    NODE_LOST,
    POD_EVICTED,
    STORAGE_EXCEEDED,
    BuildError,
    BuildResult,
)
from upwell.builder.kubernetes.documents import InvalidDocumentError, decode_end
from upwell.builder.kubernetes.manifests import CONTAINER

_FAILED = "Failed"
_KILLED = 137
"""Exit code of a container that was killed (128 + SIGKILL)."""
_OWN_LIMITS = ("exceeds the limit", "exceeds its local ephemeral storage", "usage exceeds")
"""In messages of evictions: the Pod took more of the disk than it may (kubelet's eviction)."""
_ORDINARY_WAITS = frozenset({"ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class PodWaiting:
    """The Pod's container does not run yet; `why` is for people, and may be empty."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class PodRunning:
    """The build goes on."""


@dataclass(frozen=True, slots=True)
class PodEnded:
    """The build has succeeded or failed."""

    end: BuildResult | BuildError


type PodState = PodWaiting | PodRunning | PodEnded


def state_of(pod: Pod | None) -> PodState:  # noqa: PLR0911 - in this order
    """Return how far the build of a Pod is; None: the Pod is gone."""
    if pod is None:
        return PodEnded(_lost("the Pod of the build is gone"))
    state = _container(pod)
    if state.terminated is not None:
        # Its message counts, even if its node was lost or it was deleted since.
        return PodEnded(_end(pod, state))
    if pod.status.phase == _FAILED:
        return PodEnded(_failure(pod))
    if pod.is_deleting:
        return PodEnded(_lost(f"Pod {pod.name} was deleted"))
    if pod.status.reason == NODE_LOST:
        return PodEnded(_lost(pod.status.message or f"the node of Pod {pod.name} is not reachable"))
    if state.running is not None:
        return PodRunning()
    return PodWaiting("; ".join(_obstacles(pod, state)))


def _container(pod: Pod) -> ContainerState:
    found = (one.state for one in pod.status.container_statuses if one.name == CONTAINER)
    return next(found, ContainerState())


def _end(pod: Pod, state: ContainerState) -> BuildResult | BuildError:
    ended = state.terminated
    if ended is None:
        raise ValueError("the container has not ended")
    try:
        return decode_end(ended.message)
    except BuildError as error:
        return error
    except InvalidDocumentError:
        pass  # it has said nothing, or it was killed in the middle of that
    if pod.status.phase == _FAILED and pod.status.reason:
        return _failure(pod)
    if ended.reason == "OOMKilled":
        message = f"The container of Pod {pod.name} was killed at its memory limit."
        return BuildError("OutOfMemoryKilled", message)
    if pod.is_deleting:
        return _lost(f"Pod {pod.name} was deleted")
    said = f": {ended.message[-500:].strip()}" if ended.message.strip() else ""
    message = f"the container of Pod {pod.name} ended with exit code {ended.exit_code}{said}"
    reason = BUILDER_KILLED if ended.exit_code == _KILLED else "GenericBuildFailed"
    return BuildError(reason, message, retryable=reason == BUILDER_KILLED)


def _failure(pod: Pod) -> BuildError:
    """Return the error of a Pod that the kubelet or the cluster has given up."""
    reason, message = pod.status.reason, pod.status.message or f"Pod {pod.name} failed"
    match reason:
        case "DeadlineExceeded":
            return BuildError("DeadlineExceeded", f"Pod {pod.name}: {message}")
        case "Evicted" if any(words in message for words in _OWN_LIMITS):
            return BuildError(STORAGE_EXCEEDED, message)
        case "Evicted" if "ephemeral-storage" in message:
            return BuildError(DISK_PRESSURE, message, retryable=True)
        case "Evicted" | "Preempting" | "Terminated":
            return BuildError(POD_EVICTED, message, retryable=True)
        case "NodeLost" | "NodeShutdown" | "NodeAffinity" | "Shutdown":
            return _lost(message)
    return BuildError("GenericBuildFailed", f"{reason or 'Failed'}: {message}", retryable=True)


def _lost(message: str) -> BuildError:
    return BuildError(NODE_LOST, message, retryable=True)


def _obstacles(pod: Pod, state: ContainerState) -> Iterator[str]:
    """Yield why a Pod does not run yet, for the log of its build."""
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            yield f"{condition.reason}: {condition.message}"
    waiting = state.waiting
    if waiting is not None and waiting.reason not in _ORDINARY_WAITS:
        yield f"{waiting.reason}: {waiting.message}" if waiting.message else waiting.reason
