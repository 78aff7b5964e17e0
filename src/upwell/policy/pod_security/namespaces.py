"""The profile of a namespace, from its labels as Pod Security Admission has them; pure.

Source: https://kubernetes.io/docs/concepts/security/pod-security-admission/. A namespace without
the label `enforce` has `baseline`, where a right stands for each part of the host that it would
forbid (`policy/access`). With the label the profile holds for everybody, administrators too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from upwell.api.core import Namespace
from upwell.api.meta import Resource
from upwell.api.values.faults import Fault
from upwell.policy.pod_security.standards import Profile, violations
from upwell.policy.pod_security.templates import PlacedTemplate

_PREFIX = "pod-security.kubernetes.io/"
AUDIT_VIOLATIONS = f"{_PREFIX}audit-violations"
"""Annotation of audit events, as Kubernetes has it."""
_MODES = ("enforce", "warn", "audit")


@dataclass(frozen=True, slots=True)
class NamespaceProfiles:
    """Profiles of one namespace; None where its labels name none."""

    enforce: Profile | None = None
    warn: Profile | None = None
    audit: Profile | None = None

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> "NamespaceProfiles":
        """Read the labels; one that names no profile is taken as the strictest, as there."""
        found = {}
        for mode in _MODES:
            text = labels.get(_PREFIX + mode)
            if text is not None:
                found[mode] = Profile(text) if text in set(Profile) else Profile.RESTRICTED
        return cls(**found)


def label_faults(namespace: Resource) -> Iterator[Fault]:
    """Yield labels of a Namespace that name no profile."""
    if not isinstance(namespace, Namespace):
        return
    for mode in _MODES:
        text = namespace.labels.get(_PREFIX + mode)
        if text is not None and text not in set(Profile):
            message = f"expected one of {', '.join(Profile)}, found {text[:63]!r}"
            yield Fault(f"metadata.labels[{_PREFIX}{mode}]", message)


def refusal(template: PlacedTemplate, profiles: NamespaceProfiles) -> str:
    """Say why a template may not run in a namespace, and what to do; empty when it may."""
    if profiles.enforce is None:
        return ""
    found = violations(template, profiles.enforce)
    if not found:
        return ""
    return (
        f"namespace {template.namespace} enforces profile {profiles.enforce}:"
        f" {'; '.join(map(str, found))}; change these fields, or the label {_PREFIX}enforce"
    )


def profile_warnings(template: PlacedTemplate, profiles: NamespaceProfiles) -> Iterator[str]:
    """Yield what the profile that a namespace warns of forbids of a template."""
    if profiles.warn is not None:
        for found in violations(template, profiles.warn):
            yield f"would violate profile {profiles.warn}: {found}"


def profile_audits(template: PlacedTemplate, profiles: NamespaceProfiles) -> Iterator[str]:
    """Yield what the profile that a namespace has recorded forbids of a template."""
    if profiles.audit is not None:
        for found in violations(template, profiles.audit):
            yield f"would violate profile {profiles.audit}: {found}"
