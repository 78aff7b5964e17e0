"""Observation of rollouts that a cluster carries out, by what its controllers report."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.cluster.workloads import complete, image, stuck, with_status_of, workload

from upwell.api.apps import Deployment
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.cluster_rollouts.observation import (
    NO_DEADLINE,
    RolloutObservation,
    WorkloadFailureReason,
    keeps_completion,
    observe,
)
from upwell.policy.rollouts.summary import RolloutState

SET = datetime(2026, 5, 1, tzinfo=UTC)
DEADLINE = timedelta(seconds=600)
NOTE = RolloutNote({"app": image("good")}, since=SET)


def observed(note: RolloutNote, now: datetime) -> RolloutObservation:
    """Look at a Deployment whose condition says that its deadline is over."""
    made = workload(Deployment)
    return observe(with_status_of(made, **stuck(made)), (), note, now)


def test_a_verdict_that_comes_too_early_is_about_the_rollout_before() -> None:
    """Images that were put back have a ReplicaSet, and the condition stays as it was at first."""
    found = observed(NOTE, SET + timedelta(seconds=1))

    assert found.state is RolloutState.PROGRESSING
    assert found.look_again == SET + DEADLINE


@pytest.mark.parametrize(
    ("note", "now"),
    [
        pytest.param(NOTE, SET + DEADLINE, id="its deadline is over"),
        pytest.param(replace(NOTE, since=None), SET, id="a person set the images"),
        pytest.param(NOTE, SET - timedelta(hours=1), id="the clock was set back"),
    ],
)
def test_a_rollout_fails_by_the_verdict_of_its_cluster(note: RolloutNote, now: datetime) -> None:
    found = observed(note, now)

    assert found.state is RolloutState.FAILED
    assert found.reason == WorkloadFailureReason.STUCK
    assert found.message == "no progress for 600 s"


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        pytest.param({}, RolloutState.COMPLETE, id="all are new and available"),
        pytest.param({"updatedReplicas": 0}, RolloutState.PROGRESSING, id="none is new"),
        pytest.param({"replicas": 2}, RolloutState.PROGRESSING, id="an old one is left"),
        pytest.param({"availableReplicas": 0}, RolloutState.PROGRESSING, id="none is available"),
        pytest.param({"observedGeneration": 0}, RolloutState.PROGRESSING, id="not seen yet"),
    ],
)
def test_a_deployment_without_a_deadline_is_judged_by_its_counts(
    counts: dict[str, int], state: RolloutState
) -> None:
    """Its controller takes the condition Progressing away (SyncRolloutStatus of Kubernetes)."""
    made = workload(Deployment)
    spec = made.spec.model_copy(update={"progress_deadline_seconds": NO_DEADLINE})
    made = made.model_copy(update={"spec": spec})
    reported = {**complete(made), "conditions": [], **counts}

    found = observe(with_status_of(made, **reported), (), NOTE, SET + 2 * DEADLINE)

    assert found.state is state
    assert not keeps_completion(made)
