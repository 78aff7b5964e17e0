"""Each right that an installation gives is one that a test takes away by itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.kubernetes.rights.read_rights import BESIDE_READS, READS
from tests.support.kubernetes.rights.single_rights import (
    ASKED,
    OF_TOKENS,
    RENEWED,
    RIGHTS,
    SHARED,
    Right,
    moved,
)

from upwell.cli.install.installation import ClusterInstallation
from upwell.cli.install.manifests import manifests
from upwell.policy.notifications.shared_deliveries import part_names, secret_name

_WRITES = {"create", "update", "patch", "delete"}
_READS = {"list", "watch"}
_GATEWAY = "gateway.networking.k8s.io"
_CONFIG = "config.openshift.io"
_ADMISSION = "admissionregistration.k8s.io"
_NODE = "it takes a node: tests/contract/kubernetes/test_build_pods.py has builds in Pods use it"
_ROUTED = "as Ingresses, by the same code; the test kit has no Gateway API of its own"
_YEARLY = "an authority is renewed after years"
_IMPORT = "it takes a registry to import from: tests/contract/kubernetes/test_cluster_waves.py"
_JUDGED = "written when an image was judged, which takes a registry with its signatures"
_JOBS = "tests/contract/test_refused_checks.py has a Job refused, and its check wait"


def beside(
    group: str, verbs: str, resource: str, why: str, *, role: str = "", name: str = ""
) -> dict[Right, str]:
    rights = [Right(group, verb, resource, moved, role=role, name=name) for verb in verbs.split()]
    return dict.fromkeys(rights, why)


BESIDE: Mapping[Right, str] = {
    **beside("", "create delete", "pods", _NODE),
    **beside("", "create", "pods/exec", "from Kubernetes 1.35 on, beside `get`"),
    **beside("batch", "create delete", "jobs", _JOBS),
    **beside("", "update patch", "events", "an Event that is told again, as one that is new"),
    **beside("networking.k8s.io", "delete", "ingresses", "of a Route that moved to a Gateway"),
    **beside(_GATEWAY, "create update delete", "httproutes", _ROUTED),
    **beside(_GATEWAY, "create update delete", "tlsroutes", _ROUTED),
    **beside("upwell.dev", "update", "waves/status", _IMPORT),
    **beside(_CONFIG, "update", "imagepolicies/status", _JUDGED),
    **beside(_CONFIG, "update", "clusterimagepolicies/status", _JUDGED),
    **beside("", "create update", "configmaps", "once a day", role="upwell-system"),
    **beside("", "update", "secrets", _YEARLY, role="upwell-leader", name="upwell-admission"),
    **beside(
        *("", "update", "secrets", "as the Secret with the keys"),
        role="upwell-leader",
        name=secret_name("upwell", part_names()[0]),
    ),
    **beside(_ADMISSION, "update", "mutatingwebhookconfigurations", _YEARLY),
    **beside(_ADMISSION, "update", "validatingwebhookconfigurations", _YEARLY),
    **beside(
        *("authorization.k8s.io", "create", "subjectaccessreviews"),
        "asked where an object reaches into another namespace: test_access_reviews_contract.py",
    ),
}
"""Rights that no walk takes away -> the reason."""


def granted(verbs: set[str]) -> Iterator[tuple[str, dict[str, Any], str, str, str]]:
    """Yield each right to one of the verbs: its role and rule, its group, verb and resource."""
    for parts in manifests(ClusterInstallation()).values():
        for role in parts:
            for rule in role.get("rules", ()):
                for group in rule["apiGroups"]:
                    for verb in sorted(verbs & set(rule["verbs"])):
                        for resource in rule["resources"]:
                            yield role["metadata"]["name"], rule, group, verb, resource


def walked() -> list[Right]:
    asked = [
        Right(model.KIND.group, verb, resource, moved)
        for resource, (model, _) in ASKED.items()
        for verb in ("create", "update", "delete")
    ]
    return [*RIGHTS, *SHARED, RENEWED, *OF_TOKENS.values(), *asked]


def gives(right: Right, role: str, rule: dict[str, Any], one: tuple[str, str, str]) -> bool:
    return (right.group, right.verb, right.resource) == one and right.is_in(role, rule)


def test_each_right_to_write_is_taken_away_by_itself_or_has_a_reason() -> None:
    known = [*walked(), *BESIDE]
    unknown = [
        f"{role}: {one}"
        for role, rule, *one in granted(_WRITES)
        if not any(gives(right, role, rule, (one[0], one[1], one[2])) for right in known)
    ]
    assert unknown == []


def test_no_right_is_taken_away_or_explained_that_is_not_given() -> None:
    rights = [
        (role, rule, (group, verb, resource))
        for role, rule, group, verb, resource in granted(_WRITES)
    ]
    stale = [one for one in (*walked(), *BESIDE) if not any(gives(one, *given) for given in rights)]
    assert stale == []


def test_what_is_walked_needs_no_reason() -> None:
    places = {(one.group, one.verb, one.resource, one.role, one.name) for one in walked()}
    assert [
        one for one in BESIDE if (one.group, one.verb, one.resource, one.role, one.name) in places
    ] == []


def test_each_right_to_read_is_taken_away_by_itself_or_has_a_reason() -> None:
    known = [*(one.right for one in READS), *BESIDE_READS]
    rights = [
        (role, rule, (group, verb, resource))
        for role, rule, group, verb, resource in granted(_READS)
    ]
    unknown = [
        f"{role}: {one}"
        for role, rule, one in rights
        if not any(gives(right, role, rule, one) for right in known)
    ]
    stale = [one for one in known if not any(gives(one, *given) for given in rights)]
    assert (unknown, stale) == ([], [])
    assert not {one.right for one in READS} & BESIDE_READS.keys()
