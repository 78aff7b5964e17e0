"""Failures of builds: OpenShift's reason, a sentence for people, and whether it may pass.

A fault that may pass is outside of what was asked for: a registry, the network, the disk, a
process that somebody killed. Such a build is tried again; one whose source is at fault has failed.
"""

import errno
from collections.abc import Mapping
from datetime import datetime, timedelta

from upwell.api.builds.build import Build, BuildPhase
from upwell.builder.interface import (
    BUILDER_KILLED,
    DISK_PRESSURE,
    NODE_LOST,
    POD_EVICTED,
    POD_REFUSED,
    STORAGE_EXCEEDED,
    BuildError,
    ReportedFullDiskError,
)

GENERIC = "GenericBuildFailed"
DEADLINE_EXCEEDED = "DeadlineExceeded"

MESSAGES: Mapping[str, str] = {
    POD_EVICTED: "The pod for this build was evicted before the build completed.",
    POD_REFUSED: "Failed creating build pod.",
    "CancelledBuild": "The build was cancelled by the user.",
    "DockerBuildFailed": "Dockerfile build strategy has failed.",
    "FetchImageContentFailed": "Failed to extract image content.",
    "FetchSourceFailed": "Failed to fetch the input source.",
    GENERIC: "Generic Build failure - check logs for details.",
    "InvalidContextDirectory": "The supplied context directory does not exist.",
    "InvalidImageReference": "Referenced image could not be resolved.",
    "InvalidOutputReference": "Output image could not be resolved.",
    "MissingPushSecret": "Missing push secret.",
    "OutOfMemoryKilled": "The build pod was killed due to an out of memory condition.",
    "PullBuilderImageFailed": "Failed pulling builder image.",
    "PushImageToRegistryFailed": "Failed to push the image to the registry.",
    "UnresolvableEnvironmentVariable": "Unable to resolve build environment variable reference.",
}
"""Status messages of build/v1, by reason."""

_REPORTED_AS: Mapping[str, str] = {"PostCommitHookFailed": GENERIC, "CustomBuildFailed": GENERIC}
"""Reasons that OpenShift 4 does not tell apart in the status of a build."""


POD_WAITS = "PodWaits"
"""Reason of a build whose Pod does not run yet."""
NOT_REBASED = "NotRebased"
"""Reason of a build that may only be rebased, and cannot be: nothing of it is broken."""
_PHASES: Mapping[str, BuildPhase] = {
    "UnresolvableEnvironmentVariable": BuildPhase.ERROR,
    NOT_REBASED: BuildPhase.CANCELLED,
}
"""Phases that builds end in by their reason; all others have failed."""

_OF_THE_SOURCE = frozenset(
    {
        "CustomBuildFailed",
        DEADLINE_EXCEEDED,
        "DockerBuildFailed",
        "InvalidContextDirectory",
        "InvalidStrategy",
        "ManageDockerfileFailed",
        "MissingPushSecret",
        "OutOfMemoryKilled",
        "PostCommitHookFailed",
        "UnresolvableEnvironmentVariable",
        STORAGE_EXCEEDED,
    }
)
"""Reasons that another try would only repeat, whatever the builder says of them."""

_MOST_ATTEMPTS: Mapping[str, int] = {BUILDER_KILLED: 5, POD_EVICTED: 5, NODE_LOST: 2}
"""Attempts after which a fault is taken for the build's own: a build that needs more memory than
the machine has kills itself, or its neighbours or its node, each time. Other faults
are waited out for ever."""

_MOST_UNFOUNDED = 3
"""Attempts of a build that says that the disk is full, after which that is not believed."""

_OF_A_LAGGING_CACHE = frozenset({"BlobUnknown", "DigestMismatch"})
"""Reasons of registries."""

