"""Words in which objects and messages tell of policies; needs nothing that judges an image."""

from upwell.api.image_policies.policy import ClusterImagePolicy, ImagePolicyResource

NOT_SATISFIED = "ImagePolicyNotSatisfied"
"""Reason of conditions: an enforced policy keeps an image out."""
NOT_CHECKED = "ImagePolicyNotChecked"
"""Reason of conditions: it is not known whether an enforced policy lets an image pass."""


def policy_name(policy: ImagePolicyResource) -> str:
    """Return how messages name a policy."""
    if isinstance(policy, ClusterImagePolicy):
        return f"ClusterImagePolicy {policy.name}"
    return f"ImagePolicy {policy.namespace}/{policy.name}"
