"""Diagnosis of a failure: whether the machine was at fault, by exit codes, errors and output."""

import re

from upwell.builder.interface import (
    BUILDER_KILLED,
    DISK_PRESSURE,
    BuildError,
    ReportedFullDiskError,
)
from upwell.machine.disk import is_full
from upwell.machine.process import ProcessResult

_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_LAST_LINES = 20
"""A program may speak of the disk in passing: near its end it says why it ended."""

_TRANSIENT = re.compile(
    r"connection (refused|reset)|timeout|timed out|no such host|toomanyrequests|broken pipe|"
    r"too many requests|status(code)?:? (429|5\d\d)|unexpected EOF|server error|"
    r"temporary failure in name resolution|server misbehaving|network is unreachable|"
    r"no route to host|digest invalid|digest did not match|does not match .*digest|: EOF$",
    re.IGNORECASE | re.MULTILINE,
)
_RATE_LIMITED = re.compile(
    r"toomanyrequests|too many requests|status(code)?:? 429\b", re.IGNORECASE
)
_KILLED, _TERMINATED = 128 + 9, 128 + 15


def machine_fault(outcome: ProcessResult) -> BuildError | None:
    """Return the error of a command that the machine let down; None: it failed by itself."""
    if is_out_of_space(outcome.tail):
        return ReportedFullDiskError(DISK_PRESSURE, _full_disk(outcome.last_line), retryable=True)
    if outcome.code < 0:
        message = f"The build's process was killed with signal {-outcome.code}, not by the build."
        return BuildError(BUILDER_KILLED, message, retryable=True)
    if outcome.code == _TERMINATED:  # as all processes of a machine that is shut down
        message = "A command of the build was terminated from outside."
        return BuildError(BUILDER_KILLED, message, retryable=True)
    return None


def was_killed(outcome: ProcessResult) -> bool:
    """Return True if a command of the build was killed, the builder itself was not."""
    return outcome.code == _KILLED or "exited on killed" in outcome.tail


def may_pass(outcome: ProcessResult) -> bool:
    """Return True if a transfer failed for a reason that another time it may not have."""
    return _TRANSIENT.search(outcome.tail) is not None


def is_rate_limited(outcome: ProcessResult) -> bool:
    """Return True if a transfer has ended because a registry limits requests."""
    return _RATE_LIMITED.search(outcome.last_line) is not None


def is_out_of_space(text: str) -> bool:
    """Return True if the end of an output says that the disk is full."""
    return _NO_SPACE.search("\n".join(text.splitlines()[-_LAST_LINES:])) is not None


def disk_full(error: BaseException | None) -> bool:
    """Return True if an error, or one that caused it, is that of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and is_full(error):
            return True
        error = error.__cause__
    return False


def disk_pressure(cause: str) -> BuildError:
    """Return the error of a build that found no space on the disk."""
    return BuildError(DISK_PRESSURE, _full_disk(cause), retryable=True)


def _full_disk(cause: str) -> str:
    return f"The disk of this machine is full: {cause.removeprefix('Error: ')}"
