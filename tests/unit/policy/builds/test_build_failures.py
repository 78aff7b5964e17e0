"""Failures of builds: those that may pass, the messages of their status, the waits."""

import errno
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.builds.build import Build, BuildPhase, BuildStatus
from upwell.builder.interface import (
    BUILDER_KILLED,
    DISK_PRESSURE,
    BuildError,
    ReportedFullDiskError,
)
from upwell.policy.builds.failures import (
    LONGEST_RETRY_SECONDS,
    BuildTimeoutError,
    attributed,
    build_error,
    completion_time,
    may_pass,
    retry_delay,
    retry_message,
    retry_wait,
    transfer_may_pass,
    waits_for_retry,
    with_attempt_before,
)
from upwell.reconcilers.builds.planner import pull_error
from upwell.registry.errors import RegistryUnavailableError

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("reason", "retryable", "attempts", "passes"),
    [
        ("PullBuilderImageFailed", True, 1, True),
        ("PullBuilderImageFailed", True, 1000, True),
        ("PullBuilderImageFailed", False, 1, False),
        ("PushImageToRegistryFailed", True, 7, True),
        ("FetchSourceFailed", True, 7, True),
        ("FetchSourceFailed", False, 1, False),
        (DISK_PRESSURE, True, 100, True),
        (BUILDER_KILLED, True, 4, True),
        (BUILDER_KILLED, True, 5, False),
        ("OutOfMemoryKilled", True, 1, False),
        ("DeadlineExceeded", True, 1, False),
        ("DockerBuildFailed", True, 1, False),
        ("PostCommitHookFailed", True, 1, False),
        ("InvalidContextDirectory", True, 1, False),
        ("GenericBuildFailed", False, 1, False),
    ],
)
def test_faults_of_the_source_stay_and_others_may_pass(
    reason: str, *, retryable: bool, attempts: int, passes: bool
) -> None:
    error = BuildError(reason, "why", retryable=retryable)
    assert may_pass(error, attempts) is passes


def test_the_word_of_a_command_alone_makes_no_full_disk() -> None:
    told = ReportedFullDiskError(DISK_PRESSURE, "The disk is full: RUN", retryable=True)
    found = BuildError(DISK_PRESSURE, "The disk is full: errno", retryable=True)
    assert attributed(told, 2, disk_was_short=False) is told
    assert attributed(told, 99, disk_was_short=True) is told
    assert attributed(found, 99, disk_was_short=False) is found
    own = attributed(told, 3, disk_was_short=False)
    assert not may_pass(own, 3)
    assert str(own).endswith("or its input: RUN")


@pytest.mark.parametrize(
    ("reason", "retryable", "passes"),
    [
        ("Unavailable", True, True),
        ("DigestMismatch", False, True),
        ("BlobUnknown", False, True),
        ("ManifestUnknown", False, False),
        ("Unauthorized", False, False),
    ],
)
def test_a_registry_may_give_later_what_it_does_not_now(
    reason: str, *, retryable: bool, passes: bool
) -> None:
    assert transfer_may_pass(reason, retryable=retryable) is passes


@pytest.mark.parametrize(
    ("error", "reason", "retryable"),
    [
        (OSError(errno.ENOSPC, "full"), DISK_PRESSURE, True),
        (OSError(errno.EDQUOT, "full"), DISK_PRESSURE, True),
        (OSError(errno.EMFILE, "too many"), "GenericBuildFailed", True),
        (OSError(errno.EACCES, "no"), "GenericBuildFailed", False),
        (RuntimeError("a fault of ours"), "GenericBuildFailed", False),
    ],
)
def test_what_ends_a_build_from_outside_has_a_reason_too(
    error: Exception, reason: str, *, retryable: bool
) -> None:
    found = build_error(error)
    assert (found.reason, found.retryable) == (reason, retryable)


def test_the_message_has_the_cause_and_the_time_of_the_next_attempt() -> None:
    error = BuildError("PullBuilderImageFailed", "Failed pulling builder image. It is away")
    text = retry_message(error, 2, NOW)
    assert text == (
        "Failed pulling builder image. It is away."
        " This may pass: attempt 2 begins at 2026-05-01T12:00:00Z."
    )


@given(st.timedeltas(min_value=timedelta(days=-9), max_value=timedelta(days=9)))
def test_no_clock_makes_a_retry_wait_longer_than_the_longest_pause(offset: timedelta) -> None:
    build = Build(status=BuildStatus(retry_time=NOW + offset))
    wait = retry_wait(build, NOW).total_seconds()
    assert 0 <= wait <= LONGEST_RETRY_SECONDS
    assert wait == pytest.approx(min(max(offset.total_seconds(), 0), LONGEST_RETRY_SECONDS))
    assert waits_for_retry(build)


def test_a_build_never_ends_before_it_began() -> None:
    build = Build(status=BuildStatus(phase=BuildPhase.RUNNING, start_timestamp=NOW))
    assert completion_time(build, NOW - timedelta(days=1)) == NOW
    assert completion_time(build, NOW + timedelta(hours=1)) == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("told", "seconds"), [(None, 10.0), (3.0, 10.0), (45.0, 45.0), (21_600.0, 600.0)]
)
def test_the_next_attempt_is_no_sooner_than_a_registry_asks_for(
    told: float | None, seconds: float
) -> None:
    limited = RegistryUnavailableError("registry.test", "HTTP 503", told)
    assert retry_delay(build_error(limited), 10.0) == seconds
    assert retry_delay(pull_error(limited), 10.0) == seconds


def test_a_deadline_says_what_failed_the_attempt_before_and_nothing_else_does() -> None:
    refused = BuildError("CannotCreateBuildPod", 'cannot create resource "pods"', retryable=True)
    message = retry_message(refused, 2, NOW)
    waits = BuildStatus(phase=BuildPhase.NEW, retry_time=NOW, message=message)
    late = BuildError("DeadlineExceeded", "build app-1 took longer than its deadline of 5 s")
    told = with_attempt_before(late, Build(status=waits))
    assert told.reason == "DeadlineExceeded"
    assert str(told).startswith(f"{late}; the attempt before failed: Failed creating build pod.")
    assert 'cannot create resource "pods".' in str(told)
    assert with_attempt_before(late, Build()) is late
    waited = BuildTimeoutError("app-1", 5, "Pod app-1-build waits: Unschedulable")
    assert with_attempt_before(waited, Build(status=waits)) is waited
    assert str(waited).endswith("5 s: Pod app-1-build waits: Unschedulable")
    silent = BuildTimeoutError("app-1", 5, "")
    assert "the attempt before failed" in str(with_attempt_before(silent, Build(status=waits)))
    assert with_attempt_before(refused, Build(status=waits)) is refused
