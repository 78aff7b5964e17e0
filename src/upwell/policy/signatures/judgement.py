"""Judgement of an image by all policies that are about it, and what it means for who asked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from upwell.api.image_policies.policy import (
    EnforcementMode,
    ImagePolicyResource,
)
from upwell.api.image_policies.review import PolicyAnswer
from upwell.policy.signatures.scopes import JudgedImage
from upwell.policy.signatures.selection import is_enforced
from upwell.policy.signatures.verification import Verdict, VerdictReason
from upwell.policy.signatures.wording import policy_name


@dataclass(frozen=True, slots=True)
class PolicyVerdict:
    """Verdict of one policy."""

    policy: ImagePolicyResource
    verdict: Verdict

    @property
    def refuses(self) -> bool:
        """True if the image is kept out by it."""
        return not self.verdict.passed and is_enforced(self.policy)

    def answer(self) -> PolicyAnswer:
        """Return it as a review tells it."""
        mode = EnforcementMode.ENFORCE if is_enforced(self.policy) else EnforcementMode.WARN
        return PolicyAnswer(
            policy=policy_name(self.policy),
            mode=mode.value,
            passed=self.verdict.passed,
            reason=self.verdict.reason.value,
            message=self.verdict.message,
        )

    def __str__(self) -> str:
        return f"{policy_name(self.policy)}: {self.verdict.message}"


@dataclass(frozen=True, slots=True)
class ImageJudgement:
    """Verdicts of all policies that are about an image; none: nothing is asked of it."""

    image: JudgedImage
    verdicts: Sequence[PolicyVerdict] = ()

    @property
    def allowed(self) -> bool:
        """True if no policy keeps the image out."""
        return not any(one.refuses for one in self.verdicts)

    @property
    def is_open(self) -> bool:
        """True if what keeps it out may pass: a registry that could not be asked."""
        refusing = [one for one in self.verdicts if one.refuses]
        return any(one.verdict.reason is VerdictReason.UNKNOWN for one in refusing)

    @property
    def refusal(self) -> str:
        """Reasons for which the image is kept out; empty: it is not."""
        found = "; ".join(str(one) for one in self.verdicts if one.refuses)
        return f"image {self.image} does not satisfy {found}" if found else ""

    def warnings(self) -> Iterator[str]:
        """Yield what policies that only warn would keep out."""
        for one in self.verdicts:
            if not one.verdict.passed and not one.refuses:
                yield f"image {self.image} would not satisfy {one}"
