"""Checks of a stage, step by step; what is killed between two steps is simply done again."""

import io
import json
import tarfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.promotion.verification_in_memory import BAD_REPORT, REPORT, Bench

from upwell.api.codec import decode_as
from upwell.api.core import Secret
from upwell.api.promotion import CheckPhase, Purpose
from upwell.formats.cloud_events import signature
from upwell.policy.promotion.verification.checks import VerificationOutcome
from upwell.reconcilers.promotion import evidence
from upwell.verification.interface import BadQuestionError, HttpAnswer, ProbeError
from upwell.workload.interface import ContainerFile, RuntimeUnavailableError

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
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


class TestJobs:
    async def test_one_passes_and_is_gone_when_its_result_is_stored(self, bench: Bench) -> None:
        await bench.begin(TEST)
        first = await bench.look()
        assert (first.checks[0].phase, await bench.jobs()) == (CheckPhase.RUNNING, [])
        await bench.look()
        job = await bench.job()
        assert (job.namespace, first.again) == ("dev", 0)
        bench.machine.run(job)
        waits = await bench.look()
        assert waits.message == f"waits for check e2e: Job {job.name}: running"

        bench.machine.exit(job, 0)
        ended = await bench.look()
        assert (ended.outcome, ended.message) == (VerificationOutcome.PASSED, "passed check e2e")
        assert await bench.evidence(ended.checks[0]) == {"log.txt": b"ok\n"}
        assert await bench.jobs() == [job]
        await bench.look()
        assert await bench.jobs() == []

    async def test_a_call_that_was_killed_before_it_stored_is_made_again(
        self, bench: Bench
    ) -> None:
        await bench.begin(TEST)
        await bench.advance()
        await bench.look()
        await bench.advance()
        await bench.look()
        job = await bench.job()
        bench.machine.run(job)
        bench.machine.exit(job, 0)
        killed, again = await bench.advance(), await bench.look()
        assert killed == again
        assert again.outcome is VerificationOutcome.PASSED

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
        bench: Bench,
        code: int,
        report: bytes | None,
        outcome: VerificationOutcome,
        message: str,
    ) -> None:
        await bench.begin(REPORTED)
        await bench.look(2)
        bench.machine.run(await bench.job())
        if report is not None:
            bench.machine.wrote("/out/r.xml", report)
        bench.machine.exit(await bench.job(), code)
        ended = await bench.look()
        assert ended.outcome is outcome
        assert message in ended.checks[0].message
        kept = await bench.evidence(ended.checks[0])
        assert kept.get("junit.xml") == report

    async def test_the_report_of_another_run_says_nothing(self, bench: Bench) -> None:
        await bench.begin(REPORTED)
        bench.machine.wrote("/out/r.xml", BAD_REPORT, bench.clock() - timedelta(seconds=1))
        await bench.look(2)
        bench.machine.run(await bench.job())
        bench.machine.exit(await bench.job(), 0)
        ended = await bench.look()
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE
        assert "is older than the test: it is of another run" in ended.message

    async def test_one_that_never_answers_ends_with_its_time_and_keeps_what_it_has(
        self, bench: Bench
    ) -> None:
        job: dict[str, Any] = {**REPORTED["job"], "artifacts": ["/out/dump"]}
        await bench.begin({"name": "e2e", "job": job})
        await bench.look(2)
        bench.machine.run(await bench.job())
        bench.machine.wrote("/out/r.xml", REPORT)
        bench.machine.wrote("/out/dump", b"threads")
        waits = await bench.look_after(59)
        assert (waits.outcome, waits.again) == (VerificationOutcome.RUNNING, 1)
        ended = await bench.look_after(1)
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE
        assert "no answer within 60 s: running" in ended.message
        kept = await bench.evidence(ended.checks[0])
        assert kept == {"log.txt": b"ok\n", "artifacts/out/dump": b"threads"}
        await bench.look()
        assert await bench.jobs() == []

    async def test_an_answer_in_time_counts_however_late_it_is_read(self, bench: Bench) -> None:
        await bench.begin(TEST)
        await bench.look(2)
        bench.machine.run(await bench.job())
        bench.clock.advance(60)
        bench.machine.exit(await bench.job(), 0)
        assert (await bench.look_after(3600)).outcome is VerificationOutcome.PASSED

    async def test_an_answer_that_came_late_does_not(self, bench: Bench) -> None:
        await bench.begin(TEST)
        await bench.look(2)
        bench.machine.run(await bench.job())
        bench.clock.advance(61)
        bench.machine.exit(await bench.job(), 0)
        assert (await bench.look()).outcome is VerificationOutcome.INCONCLUSIVE

    async def test_it_is_tried_again_and_all_evidence_stays(self, bench: Bench) -> None:
        await bench.begin({**TEST, "retries": 1})
        await bench.look(2)
        first = await bench.job()
        bench.machine.run(first)
        bench.machine.exit(first, 1)
        tried = await bench.look()
        assert (tried.outcome, tried.again) == (VerificationOutcome.RUNNING, 2)
        assert tried.checks[0].message == "attempt 1 of 2: exit code 1: ok"
        assert (await bench.look()).checks[0].phase is CheckPhase.PENDING

        await bench.look_after(2, times=2)
        second = await bench.job()
        assert second.name != first.name
        bench.machine.run(second)
        bench.machine.exit(second, 0)
        ended = await bench.look()
        assert ended.message == "passed check e2e; flaky: e2e"
        assert list(await bench.evidence(ended.checks[0])) == ["log.txt", "attempt-2/log.txt"]

    async def test_a_huge_log_is_kept_by_its_end(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evidence, "LOG_BYTES", 1000)
        bench.machine.log = [b"%07d\n" % line for line in range(5000)]
        await bench.begin(TEST)
        await bench.look(2)
        bench.machine.run(await bench.job())
        bench.machine.exit(await bench.job(), 0)
        [result] = (await bench.look()).checks
        assert result.message == "exit code 0; log: the last 1000 of 40000 bytes are kept"
        kept = (await bench.evidence(result))["log.txt"]
        assert (len(kept), kept[-8:]) == (1000, b"0004999\n")

    async def test_too_many_artifacts_are_left_out_and_that_is_said(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evidence, "FILES_BYTES", 100)
        await bench.begin(
            {"name": "e2e", "job": {"component": "shop", "artifacts": ["/a", "/b", "/c", "/d"]}}
        )
        await bench.look(2)
        bench.machine.run(await bench.job())
        bench.machine.wrote("/a", b"a" * 60)
        bench.machine.wrote("/b", b"b" * 60)
        pair = [ContainerFile(f"c/{name}", b"c" * 20) for name in ("1", "2")]
        bench.machine.files["/c"] = pair
        bench.machine.exit(await bench.job(), 0)
        [result] = (await bench.look()).checks
        assert result.phase is PASSED
        assert result.message == (
            "exit code 0; /b: larger than 40 bytes; /d: no room is left for it"
        )
        kept = await bench.evidence(result)
        assert list(kept) == ["log.txt", "artifacts/a", "artifacts/c.tar"]
        with tarfile.open(fileobj=io.BytesIO(kept["artifacts/c.tar"])) as archive:
            assert archive.getnames() == ["c/1", "c/2"]

    async def test_a_runtime_in_trouble_is_asked_again_and_holds_nothing_up(
        self, bench: Bench
    ) -> None:
        await bench.begin(TEST, HOME)
        await bench.look(2)
        bench.machine.trouble = RuntimeUnavailableError("podman is away")
        found = await bench.look()
        assert [one.phase for one in found.checks] == [CheckPhase.RUNNING, PASSED]
        assert found.checks[0].message == "cannot be read now: podman is away"
        ended = await bench.look_after(60)
        assert (ended.outcome, ended.message) == (
            VerificationOutcome.INCONCLUSIVE,
            "check e2e: podman is away",
        )

    async def test_what_a_promotion_left_that_is_gone_is_ended(self, bench: Bench) -> None:
        await bench.begin(TEST)
        await bench.look(2)
        promotion = await bench.promotion()
        await bench.store.delete(type(promotion), "shop", promotion.name)
        await bench.verification().stop(promotion.key)
        assert await bench.jobs() == []


