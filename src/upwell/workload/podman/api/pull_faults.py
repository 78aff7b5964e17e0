"""Errors of pulls, in the words of Podman's libraries: what passes by itself, and what to set."""

import contextlib
import json
import re

from upwell.oci import Reference
from upwell.outbound.registry_faults import without_answer
from upwell.workload.errors import ImagePullError

MAX_ERROR_CHARACTERS = 2000
"""Of an error of Podman's that is told."""
_PLAIN_HTTP = "server gave HTTP response to HTTPS client"
_UNANSWERED = ("dial tcp", "dial udp", "no such host", "i/o timeout", "TLS handshake timeout")
"""Words of Go's net package for a connection that came to nothing."""
_PASSING = re.compile(
    r"status ?(?:code)?:? ?(?:429|5\d\d)\b|toomanyrequests|connection reset|EOF|no space left",
    re.IGNORECASE,
)
"""Words of answers that say nothing of who may have an image: they pass by themselves."""
_UNTRUSTED = ("x509: ", "tls: failed to verify certificate")


def failed_pull(
    reference: Reference, said: str, *, unanswered: bool | None = None
) -> ImagePullError:
    """Return the error of a pull, of what Podman has said, without what a registry answered.

    Unless it is known otherwise, these words tell whether any registry was reached.
    """
    fault = without_answer(said)[:MAX_ERROR_CHARACTERS]
    if unanswered is None:
        unanswered = any(words in fault for words in _UNANSWERED)
    return ImagePullError(
        f"cannot pull {reference}: {fault}{_hint(reference, fault)}",
        unanswered=unanswered,
        refused=not unanswered and _PASSING.search(fault) is None,
    )


def _hint(reference: Reference, fault: str) -> str:
    """Return the setting to make for a registry that speaks no TLS that is trusted."""
    if _PLAIN_HTTP in fault:
        return (
            f"; {reference.registry} speaks plain HTTP: allow that by importPolicy.insecure of"
            " the ImageStream tag that imports the image, or by `insecure` in a [[registry]] of"
            " the configuration file"
        )
    if any(words in fault for words in _UNTRUSTED):
        return (
            f"; the certificate of {reference.registry} is not trusted: set `ca-file` in a"
            " [[registry]] of the configuration file"
        )
    return ""


def fault_of_pull(stream: bytes) -> str:
    """Return the error in the progress stream: the status was sent before the pull began."""
    for line in reversed(stream.splitlines()):
        with contextlib.suppress(ValueError, AttributeError):
            if fault := json.loads(line).get("error"):
                return str(fault)
    return ""
