"""Observation of rollouts that a cluster carries out, by what its controllers report."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.cluster.workloads import complete, image, noted, stuck, with_status_of, workload

from upwell.api.apps import CronJob, Deployment
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.cluster_rollouts.observation import (
    NO_DEADLINE,
    RolloutObservation,
    WorkloadFailureReason,
    keeps_completion,
    last_success,
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


AHEAD = "2026-05-01T00:01:00Z"
"""Time of a run before the images were set, by the clock of a cluster that is a minute ahead."""


@pytest.mark.parametrize(
    ("before", "last", "state"),
    [
        pytest.param(AHEAD, AHEAD, RolloutState.PROGRESSING, id="none since, the clock is ahead"),
        pytest.param(None, None, RolloutState.PROGRESSING, id="none ever"),
        pytest.param(
            AHEAD, "2026-05-01T00:05:00Z", RolloutState.COMPLETE, id="one since, the clock is ahead"
        ),
        pytest.param(
            "2026-04-30T23:50:00Z",
            "2026-04-30T23:55:00Z",
            RolloutState.COMPLETE,
            id="one since, the clock is behind",
        ),
        pytest.param(None, "2026-04-30T23:55:00Z", RolloutState.COMPLETE, id="the first"),
    ],
)
def test_a_cron_job_is_complete_once_it_succeeds_anew_whatever_its_clusters_clock_says(
    before: str | None, last: str | None, state: RolloutState
) -> None:
    made = workload(CronJob)
    at_set = with_status_of(made, **({"lastSuccessfulTime": before} if before else {}))
    set_then = replace(NOTE, last_success=last_success(at_set))
    kept = RolloutNote.of(noted(made, set_then))
    now = with_status_of(made, **({"lastSuccessfulTime": last} if last else {}))

    assert observe(now, (), kept, SET).state is state


def test_a_cron_job_whose_note_is_of_an_older_version_is_judged_by_times() -> None:
    after = with_status_of(workload(CronJob), lastSuccessfulTime=AHEAD)
    before = with_status_of(workload(CronJob), lastSuccessfulTime="2026-04-30T23:55:00Z")

    assert observe(after, (), NOTE, SET).state is RolloutState.COMPLETE
    assert observe(before, (), NOTE, SET).state is RolloutState.PROGRESSING