_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})
_SHORTAGES = frozenset({errno.EAGAIN, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_NEXT_ATTEMPT = " This may pass: attempt "

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 10.0, 600.0
"""Wait before the second attempt, doubled for each further one, and its limit."""


class BuildTimeoutError(BuildError):
    """The time of an attempt is over; `waits` is what kept it from beginning, if anything did."""

    def __init__(self, build: str, seconds: float, waits: str) -> None:
        rest = f": {waits}" if waits else ""
        message = f"build {build} took longer than its deadline of {seconds:.0f} s{rest}"
        super().__init__(DEADLINE_EXCEEDED, message)
        self.waits = waits


def waiting_status(why: str) -> dict[str, str | None]:
    """Return the status fields of a build that waits for something elsewhere; empty: it goes on."""
    return {"reason": POD_WAITS if why else None, "message": why or None}


def final_phase(reason: str) -> BuildPhase:
    """Return the phase in which a build ends that has no result."""
    return _PHASES.get(reason, BuildPhase.FAILED)


def was_not_rebased(build: Build) -> bool:
    """Return True if a build may only be rebased, and could not be: nobody has cancelled it."""
    return build.status.phase is BuildPhase.CANCELLED and build.status.reason == NOT_REBASED


def may_pass(error: BuildError, attempts: int) -> bool:
    """Return True if the build is to be tried again, after this many attempts."""
    if error.reason in _OF_THE_SOURCE or not error.retryable:
        return False
    return attempts < _MOST_ATTEMPTS.get(error.reason, attempts + 1)


def attributed(error: BuildError, attempts: int, *, disk_was_short: bool) -> BuildError:
    """Return the error as it counts after so many attempts: one of the source does not pass.

    A command that says that the disk is full, while it is not, meets a limit of its own.
    """
    if not isinstance(error, ReportedFullDiskError) or disk_was_short:
        return error
    if attempts < _MOST_UNFOUNDED:
        return error
    cause = str(error).partition(": ")[2]
    message = (
        f"A command of the build said in each of {attempts} attempts that the disk is full, and"
        f" that of this machine is not: a tmpfs or quota of its own may be, or its input: {cause}"
    )
    return BuildError(GENERIC, message)


def transfer_may_pass(reason: str, *, retryable: bool) -> bool:
    """Return True if a registry that failed so may yet give what was asked for by its digest.

    Content of another digest, or a manifest whose blobs are not there, comes of a cache that lags.
    """
    return retryable or reason in _OF_A_LAGGING_CACHE


def build_error(error: Exception) -> BuildError:
    """Return the error of a build that something else than the builder has ended."""
    match error:
        case BuildError():
            return error
        case OSError(errno=number) if number in _FULL_DISK:
            message = f"The disk of this machine is full: {error}"
            return BuildError(DISK_PRESSURE, message, retryable=True)
        case OSError(errno=number) if number in _SHORTAGES:
            return BuildError(GENERIC, f"this machine: {error}", retryable=True)
    if getattr(error, "retryable", False):
        return BuildError(
            getattr(error, "reason", GENERIC),
            str(error),
            retryable=True,
            retry_after=getattr(error, "retry_after", None),
        )
    return BuildError(GENERIC, f"internal error: {error}")


def retry_delay(error: BuildError, backoff: float) -> float:
    """Return the seconds until the next attempt: no sooner than a registry has asked for."""
    return min(max(backoff, error.retry_after or 0.0), LONGEST_RETRY_SECONDS)


def waits_for_retry(build: Build) -> bool:
    """Return True if an attempt of the build has failed and the next is to come."""
    return build.status.phase is BuildPhase.NEW and build.status.retry_time is not None


def retry_message(error: BuildError, attempt: int, at: datetime) -> str:
    """Return the status message of a build that is tried again, as `attempt`, at that time."""
    cause = status_message(error.reason, str(error)).rstrip(".")
    return f"{cause}.{_NEXT_ATTEMPT}{attempt} begins at {at:%Y-%m-%dT%H:%M:%SZ}."


def without_next_attempt(message: str) -> str:
    """Return the message of a build without what changes at each attempt."""
    return message.partition(_NEXT_ATTEMPT)[0]


def with_attempt_before(error: BuildError, build: Build) -> BuildError:
    """Return the failure of an attempt; one by the deadline also says why the last try failed.

    `build` is what it was before the attempt. A deadline alone says nothing of a cause, and what
    kept the build before, a refused Pod for instance, may have kept it again.
    """
    if error.reason != DEADLINE_EXCEEDED or not (build.status.message and waits_for_retry(build)):
        return error
    if isinstance(error, BuildTimeoutError) and error.waits:
        return error
    before = without_next_attempt(build.status.message)
    message = f"{str(error).rstrip('.')}; the attempt before failed: {before}"
    return BuildError(error.reason, message, retryable=error.retryable)


def retry_wait(build: Build, now: datetime) -> timedelta:
    """Return how long the build still waits for its next attempt.

    Its status has the time by a clock that may have been set since: it waits for no longer than
    the longest pause between attempts.
    """
    due = build.status.retry_time
    if due is None:
        return timedelta(0)
    return min(max(due - now, timedelta(0)), timedelta(seconds=LONGEST_RETRY_SECONDS))


def completion_time(build: Build, now: datetime) -> datetime:
    """Return when a build ended that ends now: never before it began, whoever set the clock."""
    return max(now, build.status.start_timestamp or now)


def status_reason(reason: str) -> str:
    """Return the reason that the status of a build has."""
    return _REPORTED_AS.get(reason, reason)


def status_message(reason: str, cause: str) -> str:
    """Return OpenShift's sentence for the reason, then our own account of the cause.

    Programs compare the sentence: it always comes first and complete.
    """
    sentence = MESSAGES.get(status_reason(reason))
    if sentence is None or cause.startswith(sentence):
        return cause
    # An adapter's sentence without its full stop, or with a colon, would stand there twice.
    rest = cause.removeprefix(sentence.rstrip(".")).lstrip(".: ")
    return f"{sentence} {rest}".rstrip()
