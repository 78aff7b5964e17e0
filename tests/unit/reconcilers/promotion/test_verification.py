"""Checks of a stage, step by step; what is killed between two steps is simply done again."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.kubernetes.refusals import answered
from tests.support.promotion.verification_in_memory import BAD_REPORT, REPORT, VerifiedPromotion

from upwell.api.codec import decode_as
from upwell.api.core import Secret
from upwell.api.promotion import CheckPhase, Purpose
from upwell.formats.cloud_events import signature
from upwell.policy.promotion.rollouts import RolledOut, StageRollout
from upwell.policy.promotion.verification.checks import VerificationOutcome
from upwell.reconcilers.promotion import evidence
from upwell.reconcilers.promotion.soaks import SoakWatch
from upwell.store.interface import RejectedError
from upwell.store.kubernetes_errors import StoreForbiddenError
from upwell.verification.interface import BadQuestionError, HttpAnswer, ProbeError
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.interface import ContainerFile

PASSED, FAILED, INCONCLUSIVE = CheckPhase.PASSED, CheckPhase.FAILED, CheckPhase.INCONCLUSIVE
TEST = {"name": "e2e", "job": {"component": "shop", "command": ["/e2e"]}}
REPORTED: dict[str, Any] = {"name": "e2e", "job": {"component": "shop", "junit": "/out/r.xml"}}
HOME = {"name": "home", "http": {"url": "/", "contains": "welcome"}}
PORT = {"name": "port", "tcp": {}}
ERRORS: dict[str, Any] = {
    "name": "errors",
    "metric": {"server": "http://p", "query": "q", "condition": "< 0.5", "intervalSeconds": 30},
}
CI = {"name": "ci", "webhook": {"url": "https://u:p@ci.test/hook?t=1", "secret": {"name": "ci"}}}


@pytest.fixture
def verified(tmp_path: Path) -> VerifiedPromotion:
    return VerifiedPromotion(tmp_path)


class TestJobs:
    async def test_one_passes_and_is_gone_when_its_result_is_stored(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(TEST)
        first = await verified.look()
        assert (first.checks[0].phase, await verified.jobs()) == (CheckPhase.RUNNING, [])
        await verified.look()
        job = await verified.job()
        assert (job.namespace, first.again) == ("dev", 0)
        verified.machine.run(job)
        waits = await verified.look()
        assert waits.message == f"waits for check e2e: Job {job.name}: running"

        verified.machine.exit(job, 0)
        ended = await verified.look()
        assert (ended.outcome, ended.message) == (VerificationOutcome.PASSED, "passed check e2e")
        assert await verified.evidence(ended.checks[0]) == {"log.txt": b"ok\n"}
        assert await verified.jobs() == [job]
        await verified.look()
        assert await verified.jobs() == []

    async def test_a_call_that_was_killed_before_it_stored_is_made_again(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(TEST)
        await verified.advance()
        await verified.look()
        await verified.advance()
        await verified.look()
        job = await verified.job()
        verified.machine.run(job)
        verified.machine.exit(job, 0)
        killed, again = await verified.advance(), await verified.look()
        assert killed == again
        assert again.outcome is VerificationOutcome.PASSED

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            (403, 'jobs.batch "e2e" is forbidden: exceeded quota: few'),
            (403, 'admission webhook "images" denied the request: unsigned'),
            (500, 'Internal error occurred: failed calling webhook "images": refused'),
        ],
    )
    async def test_one_that_is_refused_is_tried_again_and_says_why(
        self, verified: VerifiedPromotion, code: int, words: str
    ) -> None:
        verified.store.fault = answered(code, words)
        await verified.begin(TEST)
        await verified.look()
        refused = await verified.look()
        assert words in refused.message
        assert refused.checks[0].phase is CheckPhase.RUNNING
        assert refused.again == 10
        verified.store.fault = None
        await verified.look()
        assert (await verified.job()).namespace == "dev"

    async def test_one_that_is_refused_to_the_end_of_its_time_says_why(
        self, verified: VerifiedPromotion
    ) -> None:
        verified.store.fault = StoreForbiddenError("User cannot create resource jobs")
        await verified.begin(TEST)
        await verified.look()
        await verified.look()
        verified.clock.advance(61)
        ended = await verified.look()
        assert ended.checks[0].phase is INCONCLUSIVE
        assert "no answer within 60 s" in ended.checks[0].message
        assert "User cannot create resource jobs" in ended.checks[0].message

    async def test_one_that_is_invalid_is_not_tried_again(
        self, verified: VerifiedPromotion
    ) -> None:
        verified.store.fault = RejectedError("spec.template: Required value")
        await verified.begin(TEST)
        await verified.look()
        ended = await verified.look()
        assert ended.checks[0].phase is INCONCLUSIVE
        assert "Required value" in ended.checks[0].message

    @pytest.mark.parametrize(
        ("code", "report", "outcome", "message"),
        [
            (0, REPORT, VerificationOutcome.PASSED, "1 tests, 0 failed; exit code 0"),
            (0, BAD_REPORT, VerificationOutcome.FAILED, "1 tests, 1 failed (pays); exit code 0"),
            (3, REPORT, VerificationOutcome.FAILED, "exit code 3; 1 tests, 0 failed"),
            (0, b"<html/>", VerificationOutcome.INCONCLUSIVE, "r.xml: the document is a 'html'"),
            (0, None, VerificationOutcome.INCONCLUSIVE, "there is no /out/r.xml in test"),
        ],
    )
    async def test_its_report_is_believed_before_its_exit_code(
        self,
        verified: VerifiedPromotion,
        code: int,
        report: bytes | None,
        outcome: VerificationOutcome,
        message: str,
    ) -> None:
        await verified.begin(REPORTED)
        await verified.look(2)
        verified.machine.run(await verified.job())
        if report is not None:
            verified.machine.wrote("/out/r.xml", report)
        verified.machine.exit(await verified.job(), code)
        ended = await verified.look()
        assert ended.outcome is outcome
        assert message in ended.checks[0].message
        kept = await verified.evidence(ended.checks[0])
        assert kept.get("junit.xml") == report

    @pytest.mark.parametrize(
        ("printed", "outcome", "message"),
        [
            ((b"ran\n", REPORT), VerificationOutcome.PASSED, "1 tests, 0 failed; exit code 0"),
            ((REPORT, BAD_REPORT), VerificationOutcome.FAILED, "2 tests, 1 failed (pays)"),
            ((b"1 passed\n",), VerificationOutcome.INCONCLUSIVE, "there is no report in the log"),
            ((REPORT[:-5],), VerificationOutcome.INCONCLUSIVE, "the report in the log has no </"),
            ((b"x" * 9000, REPORT), VerificationOutcome.INCONCLUSIVE, "the log is not whole"),
        ],
    )
    async def test_a_report_may_be_printed(
        self,
        verified: VerifiedPromotion,
        monkeypatch: pytest.MonkeyPatch,
        printed: tuple[bytes, ...],
        outcome: VerificationOutcome,
        message: str,
    ) -> None:
        monkeypatch.setattr(evidence, "LOG_BYTES", 5000)
        verified.machine.log = list(printed)
        await verified.begin({"name": "e2e", "job": {"component": "shop", "junit": "/dev/stdout"}})
        await verified.look(2)
        verified.machine.run(await verified.job())
        verified.machine.exit(await verified.job(), 0)

        [result] = (ended := await verified.look()).checks

        assert ended.outcome is outcome
        assert message in result.message
        is_read = outcome is not VerificationOutcome.INCONCLUSIVE
        assert (len(await verified.evidence(result)) == 2) is is_read

    async def test_the_report_of_another_run_says_nothing(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(REPORTED)
        verified.machine.wrote("/out/r.xml", BAD_REPORT, verified.clock() - timedelta(seconds=1))
        await verified.look(2)
        verified.machine.run(await verified.job())
        verified.machine.exit(await verified.job(), 0)
        ended = await verified.look()
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE
        assert "is older than the test: it is of another run" in ended.message

    async def test_one_that_never_answers_ends_with_its_time_and_keeps_what_it_has(
        self, verified: VerifiedPromotion
    ) -> None:
        job: dict[str, Any] = {**REPORTED["job"], "artifacts": ["/out/dump"]}
        await verified.begin({"name": "e2e", "job": job})
        await verified.look(2)
        verified.machine.run(await verified.job())
        verified.machine.wrote("/out/r.xml", REPORT)
        verified.machine.wrote("/out/dump", b"threads")
        waits = await verified.look_after(59)
        assert (waits.outcome, waits.again) == (VerificationOutcome.RUNNING, 1)
        ended = await verified.look_after(1)
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE
        assert "no answer within 60 s: running" in ended.message
        kept = await verified.evidence(ended.checks[0])
        assert kept == {"log.txt": b"ok\n", "artifacts/out/dump": b"threads"}
        await verified.look()
        assert await verified.jobs() == []

    async def test_one_that_the_machine_lost_has_neither_passed_nor_failed(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(TEST)
        await verified.look(2)
        job = await verified.job()
        verified.machine.run(job)
        verified.machine.lose_test(job)
        lost = await verified.look()
        assert lost.outcome is VerificationOutcome.RUNNING
        assert lost.message.endswith("lost how it ended is unknown")
        verified.clock.advance(3600)
        verified.machine.watched_since = verified.clock()
        assert (await verified.look()).outcome is VerificationOutcome.RUNNING

        verified.machine.run(job)
        verified.machine.exit(job, 1)
        ended = await verified.look()
        assert (ended.outcome, ended.checks[0].attempt) == (VerificationOutcome.FAILED, 1)

    async def test_one_that_somebody_killed_runs_again(self, verified: VerifiedPromotion) -> None:
        await verified.begin(TEST)
        await verified.look(2)
        verified.machine.run(await verified.job())
        verified.machine.exit(await verified.job(), 137)
        again = await verified.look()
        assert again.outcome is VerificationOutcome.RUNNING
        assert "its process was killed (SIGKILL), and not for" in again.checks[0].message
        assert again.checks[0].attempt == 1

    async def test_one_that_used_more_memory_than_its_limit_has_failed(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(TEST)
        await verified.look(2)
        verified.machine.run(await verified.job())
        verified.machine.exit(await verified.job(), 137, out_of_memory=True)
        assert (await verified.look()).outcome is VerificationOutcome.FAILED

    async def test_what_it_says_of_an_instance_that_was_lost_is_no_verdict(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(TEST)
        await verified.look(2)
        job = await verified.job()
        web = verified.machine.serve("dev", "shop-0", losses=1)
        verified.machine.run(job)
        verified.machine.exit(job, 1)
        again = await verified.look()
        assert again.outcome is VerificationOutcome.RUNNING
        [check] = again.checks
        assert (check.phase, check.attempt) == (CheckPhase.PENDING, 1)
        assert "shop-0 was lost by the machine and started anew" in check.message

        verified.machine.ready(web)
        del verified.machine.ran_tests[job.name]
        await verified.look_after(2)
        await verified.look()
        job = await verified.job()
        verified.clock.advance(1)
        verified.machine.run(job)
        verified.machine.exit(job, 1)
        ended = await verified.look()
        assert (ended.outcome, ended.checks[0].attempt) == (VerificationOutcome.FAILED, 1)

    async def test_one_that_never_gets_ready_again_is_no_excuse_for_ever(
        self, verified: VerifiedPromotion
    ) -> None:
        verified.machine.serve("dev", "shop-0", losses=1)
        verified.clock.advance(60)
        await verified.begin(TEST)
        await verified.look(2)
        verified.machine.run(await verified.job())
        verified.machine.exit(await verified.job(), 1)
        assert (await verified.look()).outcome is VerificationOutcome.FAILED

    async def test_an_answer_in_time_counts_however_late_it_is_read(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(TEST)
        await verified.look(2)
        verified.machine.run(await verified.job())
        verified.clock.advance(60)
        verified.machine.exit(await verified.job(), 0)
        assert (await verified.look_after(3600)).outcome is VerificationOutcome.PASSED

    async def test_an_answer_that_came_late_does_not(self, verified: VerifiedPromotion) -> None:
        await verified.begin(TEST)
        await verified.look(2)
        verified.machine.run(await verified.job())
        verified.clock.advance(61)
        verified.machine.exit(await verified.job(), 0)
        assert (await verified.look()).outcome is VerificationOutcome.INCONCLUSIVE

    async def test_it_is_tried_again_and_all_evidence_stays(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin({**TEST, "retries": 1})
        await verified.look(2)
        first = await verified.job()
        verified.machine.run(first)
        verified.machine.exit(first, 1)
        tried = await verified.look()
        assert (tried.outcome, tried.again) == (VerificationOutcome.RUNNING, 2)
        assert tried.checks[0].message == "attempt 1 of 2: exit code 1: ok"
        assert (await verified.look()).checks[0].phase is CheckPhase.PENDING

        await verified.look_after(2, times=2)
        second = await verified.job()
        assert second.name != first.name
        verified.machine.run(second)
        verified.machine.exit(second, 0)
        ended = await verified.look()
        assert ended.message == "passed check e2e; flaky: e2e"
        assert list(await verified.evidence(ended.checks[0])) == ["log.txt", "attempt-2/log.txt"]

    async def test_a_huge_log_is_kept_by_its_end(
        self, verified: VerifiedPromotion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evidence, "LOG_BYTES", 1000)
        verified.machine.log = [b"%07d\n" % line for line in range(5000)]
        await verified.begin(TEST)
        await verified.look(2)
        verified.machine.run(await verified.job())
        verified.machine.exit(await verified.job(), 0)
        [result] = (await verified.look()).checks
        assert result.message == "exit code 0; log: the last 1000 of 40000 bytes are kept"
        kept = (await verified.evidence(result))["log.txt"]
        assert (len(kept), kept[-8:]) == (1000, b"0004999\n")

    async def test_too_many_artifacts_are_left_out_and_that_is_said(
        self, verified: VerifiedPromotion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evidence, "FILES_BYTES", 100)
        await verified.begin(
            {"name": "e2e", "job": {"component": "shop", "artifacts": ["/a", "/b", "/c", "/d"]}}
        )
        await verified.look(2)
        verified.machine.run(await verified.job())
        verified.machine.wrote("/a", b"a" * 60)
        verified.machine.wrote("/b", b"b" * 60)
        pair = [ContainerFile(f"c/{name}", b"c" * 20) for name in ("1", "2")]
        verified.machine.files["/c"] = pair
        verified.machine.exit(await verified.job(), 0)
        [result] = (await verified.look()).checks
        assert result.phase is PASSED
        assert result.message == (
            "exit code 0; /b: larger than 40 bytes; /d: no room is left for it"
        )
        kept = await verified.evidence(result)
        assert list(kept) == ["log.txt", "artifacts/a", "artifacts/c.tar"]
        with tarfile.open(fileobj=io.BytesIO(kept["artifacts/c.tar"])) as archive:
            assert archive.getnames() == ["c/1", "c/2"]

    async def test_a_runtime_in_trouble_is_asked_again_and_holds_nothing_up(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(TEST, HOME)
        await verified.look(2)
        verified.machine.trouble = RuntimeUnavailableError("podman is away")
        found = await verified.look()
        assert [one.phase for one in found.checks] == [CheckPhase.RUNNING, PASSED]
        assert found.checks[0].message == "cannot be read now: podman is away"
        ended = await verified.look_after(60)
        assert (ended.outcome, ended.message) == (
            VerificationOutcome.INCONCLUSIVE,
            "check e2e: podman is away",
        )

    async def test_what_a_promotion_left_that_is_gone_is_ended(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(TEST)
        await verified.look(2)
        promotion = await verified.promotion()
        await verified.store.delete(type(promotion), "shop", promotion.name)
        await verified.verification().stop(promotion.key)
        assert await verified.jobs() == []


class TestQuestions:
    async def test_a_good_answer_passes(self, verified: VerifiedPromotion) -> None:
        await verified.begin(HOME, PORT)
        ended = await verified.look(2)
        assert ended.outcome is VerificationOutcome.PASSED
        question, place = verified.probes.asked
        assert getattr(question, "url", "") == "http://shop:8080/"
        assert place == ("shop", 8080)

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (HttpAnswer(503, b"sorry"), "answered 503, not 200"),
            (HttpAnswer(200, b"hello"), "the answer did not contain 'welcome'"),
            (HttpAnswer(200, b"hello", cut=True), "the first 5 bytes of the answer did not"),
        ],
    )
    async def test_a_wrong_answer_of_an_instance_fails_and_is_kept(
        self, verified: VerifiedPromotion, answer: HttpAnswer, message: str
    ) -> None:
        verified.probes.http = answer
        await verified.serve_by_a_service("10.88.0.7")
        await verified.begin(HOME, address="")
        ended = await verified.look(2)
        assert ended.outcome is VerificationOutcome.FAILED
        assert message in ended.message
        assert await verified.evidence(ended.checks[0]) == {"answer.txt": answer.body}

    @pytest.mark.parametrize("url", ["/", "http://10.0.0.9:9200/_cat/indices"])
    async def test_a_wrong_answer_of_a_place_that_somebody_named_is_not_kept(
        self, verified: VerifiedPromotion, url: str
    ) -> None:
        # Who writes a Pipeline would read through the server what others serve it.
        verified.probes.http = HttpAnswer(200, b"the words of another service")
        await verified.begin({"name": "home", "http": {"url": url, "contains": "welcome"}})
        ended = await verified.look(2)
        assert ended.outcome is VerificationOutcome.FAILED
        assert await verified.evidence(ended.checks[0]) == {}
        assert "another service" not in ended.message

    @pytest.mark.parametrize("check", [HOME, PORT])
    async def test_no_answer_is_waited_for_and_then_a_failure(
        self, verified: VerifiedPromotion, check: dict[str, Any]
    ) -> None:
        verified.probes.http = verified.probes.tcp = ProbeError("nobody is there")
        await verified.begin(check)
        waits = await verified.look(2)
        assert (waits.outcome, waits.again) == (VerificationOutcome.RUNNING, 2)
        ended = await verified.look_after(60)
        assert ended.outcome is VerificationOutcome.FAILED
        assert "no answer within 60 s: nobody is there" in ended.message

    async def test_a_stage_without_an_address_says_what_to_do(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(HOME, PORT, address="")
        ended = await verified.look(2)
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE
        assert "set `address`, or give a workload a Service" in ended.message


class TestServices:
    """Checks of a stage whose address is that of a Service."""

    @pytest.mark.parametrize("check", [HOME, PORT])
    async def test_each_ready_instance_is_asked_at_its_own_address(
        self, verified: VerifiedPromotion, check: dict[str, Any]
    ) -> None:
        await verified.serve_by_a_service("10.88.0.7", "10.88.0.8")
        await verified.begin(check, address="")
        ended = await verified.look(2)
        assert ended.outcome is VerificationOutcome.PASSED
        asked = [
            f"http://{one[0]}:{one[1]}/" if isinstance(one, tuple) else getattr(one, "url", "")
            for one in verified.probes.asked
        ]
        assert asked == ["http://10.88.0.7:8080/", "http://10.88.0.8:8080/"]

    @pytest.mark.parametrize("check", [HOME, PORT])
    async def test_without_a_ready_instance_nothing_is_verified(
        self, verified: VerifiedPromotion, check: dict[str, Any]
    ) -> None:
        await verified.serve_by_a_service()
        await verified.begin(check, address="")
        waits = await verified.look(2)
        assert (waits.outcome, waits.again) == (VerificationOutcome.RUNNING, 2)
        assert "no instance of Service dev/shop is ready" in waits.message
        ended = await verified.look_after(60)
        assert ended.outcome is VerificationOutcome.FAILED
        assert not verified.probes.asked

    async def test_a_job_starts_once_an_instance_is_ready(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.serve_by_a_service()
        await verified.begin(TEST, address="")
        waits = await verified.look(2)
        assert await verified.jobs() == []
        assert "no instance of Service dev/shop is ready" in waits.message
        await verified.serve_by_a_service("10.88.0.7")
        await verified.look()
        assert len(await verified.jobs()) == 1

    async def test_a_job_of_what_is_never_ready_is_inconclusive(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.serve_by_a_service()
        await verified.begin(TEST, address="")
        await verified.look(2)
        ended = await verified.look_after(60)
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE
        assert "no instance of Service dev/shop is ready" in ended.message
        assert await verified.jobs() == []

    async def test_a_job_does_not_wait_for_what_nobody_wants(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.serve_by_a_service(replicas=0)
        await verified.begin(TEST, address="")
        await verified.look(2)
        assert len(await verified.jobs()) == 1

    async def test_a_runtime_that_does_not_answer_fails_nobody(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.serve_by_a_service("10.88.0.7")
        await verified.begin(PORT, address="")
        await verified.look()
        verified.machine.trouble = RuntimeUnavailableError("podman is away")
        waits = await verified.look()
        assert waits.outcome is VerificationOutcome.RUNNING
        ended = await verified.look_after(60)
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE


class TestDisturbed:
    async def test_a_pass_beside_an_instance_that_was_started_anew_says_nothing(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(TEST)
        await verified.serve_by_a_service("10.88.0.9", replicas=1)
        await verified.look(2)
        verified.clock.advance(1)
        job = await verified.job()
        verified.machine.run(job)
        verified.clock.advance(1)
        verified.machine.ready("10.88.0.9")
        verified.machine.exit(job, 0)
        again = await verified.look()
        [check] = again.checks
        assert (check.phase, check.attempt) == (CheckPhase.PENDING, 1)
        assert check.message.startswith("runs again: shop-0 was not ready while it ran")
        assert await verified.jobs() == []

        del verified.machine.ran_tests[job.name]
        await verified.look_after(2, times=2)
        verified.clock.advance(1)
        verified.machine.run(await verified.job())
        verified.machine.exit(await verified.job(), 0)
        ended = await verified.look()
        assert (ended.outcome, ended.checks[0].flaky) == (VerificationOutcome.PASSED, False)

    @pytest.mark.parametrize("code", [0, 1])
    async def test_one_that_ended_beside_a_router_that_was_down_runs_again(
        self, verified: VerifiedPromotion, code: int
    ) -> None:
        await verified.begin(TEST)
        await verified.look(2)
        job = await verified.job()
        verified.machine.run(job)
        verified.clock.advance(1)
        verified.router.fail("RouterDown", "haproxy has ended")
        verified.clock.advance(1)
        verified.router.recover()
        verified.machine.exit(job, code)
        [check] = (await verified.look_after(1)).checks
        assert check.phase is CheckPhase.PENDING
        assert "router was faulty (RouterDown: haproxy has ended) while it ran" in check.message

    async def test_no_check_begins_while_the_router_is_down(
        self, verified: VerifiedPromotion
    ) -> None:
        verified.router.fail("RouterDown", "haproxy has ended")
        await verified.begin(HOME)
        waits = await verified.look_after(3600)
        assert (waits.outcome, waits.again) == (VerificationOutcome.RUNNING, 10)
        assert "router is faulty (RouterDown: haproxy has ended)" in waits.message
        verified.router.recover()
        assert (await verified.look_after(1)).checks[0].phase is CheckPhase.RUNNING

    async def test_a_wrong_answer_while_the_router_was_down_is_asked_for_again(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(HOME)
        await verified.look()
        verified.router.fail("RouterDown", "haproxy has ended")
        verified.probes.http = HttpAnswer(503, b"no server is available")
        [check] = (await verified.look_after(1)).checks
        assert (check.phase, check.attempt) == (CheckPhase.PENDING, 1)
        verified.router.recover()
        verified.probes.http = HttpAnswer(200, b"welcome")
        ended = await verified.look_after(3, times=2)
        assert ended.outcome is VerificationOutcome.PASSED

    async def test_one_that_is_disturbed_again_and_again_is_given_up(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(PORT)
        await verified.serve_by_a_service("10.88.0.8", "10.88.0.9")
        place = verified.machine.ran_tests["10.88.0.9"]
        unready = replace(place, ready=False, ready_since=None)
        for _ in range(40):
            verified.machine.ran_tests["10.88.0.9"] = replace(unready, started_at=verified.clock())
            found = await verified.look_after(2)
            if found.outcome is not VerificationOutcome.RUNNING:
                break
        assert found.outcome is VerificationOutcome.INCONCLUSIVE
        assert "it ran again for 60 s, and each time something was wrong" in found.message
        assert "shop-1 was not ready while it ran: the connection was accepted" in found.message


class TestSoak:
    async def test_time_in_which_something_was_wrong_does_not_count(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(soakSeconds=60)
        assert (await verified.look()).message == "soaked 0 s of 60 s"
        assert (await verified.look_after(30)).message == "soaked 30 s of 60 s"
        verified.router.fail("RouterDown", "haproxy has ended")
        await verified.look_after(10)
        assert verified.doubt == "router is faulty (RouterDown: haproxy has ended)"
        verified.clock.advance(1)
        verified.router.recover()
        await verified.look_after(1)
        waits = await verified.look_after(20)
        assert (waits.message, waits.again) == ("soaked 48 s of 60 s", 10)
        assert (await verified.look_after(10)).outcome is VerificationOutcome.PASSED

    async def test_a_workload_that_lacked_replicas_between_two_looks_breaks_it(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(soakSeconds=60)
        await verified.look()
        turned = verified.clock() + timedelta(seconds=15)
        verified.rollout = StageRollout(RolledOut.COMPLETE, well_since=turned)
        assert (await verified.look_after(30)).message == "soaked 0 s of 60 s"
        assert (await verified.look_after(30)).message == "soaked 30 s of 60 s"

    async def test_time_in_which_no_process_watched_does_not_count(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(soakSeconds=60)
        await verified.look()
        await verified.look_after(31)
        await verified.store_soak(30)
        verified.soaks = SoakWatch(verified.clock, verified.record)
        assert (await verified.look_after(3600)).message == "soaked 30 s of 60 s"
        assert (await verified.look_after(30)).outcome is VerificationOutcome.PASSED


class TestMetrics:
    async def test_it_holds_over_the_soak(self, verified: VerifiedPromotion) -> None:
        await verified.begin(ERRORS, soakSeconds=60)
        assert (await verified.look(2)).again == 10
        await verified.look_after(30)
        ended = await verified.look_after(30)
        assert (ended.outcome, ended.checks[0].message) == (
            VerificationOutcome.PASSED,
            "< 0.5 held",
        )
        assert len(ended.checks[0].samples) == 3

    async def test_one_bad_sample_fails_it_before_the_soak_is_over(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(ERRORS, soakSeconds=600)
        await verified.look(2)
        verified.probes.metric = 0.9
        ended = await verified.look_after(30)
        assert ended.outcome is VerificationOutcome.FAILED
        assert "0.9, not < 0.5 (1 bad samples, 0 allowed)" in ended.message

    async def test_a_server_that_was_down_is_asked_for_the_past(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(ERRORS, soakSeconds=60)
        verified.probes.metric = ProbeError("p is down")
        waits = await verified.look(2)
        assert (waits.outcome, waits.again) == (VerificationOutcome.RUNNING, 10)
        assert waits.checks[0].message == "no number, shall be < 0.5; p is down"
        verified.probes.metric = 0.1
        ended = await verified.look_after(60)
        assert ended.outcome is VerificationOutcome.PASSED
        times = [sample.at for sample in ended.checks[0].samples]
        assert [(at - times[0]).total_seconds() for at in times] == [0, 30, 60]

    async def test_a_server_that_stays_down_passes_nothing(
        self, verified: VerifiedPromotion
    ) -> None:
        verified.probes.metric = ProbeError("p is down")
        await verified.begin(ERRORS, soakSeconds=60)
        await verified.look(2)
        await verified.look_after(60)
        assert (await verified.look_after(59)).outcome is VerificationOutcome.RUNNING
        ended = await verified.look_after(1)
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE
        assert "samples are missing 60 s after the soak; p is down" in ended.message

    async def test_a_wrong_query_is_said_at_once(self, verified: VerifiedPromotion) -> None:
        verified.probes.metric = BadQuestionError("http://p: parse error")
        await verified.begin(ERRORS, soakSeconds=600)
        ended = await verified.look(2)
        assert (ended.outcome, ended.message) == (
            VerificationOutcome.INCONCLUSIVE,
            "check errors: http://p: parse error",
        )

    @pytest.mark.parametrize(
        ("values", "header"),
        [
            ({"token": "t0\n"}, "Bearer t0"),
            ({"username": "ann", "password": "b"}, "Basic YW5uOmI="),
        ],
    )
    async def test_a_server_is_asked_with_what_a_secret_has(
        self, verified: VerifiedPromotion, values: dict[str, str], header: str
    ) -> None:
        await verified.begin({**ERRORS, "metric": {**ERRORS["metric"], "secret": {"name": "prom"}}})
        waits = await verified.look(2)
        assert (waits.outcome, verified.probes.asked) == (VerificationOutcome.RUNNING, [])
        wanted = "Secret prom does not exist in namespace shop: create it with `token`, or with"
        assert wanted in waits.checks[0].message
        await verified.store.create(decode_secret({"namespace": "shop", "name": "prom"}, **values))
        assert (await verified.look_after(10)).outcome is VerificationOutcome.PASSED
        assert {getattr(one, "authorization", "") for one in verified.probes.asked} == {header}
        assert header.partition(" ")[2] not in repr(verified.probes.asked)

    async def test_what_serves_is_verified_again_without_a_soak(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(ERRORS, soakSeconds=600)
        await verified.promote("shop-1.dev.2", Purpose.VERIFY)
        assert (await verified.look(2)).outcome is VerificationOutcome.PASSED


class TestCi:
    async def told(self, verified: VerifiedPromotion) -> None:
        metadata = {"namespace": "shop", "name": "ci"}
        await verified.store.create(decode_secret(metadata, secret="s3cret"))
        await verified.begin(CI)
        await verified.look(2)

    async def test_it_is_told_once_and_signed(self, verified: VerifiedPromotion) -> None:
        await self.told(verified)
        waits = await verified.look_after(30)
        [event] = verified.probes.told
        data = json.loads(event.body)["data"]
        assert (event.url, event.secret) == ("https://u:p@ci.test/hook?t=1", b"s3cret")
        assert signature(event.secret, event.body).startswith("sha256=")
        assert data["answer"]["url"] == "http://up/v/shop-1.dev/ci/1"
        assert data["address"] == "http://shop:8080"
        [result] = waits.checks
        assert (result.message, waits.again) == ("the CI was notified and has not answered yet", 30)
        assert [one.url for one in result.evidence] == ["https://ci.test"]

    async def test_a_process_that_is_killed_in_between_tells_the_same_again(
        self, verified: VerifiedPromotion
    ) -> None:
        metadata = {"namespace": "shop", "name": "ci"}
        await verified.store.create(decode_secret(metadata, secret="s3cret"))
        await verified.begin(CI)
        await verified.look()
        await verified.advance()
        await verified.look_after(3)
        first, second = verified.probes.told
        assert first == second

    async def test_no_verdict_is_no_pass(self, verified: VerifiedPromotion) -> None:
        await self.told(verified)
        ended = await verified.look_after(60)
        assert (ended.outcome, ended.message) == (
            VerificationOutcome.INCONCLUSIVE,
            "check ci: no verdict came within 60 s",
        )

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (
                lambda verified: setattr(verified.probes, "ci", ProbeError("502")),
                "notify the CI: 502",
            ),
            (
                lambda _: None,
                "Secret ci does not exist in namespace shop: create it with the key `secret`",
            ),
        ],
    )
    async def test_a_ci_that_cannot_be_told_is_told_later(
        self, verified: VerifiedPromotion, spoil: Callable[[VerifiedPromotion], None], message: str
    ) -> None:
        spoil(verified)
        if verified.probes.ci is not None:
            await verified.store.create(
                decode_secret({"namespace": "shop", "name": "ci"}, secret="s3cret")
            )
        await verified.begin(CI)
        waits = await verified.look(2)
        assert waits.again == 5
        assert message in waits.checks[0].message
        ended = await verified.look_after(60)
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE
        assert message in ended.message
        assert verified.probes.told == []


class TestTogether:
    async def test_one_failure_ends_the_others_and_their_jobs(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(TEST, HOME)
        await verified.look()
        verified.probes.http = HttpAnswer(500, b"")
        ended = await verified.look()
        assert ended.outcome is VerificationOutcome.FAILED
        assert [one.phase for one in ended.checks] == [INCONCLUSIVE, FAILED]
        assert len(await verified.jobs()) == 1
        await verified.verification().stop((await verified.promotion()).key)
        assert await verified.jobs() == []

    async def test_a_clock_that_goes_back_lengthens_nothing(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(TEST, soakSeconds=100)
        await verified.look(2)
        verified.machine.run(await verified.job())
        await verified.look_after(-86_400)
        ended = await verified.look_after(60)
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE

    async def test_a_clock_that_jumps_ahead_passes_nothing_that_did_not(
        self, verified: VerifiedPromotion
    ) -> None:
        await verified.begin(TEST, ERRORS, soakSeconds=100)
        await verified.look(2)
        verified.machine.run(await verified.job())
        verified.probes.metric = ProbeError("no such time yet")
        assert (await verified.look_after(86_400)).outcome is VerificationOutcome.INCONCLUSIVE

    async def test_a_stage_that_is_gone_is_no_pass(self, verified: VerifiedPromotion) -> None:
        await verified.begin(TEST)
        promotion = await verified.promotion()
        found = promotion.spec.model_copy(update={"stage": "gone"})
        await verified.store.update(promotion.model_copy(update={"spec": found}))
        assert (await verified.advance()).outcome is VerificationOutcome.INCONCLUSIVE


def decode_secret(metadata: dict[str, str], **values: str) -> Secret:
    return decode_as(Secret, {"metadata": metadata, "stringData": values})
