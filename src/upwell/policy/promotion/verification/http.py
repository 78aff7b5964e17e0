"""HTTP checks: what an answer comes to."""

from upwell.api.pipeline import HttpCheck
from upwell.api.promotion import CheckPhase
from upwell.policy.promotion.verification.checks import CheckVerdict
from upwell.verification.interface import HttpAnswer


def verdict(wanted: HttpCheck, answer: HttpAnswer) -> CheckVerdict:
    """Judge an answer by its status, then by the start of its body."""
    if fault := _fault(wanted, answer):
        return CheckVerdict(CheckPhase.FAILED, fault)
    return CheckVerdict(CheckPhase.PASSED, f"answered {answer.status}")


def _fault(wanted: HttpCheck, answer: HttpAnswer) -> str:
    if answer.status not in wanted.status:
        expected = " or ".join(str(status) for status in wanted.status)
        return f"answered {answer.status}, not {expected}"
    if wanted.contains.encode() not in answer.body:
        where = f"the first {len(answer.body)} bytes of the answer" if answer.cut else "the answer"
        return f"answered {answer.status}, but {where} did not contain {wanted.contains!r}"
    return ""
