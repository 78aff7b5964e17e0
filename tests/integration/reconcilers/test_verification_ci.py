"""A CI that is told that a stage is ready, and answers as CIs do: twice, late, wrongly."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.support.delivery.http_receiver import HttpReceiver, receiving, status
from tests.support.outbound.dialers import loopback_dialer
from tests.support.promotion.promotion_api import (
    ROOT,
    SIGNATURES,
    PromotionApiServer,
    open_promotion_api,
)

from upwell.api.codec import decode
from upwell.api.core import Secret
from upwell.api.pipeline import Check, WebhookCheck
from upwell.api.promotion import CheckPhase, CheckResult, PromotionPhase, Release
from upwell.formats.cloud_events import signature
from upwell.policy.promotion.verification.checks import VerificationOutcome, VerificationProgress
from upwell.reconcilers.promotion.instances import CheckRuntime, MachineInstances
from upwell.reconcilers.promotion.verification import StageVerification
from upwell.server.promotion.verdicts import PLACE, VerdictTokens
from upwell.uploads.files import FileInputs
from upwell.verification.network import NetworkProbes

if TYPE_CHECKING:
    from upwell.workload.interface import ReadableRuntime

TOKENS = VerdictTokens(SIGNATURES)
PROMOTION = "shop-1.dev"


@dataclass
class CiVerification:
    """A promotion that is verified by a CI, and that CI."""

    served: PromotionApiServer
    ci: HttpReceiver
    verification: StageVerification

    async def look(self, seconds: float = 0, promotion: str = PROMOTION) -> VerificationProgress:
        """Look at the check after so many seconds, and store what came of it."""
        self.served.api.clock.advance(seconds=seconds)
        found = await self.served.promotion(promotion)
        release = await self.served.api.store.get(Release, "shop", found.spec.release)
        progress = await self.verification.advance(await self.served.pipeline(), release, found)
        changed = found.status.model_copy(update={"checks": progress.checks})
        await self.served.api.store.update_status(found.with_status(changed))
        return progress

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(one.body)["data"] for one in self.ci.arrived]

    async def answer(self, number: int = -1, **said: Any) -> int:
        """Answer an event as its `answer` says, and return the status."""
        url = self.events[number]["answer"]["url"]
        answer = await self.served.api.send("POST", url.removeprefix(self.served.api.url), said)
        return answer.status

    async def result(self, promotion: str = PROMOTION) -> CheckResult:
        [result] = (await self.served.promotion(promotion)).status.checks
        return result


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[CiVerification]:
    async with (
        open_promotion_api(tmp_path) as served,
        receiving() as ci,
        NetworkProbes.open("1.2.3", loopback_dialer()) as probes,
    ):
        document = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"namespace": "shop", "name": "ci"},
            "stringData": {"secret": "s3cret"},
        }
        await served.api.store.create(decode(document))
        webhook = WebhookCheck.model_validate({"url": ci.url, "secret": {"name": "ci"}})
        check = Check(name="integration", webhook=webhook, timeout_seconds=600, retries=1)
        pipeline = await served.pipeline()
        dev, *others = pipeline.spec.stages
        verified = dev.verification.model_copy(update={"checks": (check,)})
        dev = dev.model_copy(update={"verification": verified})
        spec = pipeline.spec.model_copy(update={"stages": (dev, *others)})
        await served.api.store.update(pipeline.model_copy(update={"spec": spec}))
        await served.release(1)
        await served.post("ci", f"{ROOT}/releases/shop-1/promote", {"stage": "dev"})
        await served.moved(PROMOTION, PromotionPhase.VERIFYING)
        verification = StageVerification(
            served.api.store,
            CheckRuntime.of_server(
                served.api.store,
                MachineInstances(cast("ReadableRuntime", served.api.runtime)),  # no Job is run here
            ),
            probes,
            FileInputs(tmp_path / "evidence"),
            lambda one, name, attempt: served.api.url + PLACE + TOKENS.sign(one.uid, name, attempt),
            served.api.clock,
        )
        yield CiVerification(served, ci, verification)


async def test_it_is_told_and_its_word_counts_once(told: CiVerification) -> None:
    await told.look()
    waits = await told.look()
    assert waits.outcome is VerificationOutcome.RUNNING
    assert (
        waits.message == "waits for check integration: the CI was notified and has not answered yet"
    )
    [request] = told.ci.arrived
    assert request.headers["x-upwell-signature"] == signature(b"s3cret", request.body)
    assert (told.events[0]["release"], told.events[0]["stage"]) == ("shop-1", "dev")

    evidence = [{"name": "report", "url": "https://ci.test/7"}]
    said: dict[str, Any] = {"passed": True, "message": "9 tests", "run": "7", "evidence": evidence}
    assert [await told.answer(**said), await told.answer(**said)] == [200, 200]
    # It has spoken: another word of the same token is refused.
    assert await told.answer(passed=False, run="8") == 409
    passed = await told.look()
    assert passed.outcome is VerificationOutcome.PASSED
    assert len(told.ci.arrived) == 1
    names = [piece.name for piece in passed.checks[0].evidence]
    assert names == ["told", "report"]


async def test_an_answer_out_of_order_does_not_touch_the_next_attempt(told: CiVerification) -> None:
    await told.look()
    await told.look()
    assert await told.answer(0, passed=False, message="2 of 9 fail", run="7") == 200
    again = await told.look()
    assert (again.outcome, again.again) == (VerificationOutcome.RUNNING, 2)
    await told.look(2)
    await told.look()
    first, second = told.events
    assert (first["attempt"], second["attempt"]) == (1, 2)

    # The first run is retried by its CI, and speaks again; so does one that was never asked.
    assert await told.answer(0, passed=False, message="2 of 9 fail", run="7") == 200
    assert await told.answer(0, passed=True, run="9") == 409
    assert (await told.result()).phase is CheckPhase.RUNNING
    assert await told.answer(1, passed=True, run="8") == 200
    assert (await told.look()).message == "passed check integration; flaky: integration"


async def test_yesterdays_token_opens_nothing(told: CiVerification) -> None:
    await told.look()
    await told.look()
    await told.look(600)
    ended = await told.look(2)
    assert ended.outcome is VerificationOutcome.RUNNING
    assert await told.answer(0, passed=True) == 409
    await told.look()
    late = await told.look(86_400)
    assert late.outcome is VerificationOutcome.INCONCLUSIVE
    assert await told.answer(1, passed=True) == 409
    await told.served.moved(PROMOTION, PromotionPhase.FAILED)
    assert await told.answer(1, passed=True) == 409
    assert (await told.result()).phase is CheckPhase.INCONCLUSIVE


async def test_the_token_of_another_promotion_speaks_of_that_alone(told: CiVerification) -> None:
    await told.look()
    await told.look()
    await told.served.moved(PROMOTION, PromotionPhase.FAILED)
    await told.served.release(2)
    await told.served.post("ci", f"{ROOT}/releases/shop-2/promote", {"stage": "dev"})
    await told.served.moved("shop-2.dev", PromotionPhase.VERIFYING)
    for _ in range(2):
        await told.look(promotion="shop-2.dev")
    assert [event["release"] for event in told.events] == ["shop-1", "shop-2"]

    assert await told.answer(0, passed=True) == 409
    assert (await told.result("shop-2.dev")).phase is CheckPhase.RUNNING
    assert await told.answer(1, passed=True) == 200
    assert (await told.result("shop-2.dev")).phase is CheckPhase.PASSED
    assert (await told.result()).phase is CheckPhase.RUNNING


async def test_a_ci_that_is_down_is_told_when_it_is_back(told: CiVerification) -> None:
    told.ci.answers[:] = [status(503, "Down"), status(500, "Down")]
    await told.look()
    first = await told.look()
    assert first.checks[0].message.startswith("cannot notify the CI: http://127.0.0.1:")
    assert first.checks[0].message.endswith("answered 503")
    assert (await told.look(5)).again == 5
    assert (await told.look(5)).checks[0].message == "the CI was notified and has not answered yet"
    assert len({request.body for request in told.ci.arrived}) == 1
    assert await told.answer(passed=True) == 200


async def test_a_ci_without_its_secret_is_not_told(told: CiVerification) -> None:
    await told.served.api.store.delete(Secret, "shop", "ci")
    await told.look()
    waits = await told.look()
    assert "Secret ci does not exist in namespace shop: create it" in waits.checks[0].message
    assert told.ci.arrived == []
