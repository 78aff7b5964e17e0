"""Errors of container runtimes; `reason` goes into a condition."""

from typing import ClassVar


class WorkloadError(Exception):
    """Base of every error that this package raises; `reason` goes into a condition."""

    reason: ClassVar[str] = "WorkloadError"
    retryable: ClassVar[bool] = False


class RuntimeUnavailableError(WorkloadError):
    """The container runtime did not do what it was asked for; the message is its own."""

    reason = "RuntimeUnavailable"
    retryable = True


class ImagePullError(WorkloadError):
    """The image could not be pulled; asking again is of use after `retry_after` seconds."""

    reason = "ImagePullFailed"
    retryable = True

    def __init__(
        self,
        message: str,
        retry_after: float = 0,
        *,
        unanswered: bool = False,
        refused: bool = False,
        interrupted: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.unanswered = unanswered
        """True if no registry could be asked: none answers, nor does a mirror of it."""
        self.refused = refused
        """True if a registry answered, and gave nothing for a reason that does not pass."""
        self.interrupted = interrupted
        """True if the runtime ended, or was killed, meanwhile: that says nothing of a registry."""


class UnreachableError(WorkloadError):
    """Failure of a connection: the port of an instance does not answer."""

    reason = "Unreachable"


class UnreadableFilesError(WorkloadError):
    """The files of a container are missing, or more than may be read."""

    reason = "UnreadableFiles"


class NoPreviousLogError(WorkloadError):
    """The container has not ended and been started anew, so that there is no log before."""

    reason = "NoPreviousLog"


class ForbiddenError(WorkloadError):
    """The workload asks for what the administrator did not allow (a host path, say)."""

    reason = "Forbidden"
