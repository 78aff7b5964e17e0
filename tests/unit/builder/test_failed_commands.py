"""Diagnosis of what Buildah printed, and of how it ended."""

import errno

import pytest

from upwell.builder.archive import ArchiveError
from upwell.builder.diagnosis import (
    disk_full,
    is_rate_limited,
    machine_fault,
    may_pass,
    was_killed,
)
from upwell.builder.interface import BUILDER_KILLED, DISK_PRESSURE
from upwell.machine.process import ProcessResult

FULL = "Error: committing: write /var/x: no space left on device"


@pytest.mark.parametrize(
    ("code", "tail", "reason"),
    [
        (125, FULL, DISK_PRESSURE),
        (-9, "STEP 2/3: RUN make", BUILDER_KILLED),
        (-15, "", BUILDER_KILLED),
        (143, "exit status 143", BUILDER_KILLED),
        (-9, FULL, DISK_PRESSURE),
        (1, "make: *** [all] Error 1", None),
        (137, "exit status 137", None),
        (2, "\n".join([FULL, *["compiling"] * 30, "syntax error"]), None),
    ],
)
def test_the_machines_faults_are_told_from_the_builds(
    code: int, tail: str, reason: str | None
) -> None:
    fault = machine_fault(ProcessResult(code, tail))
    assert (fault.reason if fault else None) == reason
    assert fault is None or fault.retryable


@pytest.mark.parametrize(
    ("tail", "passes"),
    [
        ("received unexpected HTTP status: 500 Internal Server Error", True),
        ("dial tcp: lookup registry.example: no such host", True),
        ("dial tcp: lookup registry.example: Temporary failure in name resolution", True),
        ("dial tcp 10.0.0.1:443: connect: connection refused", True),
        ('Get "https://registry.example/v2/": EOF', True),
        ("blob digest did not match", True),
        ("fetching blob: digest invalid: registry.test/base answered content 54ebbe where", True),
        ("toomanyrequests: slow down", True),
        ('checking whether a blob exists in registry.example/app: StatusCode: 429, ""', True),
        ('reading manifest: StatusCode: 503, "<html>"', True),
        ('reading manifest: StatusCode: 404, "<html>"', False),
        ("unauthorized: authentication required", False),
        ("manifest unknown", False),
        ("invalid reference format", False),
    ],
)
def test_a_transfer_is_tried_again_when_its_failure_may_pass(tail: str, *, passes: bool) -> None:
    assert may_pass(ProcessResult(125, tail)) is passes


@pytest.mark.parametrize(
    ("tail", "limited"),
    [
        ('checking whether a blob exists in registry.example/app: StatusCode: 429, ""', True),
        ("received unexpected HTTP status: 429 Too Many Requests", True),
        ("toomanyrequests: slow down", True),
        ("StatusCode: 503", False),
        ("toomanyrequests: slow down\nconnection refused", False),
        ("writing blob 4290: connection refused", False),
    ],
)
def test_a_registry_that_limits_requests_is_told_from_one_that_fails(
    tail: str, *, limited: bool
) -> None:
    assert is_rate_limited(ProcessResult(125, tail)) is limited


def test_a_killed_command_is_told_by_its_exit_code() -> None:
    assert was_killed(ProcessResult(137, "exit status 137"))
    assert not was_killed(ProcessResult(1, "exit status 1"))


def test_a_full_disk_is_found_among_the_causes_of_an_error() -> None:
    error = ArchiveError("the archive cannot be unpacked")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert disk_full(error)
    assert not disk_full(ArchiveError("damaged"))
