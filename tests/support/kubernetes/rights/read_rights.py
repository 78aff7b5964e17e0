"""The rights to read of an installed server, and where people are told that it lacks one."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.rights.single_rights import Right

from upwell.api.schemas.crds import custom_kinds

FOLLOWED = "followed by the one cache of objects, as ConfigMaps are"


def unneeded(cluster: KitCluster) -> None:
    """Change nothing: what a server reads it needs from its start on."""
    del cluster


@dataclass(frozen=True)
class ReadRight:
    """A right to list or watch, which the server lacks from its start on."""

    right: Right
    check: str = "cluster-kinds"
    """Of readiness, which names it."""
    goes_on: bool = True
    """Images are set without it."""
    command: tuple[str, ...] = ()
    """Of whoever needs it, who is told; the server itself does without."""


def reads(group: str, verb: str, resource: str) -> Right:
    return Right(group, verb, resource, unneeded)


READS = (
    ReadRight(reads("", "list", "pods")),
    ReadRight(reads("", "watch", "pods")),
    ReadRight(reads("", "list", "configmaps")),
    ReadRight(reads("", "watch", "configmaps")),
    ReadRight(reads("", "list", "secrets")),
    ReadRight(reads("", "list", "services")),
    ReadRight(reads("batch", "list", "jobs")),
    ReadRight(reads("networking.k8s.io", "list", "ingresses")),
    # In which order workloads get an image is decided by all of them.
    ReadRight(reads("apps", "list", "deployments"), goes_on=False),
    ReadRight(reads("", "list", "namespaces"), "store"),
    # Of the own one, and of other Upwells': either role gives the first.
    ReadRight(reads("coordination.k8s.io", "list", "leases"), "leader-election", goes_on=False),
    ReadRight(reads("", "list", "events"), "", command=("get", "events", "-n", "rights-shop")),
    ReadRight(reads("apps", "list", "replicasets"), "", command=("prune",)),
)


def _beside(group: str, resources: str, why: str, verbs: str = "list watch") -> dict[Right, str]:
    found = [reads(group, verb, one) for verb in verbs.split() for one in resources.split()]
    return dict.fromkeys(found, why)


BESIDE_READS: Mapping[Right, str] = {
    **{
        reads(kind.KIND.group, verb, kind.KIND.plural): FOLLOWED
        for kind in custom_kinds()
        for verb in ("list", "watch")
    },
    **_beside("apps", "statefulsets daemonsets", FOLLOWED),
    **_beside("apps", "deployments", FOLLOWED, "watch"),
    **_beside("apps", "controllerrevisions", "as ReplicaSets", "list"),
    **_beside("batch", "cronjobs", FOLLOWED),
    **_beside("batch", "jobs", FOLLOWED, "watch"),
    **_beside("", "replicationcontrollers resourcequotas limitranges serviceaccounts", FOLLOWED),
    **_beside("", "secrets services namespaces", FOLLOWED, "watch"),
    **_beside("", "events", "as its list: whoever asks is told", "watch"),
    **_beside("networking.k8s.io", "ingresses", FOLLOWED, "watch"),
    **_beside("networking.k8s.io", "ingressclasses", FOLLOWED),
    **_beside(
        "gateway.networking.k8s.io",
        "gateways httproutes tlsroutes",
        "the test kit has no Gateway API of its own",
    ),
}
"""Rights to list and watch that no test takes away -> the reason."""
