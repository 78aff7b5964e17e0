"""Findings of a policy after one more verdict."""

from upwell.api.image_policies.policy import (
    ImagePolicyResource,
    ImagePolicyStatus,
    PolicyFinding,
    PolicyPass,
)

MAX_FINDINGS = 50
"""Findings that the status of a policy has."""
MAX_PASSED = 100
"""Images that pass, in the status of a policy."""


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
    # An earlier version counted none.
    status = status.model_copy(update={"finding_count": len(status.findings)})
    place = _place(finding)
    same = [one for one in status.findings if _place(one) == place]
    known = [one for one in status.passed if _place(one) == place]
    if passed and known and not same:
        return status
    if not passed and same and (same[0].reason, same[0].message) == _reasons(finding):
        return status
    failures = [one for one in status.findings if _place(one) != place]
    passes = [one for one in status.passed if _place(one) != place]
    if passed:
        passes.insert(0, _passed(finding))
    else:
        failures.insert(0, finding)
    del failures[MAX_FINDINGS:]
    return status.model_copy(
        update={
            "findings": tuple(failures),
            "finding_count": len(failures),
            "passed": tuple(passes[:MAX_PASSED]),
        }
    )


def _passed(finding: PolicyFinding) -> PolicyPass:
    return PolicyPass(
        image=finding.image,
        at=finding.at,
        namespace=finding.namespace,
        message=finding.message,
        since=finding.since,
    )


def _place(entry: PolicyFinding | PolicyPass) -> tuple[str, str, str]:
    return entry.image, entry.at, entry.namespace


def _reasons(finding: PolicyFinding) -> tuple[str, str]:
    return finding.reason, finding.message
