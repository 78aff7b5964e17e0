"""Test what a Pod says of its build."""

from datetime import UTC, datetime

import pytest
from tests.support.builds.memory_pods import container_status, pod_status

from upwell.api.meta import ObjectMeta
from upwell.api.pod import Pod
from upwell.builder.interface import BuildError, BuildResult
from upwell.builder.kubernetes.documents import encode_error, encode_result
from upwell.builder.kubernetes.states import PodEnded, PodRunning, PodWaiting, state_of

RESULT = BuildResult(None, {})


def pod(status: dict[str, object], *, leaving: bool = False) -> Pod:
    when = datetime(2026, 1, 1, tzinfo=UTC) if leaving else None
    meta = ObjectMeta(name="app-1-build", namespace="shop", deletion_timestamp=when)
    return Pod(metadata=meta, status=pod_status(status))


def ended(
    message: str = "", code: int = 1, reason: str = "Error", **more: object
) -> dict[str, object]:
    state = {"exitCode": code, "reason": reason, "message": message}
    return {**container_status("Failed", terminated=state), **more}


def test_a_container_that_runs() -> None:
    assert state_of(pod(container_status("Running", running={}))) == PodRunning()


def test_what_a_pod_waits_for_is_told() -> None:
    assert state_of(pod({"phase": "Pending"})) == PodWaiting()
    ordinary = container_status("Pending", waiting={"reason": "ContainerCreating"})
    assert state_of(pod(ordinary)) == PodWaiting()
    pulling = container_status("Pending", waiting={"reason": "ErrImagePull", "message": "no such"})
    assert state_of(pod(pulling)) == PodWaiting("ErrImagePull: no such")
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    nowhere: dict[str, object] = {
        "phase": "Pending",
        "conditions": [{**condition, "message": "0/1 nodes fit"}],
    }
    assert state_of(pod(nowhere)) == PodWaiting("Unschedulable: 0/1 nodes fit")


def test_a_result_counts_even_where_its_pod_is_deleted_since() -> None:
    done = ended(encode_result(RESULT), 0)
    assert state_of(pod(done)) == state_of(pod(done, leaving=True)) == PodEnded(RESULT)


def given_up(reason: str, message: str = "") -> dict[str, object]:
    return {"phase": "Failed", "reason": reason, "message": message}


RUNNING = container_status("Running", running={})
OVER_LIMIT = 'Usage of EmptyDir volume "work" exceeds the limit "1Gi".'
FULL_NODE = "The node was low on resource: ephemeral-storage."


@pytest.mark.parametrize(
    ("status", "leaving", "reason", "retryable"),
    [
        (None, False, "NodeLost", True),
        (RUNNING, True, "NodeLost", True),
        ({**RUNNING, "reason": "NodeLost"}, False, "NodeLost", True),
        (ended("", 143), True, "NodeLost", True),
        (ended("", 137), False, "BuilderKilled", True),
        (ended("Traceback", 1), False, "GenericBuildFailed", False),
        (ended("", 137, "OOMKilled"), False, "OutOfMemoryKilled", False),
        (given_up("DeadlineExceeded"), False, "DeadlineExceeded", False),
        (ended("", 143) | given_up("DeadlineExceeded"), False, "DeadlineExceeded", False),
        (given_up("Evicted", "The node was low on memory."), False, "BuildPodEvicted", True),
        (given_up("Evicted", OVER_LIMIT), False, "BuildStorageExceeded", False),
        (given_up("Evicted", FULL_NODE), False, "DiskPressure", True),
        (given_up("NodeAffinity"), False, "NodeLost", True),
        (given_up("OutOfcpu"), False, "GenericBuildFailed", True),
    ],
)
def test_the_end_of_a_pod_has_a_reason(
    status: dict[str, object] | None, *, leaving: bool, reason: str, retryable: bool
) -> None:
    state = state_of(pod(status, leaving=leaving) if status is not None else None)
    assert isinstance(state, PodEnded)
    assert isinstance(state.end, BuildError)
    assert (state.end.reason, state.end.retryable) == (reason, retryable)
    assert str(state.end)


def test_an_error_is_that_of_the_build() -> None:
    told = ended(encode_error(BuildError("DockerBuildFailed", "exit status 2")))
    state = state_of(pod(told))
    assert isinstance(state, PodEnded)
    assert isinstance(state.end, BuildError)
    assert (state.end.reason, str(state.end)) == ("DockerBuildFailed", "exit status 2")