class TestQuestions:
    async def test_a_good_answer_passes(self, bench: Bench) -> None:
        await bench.begin(HOME, PORT)
        ended = await bench.look(2)
        assert ended.outcome is VerificationOutcome.PASSED
        question, place = bench.probes.asked
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
    async def test_a_wrong_answer_fails_and_is_kept(
        self, bench: Bench, answer: HttpAnswer, message: str
    ) -> None:
        bench.probes.http = answer
        await bench.begin(HOME)
        ended = await bench.look(2)
        assert ended.outcome is VerificationOutcome.FAILED
        assert message in ended.message
        assert await bench.evidence(ended.checks[0]) == {"answer.txt": answer.body}

    @pytest.mark.parametrize("check", [HOME, PORT])
    async def test_no_answer_is_waited_for_and_then_a_failure(
        self, bench: Bench, check: dict[str, Any]
    ) -> None:
        bench.probes.http = bench.probes.tcp = ProbeError("nobody is there")
        await bench.begin(check)
        waits = await bench.look(2)
        assert (waits.outcome, waits.again) == (VerificationOutcome.RUNNING, 2)
        ended = await bench.look_after(60)
        assert ended.outcome is VerificationOutcome.FAILED
        assert "no answer within 60 s: nobody is there" in ended.message

    async def test_a_stage_without_an_address_says_what_to_do(self, bench: Bench) -> None:
        await bench.begin(HOME, PORT, address="")
        ended = await bench.look(2)
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE
        assert "set `address`, or give a workload a Service" in ended.message


