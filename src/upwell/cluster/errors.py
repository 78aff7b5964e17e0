"""Errors of a cluster; `reason` is that of the Event that tells it."""

from upwell.workload.errors import WorkloadError


class ClusterError(WorkloadError):
    """Base of every error that this package raises: a cluster is a runtime of workloads, too."""

    reason = "ClusterError"


class ClusterUnavailableError(ClusterError):
    """The cluster cannot be reached now, or asks us to come back after `retry_after` seconds."""

    reason = "ClusterUnavailable"
    retryable = True

    def __init__(self, message: str, retry_after: float = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NoClusterAccessError(ClusterError):
    """There is no usable access to a cluster; the message says what is missing or wrong."""

    reason = "NoClusterAccess"


class WorkloadChangedError(ClusterError):
    """The workload has changed since it was read, or is gone: the decision was about another."""

    reason = "Conflict"
    retryable = True


class FieldOwnedError(ClusterError):
    """Another manager owns a field that was to be set; the message names it and the field."""

    reason = "FieldConflict"


class AccessDeniedError(ClusterError):
    """The cluster does not let us; the message names the verb and the resource."""

    reason = "Forbidden"


class WriteRefusedError(ClusterError):
    """An admission webhook, a quota or the validation refuses the write; the message says why."""

    reason = "Refused"
    by_admission = False
    """True if a webhook, a quota or a policy refuses it, which may be another one soon."""


class ListExpiredError(ClusterError):
    """The position of a list or a watch is older than what the cluster remembers: list again."""

    reason = "Expired"
    retryable = True


def is_of_admission(error: Exception) -> bool:
    """Return True if a webhook, a quota or a policy stands against a write, by whatever code.

    A webhook may deny with 409 or 500, as if the API server were busy, and one that is away is a
    fault of the server (500): neither is over soon, and both are told.
    """
    return bool(getattr(error, "by_admission", False))


def may_be_lifted(error: Exception) -> bool:
    """Return True if a refusal may go by itself: a right, a quota or an admission webhook changes.

    What the API server finds invalid stays so until the object is another one.
    """
    is_denied = getattr(error, "reason", "") == AccessDeniedError.reason
    return is_denied or is_of_admission(error)
