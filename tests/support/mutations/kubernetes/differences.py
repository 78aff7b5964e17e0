"""Differences: what we refuse and Kubernetes 1.20 accepts, with the reasons."""

import re

_POD = r"(Pod spec|spec\.(jobTemplate\.spec\.)?template\.spec)"

STRICTER: tuple[tuple[str, str], ...] = (
    (rf"{_POD}\.(init)?[cC]ontainers\[\d+\]\.image", "an image has to be a reference"),
    (rf"{_POD}.*\.capabilities\.(add|drop)\[\d+\]", "a capability that nobody knows"),
    (rf"{_POD}.*\.securityContext.*", "every restriction is honoured or refused"),
    (rf"{_POD}\.hostNetwork", "instances have a network of their own"),
    (rf"{_POD}.*\.audience", "an audience has 256 characters at most"),
    (
        r".*(expiration|terminationGracePeriod|Deadline|ttl)Seconds(AfterFinished)?",
        "68 years are enough, and none is negative",
    ),
    (
        rf"{_POD}\.topologySpreadConstraints\[\d+\]\.labelSelector.*",
        "Kubernetes 1.27 refuses it too",
    ),
    (r"spec\.selector\.matchExpressions\[\d+\]\.values.*", "Kubernetes 1.27 refuses it too"),
    (r"spec\.ports\[\d+\]\.nodePort", "a port is not negative"),
    (r"Ingress .*\.resource\.(kind|name)", "no name has more than 253 characters"),
    (r"StatefulSet spec\.template.*", "Kubernetes 1.20 does not look at its Pods"),
    (r"StatefulSet spec\.volumeClaimTemplates.*", "Kubernetes 1.20 does not look at its claims"),
    (r"StatefulSet spec\.revisionHistoryLimit", "a count is not negative"),
)
"""Paths, of a kind where it stands before, and reasons."""


def reason(kind: str, path: str) -> str:
    """Return why we may be stricter at a path; empty: we may not."""
    for expression, why in STRICTER:
        if re.fullmatch(expression, path) or re.fullmatch(expression, f"{kind} {path}"):
            return why
    return ""