class TestMetrics:
    async def test_it_holds_over_the_soak(self, bench: Bench) -> None:
        await bench.begin(ERRORS, soakSeconds=60)
        assert (await bench.look(2)).again == 30
        await bench.look_after(30)
        ended = await bench.look_after(30)
        assert (ended.outcome, ended.checks[0].message) == (
            VerificationOutcome.PASSED,
            "< 0.5 held",
        )
        assert len(ended.checks[0].samples) == 3

    async def test_one_bad_sample_fails_it_before_the_soak_is_over(self, bench: Bench) -> None:
        await bench.begin(ERRORS, soakSeconds=600)
        await bench.look(2)
        bench.probes.metric = 0.9
        ended = await bench.look_after(30)
        assert ended.outcome is VerificationOutcome.FAILED
        assert "0.9, not < 0.5 (1 bad samples, 0 allowed)" in ended.message

    async def test_a_server_that_was_down_is_asked_for_the_past(self, bench: Bench) -> None:
        await bench.begin(ERRORS, soakSeconds=60)
        bench.probes.metric = ProbeError("p is down")
        waits = await bench.look(2)
        assert (waits.outcome, waits.again) == (VerificationOutcome.RUNNING, 10)
        assert waits.checks[0].message == "no number, shall be < 0.5; p is down"
        bench.probes.metric = 0.1
        ended = await bench.look_after(60)
        assert ended.outcome is VerificationOutcome.PASSED
        times = [sample.at for sample in ended.checks[0].samples]
        assert [(at - times[0]).total_seconds() for at in times] == [0, 30, 60]

    async def test_a_server_that_stays_down_passes_nothing(self, bench: Bench) -> None:
        bench.probes.metric = ProbeError("p is down")
        await bench.begin(ERRORS, soakSeconds=60)
        await bench.look(2)
        assert (await bench.look_after(119)).outcome is VerificationOutcome.RUNNING
        ended = await bench.look_after(1)
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE
        assert "samples are missing 60 s after the soak; p is down" in ended.message

    async def test_a_wrong_query_is_said_at_once(self, bench: Bench) -> None:
        bench.probes.metric = BadQuestionError("http://p: parse error")
        await bench.begin(ERRORS, soakSeconds=600)
        ended = await bench.look(2)
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
        self, bench: Bench, values: dict[str, str], header: str
    ) -> None:
        await bench.begin({**ERRORS, "metric": {**ERRORS["metric"], "secret": {"name": "prom"}}})
        waits = await bench.look(2)
        assert (waits.outcome, bench.probes.asked) == (VerificationOutcome.RUNNING, [])
        assert "Secret shop/prom has neither `token` nor" in waits.checks[0].message
        await bench.store.create(decode_secret({"namespace": "shop", "name": "prom"}, **values))
        assert (await bench.look_after(10)).outcome is VerificationOutcome.PASSED
        assert {getattr(one, "authorization", "") for one in bench.probes.asked} == {header}
        assert header.partition(" ")[2] not in repr(bench.probes.asked)

    async def test_what_serves_is_verified_again_without_a_soak(self, bench: Bench) -> None:
        await bench.begin(ERRORS, soakSeconds=600)
        await bench.promote("shop-1.dev.2", Purpose.VERIFY)
        assert (await bench.look(2)).outcome is VerificationOutcome.PASSED


