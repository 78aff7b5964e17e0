"""Findings of a policy after one more verdict."""

from upwell.api.image_policies.policy import ImagePolicyResource, ImagePolicyStatus, PolicyFinding

MAX_FINDINGS = 50
"""Findings that the status of a policy has."""


def with_verdict(
    policy: ImagePolicyResource, finding: PolicyFinding, *, passed: bool
) -> ImagePolicyStatus:
    """Return the status of a policy that found this, or that the image has passed.

    What was found before, for the same reason, keeps its time and place: so that nothing is written
    for it again.
    """
    status = policy.status
    if status.observed_generation != policy.generation:
        status = ImagePolicyStatus(observed_generation=policy.generation)
    same = [one for one in status.findings if _place(one) == _place(finding)]
    if not passed and same and (same[0].reason, same[0].message) == _reasons(finding):
        return status
    others = [one for one in status.findings if _place(one) != _place(finding)]
    findings = others if passed else [finding, *others]
    return status.model_copy(update={"findings": tuple(findings[:MAX_FINDINGS])})


def _place(finding: PolicyFinding) -> tuple[str, str, str]:
    return finding.image, finding.at, finding.namespace


def _reasons(finding: PolicyFinding) -> tuple[str, str]:
    return finding.reason, finding.message
