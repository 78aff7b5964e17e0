from datetime import UTC, datetime, timedelta

import pytest

from upwell.api.apps import Job, JobSpec
from upwell.policy.jobs.runs import Run, plan

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(completions: int, parallelism: int) -> Job:
    return Job(spec=JobSpec(completions=completions, parallelism=parallelism))


@pytest.mark.parametrize(("completions", "parallelism"), [(10**9, 1), (1, 10**9), (10**30, 10**30)])
def test_a_stored_job_of_a_billion_runs_starts_none_and_says_why(
    completions: int, parallelism: int
) -> None:
    found = plan(job(completions, parallelism), [], NOW)

    assert not found.start
    assert "spec.completions is more than 100000" in found.message
    assert not found.outcome


def test_free_indices_are_started_in_order_and_failed_ones_waited_for() -> None:
    failed = Run(1, NOW, ended=True, succeeded=False, restarts=0)
    done = Run(0, NOW, ended=True, succeeded=True, restarts=0)
    running = Run(3, NOW, ended=False, succeeded=False, restarts=0)

    found = plan(job(100_000, 4), [done, failed, running], NOW)

    assert list(found.start) == [2, 4, 5]
    assert found.look_at == failed.restart_at > NOW
    later = plan(job(100_000, 4), [done, failed, running], NOW + timedelta(hours=1))
    assert list(later.start) == [1, 2, 4]
