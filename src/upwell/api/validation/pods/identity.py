"""Ids of users and groups in a securityContext, which are numbers and no texts of digits.

Earlier versions took both, and what they have stored goes on: `api/values/security_context` reads
either, and tells all else that is wrong there.
"""

from upwell.api.validation.shapes import integer, listed, one_of, record

_ID = integer()
_IDS = {"runAsUser": _ID, "runAsGroup": _ID}

identity = record(_IDS)
"""securityContext of a container."""
pod_identity = record(
    {
        **_IDS,
        "fsGroup": _ID,
        "supplementalGroups": listed(_ID),
        "fsGroupChangePolicy": one_of("Always", "OnRootMismatch", empty=False),
    }
)
"""securityContext of a Pod."""
