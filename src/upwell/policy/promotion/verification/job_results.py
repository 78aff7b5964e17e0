"""Results of a test that has run: its report is believed before its exit code."""

from dataclasses import dataclass, field
from datetime import datetime

from upwell.api.promotion import CheckPhase
from upwell.policy.promotion.verification.checks import CheckVerdict
from upwell.policy.promotion.verification.junit import Report
from upwell.workload.interface import ObservedContainer

_KILLED = 137
"""Exit code of a process that SIGKILL ended: 128 and the number of the signal."""


@dataclass(frozen=True, slots=True)
class ObservedEnd:
    """End of a test, as it was observed."""

    exit_code: int | None
    """None when it is not known."""
    at: datetime | None = None
    why: str = ""
    """Reason why it is not known."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings in the report that was asked for."""

    report: Report = field(default_factory=Report)
    fault: str = ""
    """Reason why (a part of) it could not be read."""


def killed_by_others(test: ObservedContainer | None) -> str:
    """Say that somebody else ended the test, so that its exit code tells of them; empty: no.

    A test that needs more memory than its limit is ended by its own doing.
    """
    if test is None or test.exit_code != _KILLED or test.out_of_memory:
        return ""
    return "its process was killed (SIGKILL), and not for the memory that it used,"


def of_another_image(wanted: str, test: ObservedContainer | None) -> str:
    """Say that a test ran by another image than `wanted`, a pull spec; empty: not that is known.

    A webhook of the cluster may have put it there. The same digest by another name, that of a
    mirror, is the same image.
    """
    digest = wanted.partition("@")[2]
    if test is None or not digest or test.image.partition("@")[2] == digest:
        return ""
    return f"the cluster ran container {test.name} by {test.image or 'no image'}, not by {wanted}"


def judge(ending: ObservedEnd, findings: Findings | None) -> CheckVerdict:
    """Say how the test went; `findings` is None where no report was asked for.

    Failed when either says so; inconclusive when the report was asked for and says nothing; passed
    only when both agree on that.
    """
    said = f"exit code {ending.exit_code}"
    if findings is not None and findings.report.bad:
        return CheckVerdict(CheckPhase.FAILED, f"{findings.report}; {said}")
    if ending.exit_code is None:
        return CheckVerdict(CheckPhase.INCONCLUSIVE, ending.why or "its result is unknown")
    if ending.exit_code != 0:
        report = f"; {findings.report}" if findings is not None and findings.report.tests else ""
        return CheckVerdict(CheckPhase.FAILED, f"{said}{report}")
    if findings is None:
        return CheckVerdict(CheckPhase.PASSED, said)
    if doubt := findings.fault or (
        "" if findings.report.ran else "the report has no test that ran"
    ):
        return CheckVerdict(CheckPhase.INCONCLUSIVE, f"{said}, but {doubt}")
    return CheckVerdict(CheckPhase.PASSED, f"{findings.report}; {said}")
