"""Verdicts on answers of HTTP checks."""

import pytest

from upwell.api.pipeline import HttpCheck
from upwell.api.promotion import CheckPhase
from upwell.policy.promotion.verification import http
from upwell.policy.promotion.verification.checks import CheckVerdict
from upwell.verification.interface import HttpAnswer

PASSED, FAILED = CheckPhase.PASSED, CheckPhase.FAILED


@pytest.mark.parametrize(
    ("status", "contains", "answer", "phase", "message"),
    [
        ((200,), "", HttpAnswer(200, b""), PASSED, "answered 200"),
        ((200, 204), "", HttpAnswer(204, b""), PASSED, "answered 204"),
        ((200,), "né", HttpAnswer(200, "an née".encode()), PASSED, "answered 200"),
        ((200, 204), "", HttpAnswer(503, b"sorry"), FAILED, "answered 503, not 200 or 204"),
        ((503,), "", HttpAnswer(503, b"sorry"), PASSED, "answered 503"),
        (
            *((200,), "welcome", HttpAnswer(200, b"hello"), FAILED),
            "answered 200, but the answer did not contain 'welcome'",
        ),
        (
            *((200,), "welcome", HttpAnswer(200, b"hello", cut=True), FAILED),
            "answered 200, but the first 5 bytes of the answer did not contain 'welcome'",
        ),
    ],
)
def test_an_answer_passes_by_its_status_and_what_it_contains(
    status: tuple[int, ...], contains: str, answer: HttpAnswer, phase: CheckPhase, message: str
) -> None:
    wanted = HttpCheck(url="/", status=status, contains=contains)
    assert http.verdict(wanted, answer) == CheckVerdict(phase, message)
