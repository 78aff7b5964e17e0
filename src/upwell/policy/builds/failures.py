"""Reasons of failed builds as OpenShift gives them, and a sentence on each for people."""

from collections.abc import Mapping

GENERIC = "GenericBuildFailed"

MESSAGES: Mapping[str, str] = {
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
