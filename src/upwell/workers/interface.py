"""Limits of a worker, and the errors of one that gives no result."""

from dataclasses import dataclass
from typing import ClassVar

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Limits of one worker."""

    memory_bytes: int = 512 * MIB
    """Address space, of which the interpreter takes about 40 MiB."""
    cpu_seconds: int = 60
    wall_seconds: float = 300.0
    result_bytes: int = 4 * MIB
    """Of JSON data no more than this: it is decoded at once, while this process does nothing else.
    Content, which goes into a file, may have more."""
    result_values: int = 60_000
    """Of JSON data: an empty list takes thirty times as much memory as text."""


class WorkerError(Exception):
    """A worker gave no result; the message says why, to follow the name of the input."""

    final: ClassVar[bool] = True
    """True if another try of the same input ends the same way."""


class RefusedInputError(WorkerError):
    """The task refused its input: it is damaged, or tries to do harm."""


class WorkerExcessError(WorkerError):
    """The input takes more memory or computing time than the limits allow."""


class WorkerFailedError(WorkerError):
    """The worker was killed from outside, starved, or could not start: another try may succeed."""

    final = False
