"""Selection of the policies that judge an image: which count at a point, for a namespace."""

from collections.abc import Iterable, Sequence

from upwell.api.image_policies.policy import (
    ClusterImagePolicy,
    EnforcementMode,
    ImagePolicyResource,
    PolicyPoint,
)
from upwell.policy.signatures.scopes import JudgedImage, closest, holds_at


def policies_for(
    policies: Iterable[ImagePolicyResource],
    image: JudgedImage,
    namespace: str,
    point: PolicyPoint,
    stage: str = "",
) -> Sequence[ImagePolicyResource]:
    """Return the policies that an image has to satisfy, in the order of their names.

    Of the cluster's, those with the closest scope count; of the namespace's too, besides: so that
    a namespace asks for more and never for less. A policy that only warns takes no other's place,
    and neither does one that is about another name of the image.
    """
    found: dict[tuple[str, bool, bool], list[tuple[int, ImagePolicyResource]]] = {}
    for policy in policies:
        is_cluster = isinstance(policy, ClusterImagePolicy)
        if policy.is_deleting or not (is_cluster or policy.namespace == namespace):
            continue
        if not holds_at(policy.spec.enforcement, point, stage):
            continue
        for name in image.names:
            weight = closest(policy.spec, name, image.digest)
            if weight is not None:
                rivals = found.setdefault((name, is_cluster, is_enforced(policy)), [])
                rivals.append((weight, policy))
    chosen = {
        (policy.KIND.kind, policy.namespace, policy.name): policy
        for rivals in found.values()
        for weight, policy in rivals
        if weight == max(one for one, _ in rivals)
    }
    return sorted(chosen.values(), key=lambda one: (one.namespace, one.name))


def is_enforced(policy: ImagePolicyResource) -> bool:
    """Return True if what does not pass is refused."""
    return policy.spec.enforcement.mode != EnforcementMode.WARN