class TestCi:
    async def told(self, bench: Bench) -> None:
        metadata = {"namespace": "shop", "name": "ci"}
        await bench.store.create(decode_secret(metadata, secret="s3cret"))
        await bench.begin(CI)
        await bench.look(2)

    async def test_it_is_told_once_and_signed(self, bench: Bench) -> None:
        await self.told(bench)
        waits = await bench.look_after(30)
        [event] = bench.probes.told
        data = json.loads(event.body)["data"]
        assert (event.url, event.secret) == ("https://u:p@ci.test/hook?t=1", b"s3cret")
        assert signature(event.secret, event.body).startswith("sha256=")
        assert data["answer"]["url"] == "http://up/v/shop-1.dev/ci/1"
        assert data["address"] == "http://shop:8080"
        [result] = waits.checks
        assert (result.message, waits.again) == ("the CI was notified and has not answered yet", 30)
        assert [one.url for one in result.evidence] == ["https://ci.test"]

    async def test_a_process_that_is_killed_in_between_tells_the_same_again(
        self, bench: Bench
    ) -> None:
        metadata = {"namespace": "shop", "name": "ci"}
        await bench.store.create(decode_secret(metadata, secret="s3cret"))
        await bench.begin(CI)
        await bench.look()
        await bench.advance()
        await bench.look_after(3)
        first, second = bench.probes.told
        assert first == second

    async def test_no_verdict_is_no_pass(self, bench: Bench) -> None:
        await self.told(bench)
        ended = await bench.look_after(60)
        assert (ended.outcome, ended.message) == (
            VerificationOutcome.INCONCLUSIVE,
            "check ci: no verdict came within 60 s",
        )

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda bench: setattr(bench.probes, "ci", ProbeError("502")), "notify the CI: 502"),
            (lambda _: None, "Secret shop/ci has no key `secret`: add it"),
        ],
    )
    async def test_a_ci_that_cannot_be_told_is_told_later(
        self, bench: Bench, spoil: Callable[[Bench], None], message: str
    ) -> None:
        spoil(bench)
        if bench.probes.ci is not None:
            await bench.store.create(
                decode_secret({"namespace": "shop", "name": "ci"}, secret="s3cret")
            )
        await bench.begin(CI)
        waits = await bench.look(2)
        assert waits.again == 5
        assert message in waits.checks[0].message
        ended = await bench.look_after(60)
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE
        assert message in ended.message
        assert bench.probes.told == []


class TestTogether:
    async def test_one_failure_ends_the_others_and_their_jobs(self, bench: Bench) -> None:
        await bench.begin(TEST, HOME)
        await bench.look()
        bench.probes.http = HttpAnswer(500, b"")
        ended = await bench.look()
        assert ended.outcome is VerificationOutcome.FAILED
        assert [one.phase for one in ended.checks] == [INCONCLUSIVE, FAILED]
        assert len(await bench.jobs()) == 1
        await bench.verification().stop((await bench.promotion()).key)
        assert await bench.jobs() == []

    async def test_a_clock_that_goes_back_lengthens_nothing(self, bench: Bench) -> None:
        await bench.begin(TEST, soakSeconds=100)
        await bench.look(2)
        bench.machine.run(await bench.job())
        await bench.look_after(-86_400)
        ended = await bench.look_after(60)
        assert ended.outcome is VerificationOutcome.INCONCLUSIVE

    async def test_a_clock_that_jumps_ahead_passes_nothing_that_did_not(self, bench: Bench) -> None:
        await bench.begin(TEST, ERRORS, soakSeconds=100)
        await bench.look(2)
        bench.machine.run(await bench.job())
        bench.probes.metric = ProbeError("no such time yet")
        assert (await bench.look_after(86_400)).outcome is VerificationOutcome.INCONCLUSIVE

    async def test_a_stage_that_is_gone_is_no_pass(self, bench: Bench) -> None:
        await bench.begin(TEST)
        promotion = await bench.promotion()
        found = promotion.spec.model_copy(update={"stage": "gone"})
        await bench.store.update(promotion.model_copy(update={"spec": found}))
        assert (await bench.advance()).outcome is VerificationOutcome.INCONCLUSIVE


def decode_secret(metadata: dict[str, str], **values: str) -> Secret:
    return decode_as(Secret, {"metadata": metadata, "stringData": values})
