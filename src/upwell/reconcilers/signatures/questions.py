"""Questions to the judge of images, and the errors that answer them."""

from dataclasses import dataclass

from upwell.api.image_policies.policy import ImagePolicySpec, PolicyPoint
from upwell.oci import Reference
from upwell.policy.signatures.judgement import ImageJudgement
from upwell.policy.signatures.wording import NOT_CHECKED, NOT_SATISFIED
from upwell.registry.errors import RegistryError


class ImagePolicyError(RegistryError):
    """An image does not satisfy a policy that is enforced; a signature may come later."""

    reason = NOT_SATISFIED
    retryable = True

    def __init__(self, judgement: ImageJudgement) -> None:
        super().__init__(judgement.refusal)
        self.judgement = judgement


class ImagePolicyUnknownError(ImagePolicyError):
    """It is not known whether an image satisfies a policy: its registry does not answer."""

    reason = NOT_CHECKED


POLICY_REASONS = frozenset({ImagePolicyError.reason, ImagePolicyUnknownError.reason})
"""Reasons of whatever waits for an image to satisfy a policy."""


@dataclass(frozen=True, slots=True)
class ImageQuestion:
    """May this image be used at a point, for a namespace?"""

    reference: Reference
    """With its digest."""
    namespace: str
    point: PolicyPoint
    stage: str = ""
    """Stage of a promotion."""
    trial: ImagePolicySpec | None = None
    """Policy to try in place of those that are there; nothing is remembered."""
    quiet: bool = False
    """True for a question of a person: nothing is counted or recorded."""
