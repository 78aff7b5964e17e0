"""Requests of people and CIs about promotions, through the API and its middleware."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.promotion.promotion_api import ROOT, PromotionApiServer, open_promotion_api
from tests.support.server.audit_logs import audit_lines

from upwell.api.codec import decode, decode_as
from upwell.api.pipeline import Check
from upwell.api.promotion import CheckPhase, PromotionPhase, Purpose, Release
from upwell.policy.promotion.verification.checks import settled

RELEASES, PIPELINES, PROMOTIONS = (
    f"{ROOT}/{plural}" for plural in ("releases", "pipelines", "promotions")
)
HOLD = "stage-hold.upwell.dev"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[PromotionApiServer]:
    async with open_promotion_api(tmp_path) as opened:
        yield opened


def audited(served: PromotionApiServer) -> list[dict[str, Any]]:
    return audit_lines(served.folder)


async def test_a_retried_promotion_is_one_promotion(served: PromotionApiServer) -> None:
    await served.release(1)
    body = {"stage": "dev", "reason": "nightly"}

    first = await served.post("ci", f"{RELEASES}/shop-1/promote", body)
    again = await served.post("ci", f"{RELEASES}/shop-1/promote", body)
    assert (first.status, again.status) == (201, 200)
    assert first.json["metadata"]["uid"] == again.json["metadata"]["uid"]

    await served.moved("shop-1.dev", PromotionPhase.SUCCEEDED)
    after = await served.post("ci", f"{RELEASES}/shop-1/promote", body)
    assert (after.status, await served.promotions()) == (200, ["shop-1.dev"])
    made = await served.promotion("shop-1.dev")
    assert (made.spec.requested_by, made.spec.reason) == ("ci", "nightly")
    assert made.labels == {"upwell.dev/pipeline": "shop"}


async def test_a_run_that_failed_gets_its_answer_again(served: PromotionApiServer) -> None:
    await served.release(1)
    body = {"stage": "dev", "run": "build-7"}
    await served.post("ci", f"{RELEASES}/shop-1/promote", body)
    await served.moved("shop-1.dev", PromotionPhase.FAILED)
    await served.post("ci", f"{RELEASES}/shop-1/reject", {"reason": "its tests fail"})

    again = await served.post("ci", f"{RELEASES}/shop-1/promote", body)
    other = await served.post("ci", f"{RELEASES}/shop-1/promote", {**body, "run": "build-8"})

    assert (again.status, again.json["metadata"]["name"]) == (200, "shop-1.dev")
    assert other.status == 422
    assert "rejected by ci: its tests fail; `upwell release restore" in other.json["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"stage": "prod"}, "no stage 'prod'; its stages: dev, staging, production"),
        ({"stage": "staging"}, "not verified in dev, which staging comes after"),
        ({"stage": "staging"}, "`--bypass REASON`"),
        ({}, "stage: Required value"),
        ({"stage": 7}, "stage: expected a string"),
        ({"stage": "dev", "reason": "x" * 2001}, "reason: "),
    ],
)
async def test_a_promotion_that_may_not_be_says_what_to_do(
    served: PromotionApiServer, body: dict[str, Any], message: str
) -> None:
    await served.release(1)
    answer = await served.post("ci", f"{RELEASES}/shop-1/promote", body)
    assert answer.status == 422
    assert message in answer.json["message"]
    assert await served.promotions() == []


async def test_an_unknown_release_is_not_found(served: PromotionApiServer) -> None:
    answer = await served.post("ci", f"{RELEASES}/shop-9/promote", {"stage": "dev"})
    assert (answer.status, answer.json["details"]["name"]) == (404, "shop-9")


async def test_an_emergency_goes_past_the_order_and_is_written_down(
    served: PromotionApiServer,
) -> None:
    await served.release(1)
    body = {"stage": "production", "bypass": "CVE-2026-1 is exploited"}
    answer = await served.post("ada", f"{RELEASES}/shop-1/promote", body)

    assert answer.status == 201
    assert answer.json["spec"]["bypass"] == "CVE-2026-1 is exploited"
    line = audited(served)[-1]
    assert (line["user"], line["subresource"]) == ("ada", "promote")
    assert line["reason"] == "bypass: CVE-2026-1 is exploited"


async def test_an_emergency_past_image_policies_takes_the_right_to_override_and_names_digests(
    served: PromotionApiServer,
) -> None:
    await served.release(1)
    path = f"{RELEASES}/shop-1/promote"
    body = {"stage": "production", "pastImagePolicies": True}
    assert (await served.post("ada", path, body)).status == 422
    urgent = {**body, "bypass": "CVE-2026-1 is exploited"}
    refused = await served.post("ada", path, urgent)
    assert (refused.status, await served.promotions()) == (403, [])
    assert "needs role overrider there" in refused.json["message"]

    answer = await served.post("admin", path, urgent)
    assert answer.status == 201
    assert answer.json["spec"]["pastImagePolicies"] == [f"sha256:{'1' * 64}"]
    [line] = [one for one in audited(served) if one["code"] == 201]
    assert line["reason"] == "bypass past image policies: CVE-2026-1 is exploited"
    ordinary = {"pipeline": "shop", "release": "shop-1", "stage": "dev"}
    forged = {
        "apiVersion": "upwell.dev/v1alpha1",
        "kind": "Promotion",
        "metadata": {"name": "forged", "namespace": "shop"},
        "spec": {**ordinary, "pastImagePolicies": [f"sha256:{'1' * 64}"]},
    }
    answer = await served.post("admin", f"{ROOT}/promotions", forged)
    assert answer.status == 422
    assert "spec.pastImagePolicies: is set by the server alone" in answer.json["message"]


async def test_an_emergency_overtakes_what_waits(served: PromotionApiServer) -> None:
    await served.release(1, "dev")
    await served.post("ci", f"{RELEASES}/shop-1/promote", {"stage": "staging"})
    urgent = {"stage": "staging", "bypass": "fire"}
    first = await served.post("ada", f"{RELEASES}/shop-1/promote", urgent)
    again = await served.post("ada", f"{RELEASES}/shop-1/promote", urgent)
    assert (first.status, first.json["metadata"]["name"]) == (201, "shop-1.staging.2")
    assert (again.status, len(await served.promotions())) == (200, 2)


@pytest.mark.parametrize("bypass", ["", "fire"])
async def test_nothing_goes_over_a_hold_a_rejection_or_a_quarantine(
    served: PromotionApiServer, bypass: str
) -> None:
    await served.release(1)
    pipeline = await served.pipeline()
    held = pipeline.with_metadata(annotations={f"{HOLD}/dev": "audit"})
    await served.api.store.update(held)
    body = {"stage": "dev", "bypass": bypass}
    answer = await served.post("ci", f"{RELEASES}/shop-1/promote", body)
    assert answer.status == 422
    assert "held: audit; `upwell resume pipeline/shop --stage dev`" in answer.json["message"]

    await served.api.store.create(
        decode(
            {
                "apiVersion": "upwell.dev/v1alpha1",
                "kind": "Quarantine",
                "metadata": {"name": "bad"},
                "spec": {"digest": "sha256:bad", "reason": "two applications fail on it"},
            }
        )
    )
    release = await served.release(2)
    spec = release.spec.model_dump(mode="json", by_alias=True)
    spec["components"][0]["bases"] = [{"image": "debian:12", "digest": "sha256:bad"}]
    await served.api.store.update(
        decode({**release.model_dump(mode="json", by_alias=True), "spec": spec})
    )
    answer = await served.post("ci", f"{RELEASES}/shop-2/promote", body)
    assert "debian:12 of web is in quarantine: two applications" in answer.json["message"]


async def test_an_older_release_by_hand_holds_the_stage_first(served: PromotionApiServer) -> None:
    await served.release(1)
    await served.release(2)
    await served.live("shop-2", "dev")
    answer = await served.post(
        "ada", f"{RELEASES}/shop-1/promote", {"stage": "dev", "reason": "bisecting"}
    )
    assert answer.status == 201
    holds = (await served.pipeline()).annotations
    assert holds == {f"{HOLD}/dev": "shop-1 was promoted by hand by ada: bisecting"}
    again = await served.post("ada", f"{RELEASES}/shop-1/promote", {"stage": "dev"})
    assert again.status == 200


async def test_a_rollback_goes_to_what_served_before_and_holds(served: PromotionApiServer) -> None:
    for number in (1, 2, 3):
        await served.release(number)
        await served.live(f"shop-{number}", "dev")
    await served.post("ci", f"{RELEASES}/shop-2/reject", {"reason": "leaks"})
    body = {"stage": "dev", "reason": "slow"}

    first = await served.post("ada", f"{PIPELINES}/shop/rollback", body)
    assert first.status == 201, first.text
    assert first.json["spec"]["release"] == "shop-1"
    assert first.json["spec"]["purpose"] == Purpose.ROLL_BACK
    assert audited(served)[-1]["reason"] == "slow"
    assert (await served.pipeline()).annotations[f"{HOLD}/dev"] == (
        "rolled back to shop-1 by ada: slow"
    )

    await served.moved(first.json["metadata"]["name"], PromotionPhase.SUCCEEDED)
    again = await served.post("ada", f"{PIPELINES}/shop/rollback", body)
    assert (again.status, again.json["metadata"]) == (
        200,
        again.json["metadata"] | {"name": first.json["metadata"]["name"]},
    ), "a retry does not go back and forth"


@pytest.mark.parametrize(
    ("release", "message"),
    [
        ("shop-3", "was never verified in stage dev"),
        ("shop-9", "no release 'shop-9'"),
    ],
)
async def test_a_rollback_to_what_never_served_is_refused(
    served: PromotionApiServer, release: str, message: str
) -> None:
    await served.release(1)
    await served.live("shop-1", "dev")
    await served.release(3)
    body = {"stage": "dev", "release": release, "reason": "slow"}
    answer = await served.post("ada", f"{PIPELINES}/shop/rollback", body)
    assert (answer.status, HOLD in str((await served.pipeline()).annotations)) == (422, False)
    assert message in answer.json["message"]


async def test_a_rollback_needs_a_reason_and_something_to_go_back_to(
    served: PromotionApiServer,
) -> None:
    path = f"{PIPELINES}/shop/rollback"
    answer = await served.post("ada", path, {"stage": "dev"})
    assert "reason: Required value" in answer.json["message"]
    answer = await served.post("ada", path, {"stage": "dev", "reason": "slow"})
    assert "no other release served in stage dev" in answer.json["message"]


async def test_a_rejection_stands_until_it_is_lifted(served: PromotionApiServer) -> None:
    await served.release(1)
    path = f"{RELEASES}/shop-1"
    first = await served.post("ada", f"{path}/reject", {"reason": "leaks", "stage": "dev"})
    second = await served.post("bob", f"{path}/reject", {"reason": "slow"})
    assert first.json["status"]["phase"] == "Rejected"
    assert second.json["status"]["rejection"] == first.json["status"]["rejection"]
    assert (await served.post("ada", f"{path}/reject", {})).status == 422

    restored = await served.post("bob", f"{path}/restore", {"reason": "was the test"})
    status = restored.json["status"]
    assert ("rejection" in status, status["phase"]) == (False, "Waiting")
    assert status["message"] == "restored by bob: was the test"
    assert "restored" in status
    assert audited(served)[-1]["reason"] == "was the test"


async def test_a_release_is_restored_after_what_went_wrong_whatever_the_clock_says(
    served: PromotionApiServer,
) -> None:
    await served.release(1)
    await served.post("ci", f"{RELEASES}/shop-1/promote", {"stage": "dev"})
    failed = await served.moved("shop-1.dev", PromotionPhase.FAILED)
    await served.post("ada", f"{RELEASES}/shop-1/reject", {"reason": "leaks"})
    served.api.clock.advance(seconds=-3600)

    restored = await served.post("bob", f"{RELEASES}/shop-1/restore", {"reason": "was the test"})

    at = decode_as(Release, restored.json).status.restored
    assert at == failed.status.ended


async def test_one_person_has_one_vote(served: PromotionApiServer) -> None:
    await served.release(1, "dev")
    await served.post("ci", f"{RELEASES}/shop-1/promote", {"stage": "staging"})
    path = f"{PROMOTIONS}/shop-1.staging"

    await served.post("ada", f"{path}/reject", {"comment": "not today"})
    await served.post("ada", f"{path}/approve", {"comment": "now it is"})
    answer = await served.post("ada", f"{path}/approve", {"comment": "now it is"})
    votes = answer.json["status"]["votes"]
    assert [(v["by"], v["approved"], v["comment"]) for v in votes] == [("ada", True, "now it is")]

    stranger = await served.post("eve", f"{path}/approve")
    assert (stranger.status, "approvers: ada, bob" in stranger.text) == (403, True)

    await served.moved("shop-1.staging", PromotionPhase.ROLLING_OUT)
    late = await served.post("bob", f"{path}/approve")
    assert (late.status, "has begun and is RollingOut" in late.text) == (422, True)
    retried = await served.post("ada", f"{path}/approve", {"comment": "now it is"})
    assert retried.status == 200


@pytest.mark.parametrize(
    ("phase", "how"),
    [
        (PromotionPhase.REJECTED, "has ended as Rejected"),
        (PromotionPhase.ROLLING_OUT, "has begun and is RollingOut"),
    ],
)
async def test_a_link_is_made_for_what_waits_alone(
    served: PromotionApiServer, phase: PromotionPhase, how: str
) -> None:
    await served.release(1)
    await served.post("ci", f"{RELEASES}/shop-1/promote", {"stage": "dev"})
    path = f"{PROMOTIONS}/shop-1.dev/links"
    assert (await served.post("admin", path, {"as": "ada"})).status == 201

    await served.moved("shop-1.dev", phase)
    late = await served.post("admin", path, {"as": "bob"})

    assert (late.status, how in late.text) == (422, True), late.text
    assert [one.person for one in (await served.promotion("shop-1.dev")).status.links] == ["ada"]


async def test_who_may_look_may_not_act(served: PromotionApiServer) -> None:
    await served.release(1)
    answer = await served.post("viewer", f"{RELEASES}/shop-1/promote", {"stage": "dev"})
    assert (answer.status, "needs role promoter" in answer.text) == (403, True)
    await served.post("ci", f"{RELEASES}/shop-1/promote", {"stage": "dev"})
    link = await served.post("ci", f"{PROMOTIONS}/shop-1.dev/links", {"as": "ada"})
    assert link.status == 403, "who can make links can vote in every name"


async def test_a_ci_promotes_but_passes_no_approval_by(served: PromotionApiServer) -> None:
    await served.release(1)
    urgent = {"stage": "production", "bypass": "fire"}
    refused = await served.post("jenkins", f"{RELEASES}/shop-1/promote", urgent)
    assert (refused.status, "may not create promotions/approve" in refused.text) == (403, True)
    answer = await served.post("jenkins", f"{RELEASES}/shop-1/promote", {"stage": "dev"})
    assert answer.status == 201, answer.text
    vote = await served.post("jenkins", f"{PROMOTIONS}/shop-1.dev/approve")
    assert vote.status == 403


class TestVerdicts:
    """POST releases/NAME/verify."""

    @pytest.fixture(autouse=True)
    async def verifying(self, served: PromotionApiServer) -> None:
        await served.release(1)
        await served.post("ci", f"{RELEASES}/shop-1/promote", {"stage": "dev"})

    async def verdict(self, served: PromotionApiServer, **body: Any) -> Any:
        return await served.post("ci", f"{RELEASES}/shop-1/verify", {"stage": "dev", **body})

    async def test_it_is_recorded_once(self, served: PromotionApiServer) -> None:
        early = await self.verdict(served, passed=True)
        assert (early.status, "--for=phase=Verifying" in early.text) == (422, True)

        await served.moved("shop-1.dev", PromotionPhase.VERIFYING)
        link = {"name": "report", "url": "https://ci.test/7"}
        first = await self.verdict(served, passed=True, run="7", message="all 9", evidence=[link])
        again = await self.verdict(served, passed=True, run="7", message="all 9", evidence=[link])
        other = await self.verdict(served, passed=False, run="8")

        assert (first.status, first.json["check"]) == (200, "integration")
        [check] = (await served.promotion("shop-1.dev")).status.checks
        assert (check.phase, check.by, check.message) == (CheckPhase.PASSED, "ci", "all 9")
        assert [piece.url for piece in check.evidence] == ["https://ci.test/7"]
        assert again.json == first.json
        assert (other.status, "integration of promotion/shop-1.dev is Passed" in other.text) == (
            422,
            True,
        )

        await served.moved("shop-1.dev", PromotionPhase.SUCCEEDED)
        assert (await self.verdict(served, passed=True, run="7")).status == 200
        assert (await self.verdict(served, passed=True, run="9")).status == 200, "the job, retried"
        late = await self.verdict(served, passed=False, run="10")
        assert "has ended as Succeeded: it takes no verdict any more" in late.text

    async def test_a_retried_call_does_not_use_up_the_next_attempt(
        self, served: PromotionApiServer
    ) -> None:
        await served.moved("shop-1.dev", PromotionPhase.VERIFYING)
        await self.verdict(served, passed=False, run="7")
        promotion = await served.promotion("shop-1.dev")
        check = Check(name="integration", retries=1)
        checks = (settled(check, promotion.status.checks[0]),)
        await served.moved("shop-1.dev", PromotionPhase.VERIFYING, checks=checks)

        assert (await self.verdict(served, passed=False, run="7")).status == 200
        assert (await served.promotion("shop-1.dev")).status.checks == checks
        await self.verdict(served, passed=True, run="8")
        [result] = (await served.promotion("shop-1.dev")).status.checks
        assert (result.phase, result.attempt, result.run) == (CheckPhase.PASSED, 2, "8")
        assert settled(check, result).flaky

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"check": "load"}, "no check 'load' that waits for a verdict"),
            ({"stage": "prod"}, "its stages: dev, staging, production"),
            ({"stage": "staging"}, "was never promoted to staging"),
            ({"evidence": [{"name": "x"}]}, "needs either a url or the digest"),
            ({"evidence": [{"name": "x", "url": "javascript:1"}]}, "evidence[0].url"),
            ({"evidence": [{"name": "x", "digest": "sha256:no"}]}, "is not kept here"),
            ({"evidence": [{"name": "x", "url": "http://y"}] * 51}, "evidence: "),
            ({"passed": "yes"}, "passed: expected true or false"),
        ],
    )
    async def test_a_wrong_one_is_refused(
        self, served: PromotionApiServer, body: dict[str, Any], message: str
    ) -> None:
        await served.moved("shop-1.dev", PromotionPhase.VERIFYING)
        answer = await self.verdict(served, **{"passed": True, **body})
        assert (answer.status, message in answer.text) == (422, True), answer.text
        assert (await served.promotion("shop-1.dev")).status.checks == ()

    async def test_uploaded_evidence_comes_back_byte_for_byte(
        self, served: PromotionApiServer
    ) -> None:
        await served.moved("shop-1.dev", PromotionPhase.VERIFYING)
        bearer = {"Authorization": f"Bearer {served.tokens['ci']}"}
        place = f"{RELEASES}/shop-1/evidence"
        raw = "application/octet-stream"
        sent = await served.api.send("POST", f"{place}?name=junit.xml", b"<ok/>", raw, **bearer)
        assert (sent.status, sent.json["size"]) == (201, 5)
        large = await served.api.send("POST", f"{place}?name=log", b"x" * 1001, raw, **bearer)
        assert (large.status, "at most 1000 bytes" in large.text) == (413, True)
        nameless = await served.api.send("POST", f"{place}?name=../up", b"x", raw, **bearer)
        assert nameless.status == 400

        kept = {"name": "junit.xml", "digest": sent.json["digest"]}
        await self.verdict(served, passed=False, evidence=[kept])
        place = f"{PROMOTIONS}/shop-1.dev/evidence"
        back = await served.api.get(f"{place}?digest={kept['digest']}", **bearer)
        assert (back.status, back.text) == (200, "<ok/>")
        assert back.headers["X-Content-Type-Options"] == "nosniff"
        foreign = await served.api.get(f"{place}?digest=sha256:{'0' * 64}", **bearer)
        assert (foreign.status, "junit.xml" in foreign.text) == (404, True)

    async def test_a_stage_without_a_webhook_gets_a_check_of_its_own(
        self, served: PromotionApiServer
    ) -> None:
        await served.post(
            "ci", f"{RELEASES}/shop-1/promote", {"stage": "production", "bypass": "x"}
        )
        await served.moved("shop-1.production", PromotionPhase.VERIFYING)
        answer = await self.verdict(served, stage="production", passed=False)
        assert (answer.status, answer.json["check"]) == (200, "verdict")


async def test_what_serves_is_verified_again_on_demand(served: PromotionApiServer) -> None:
    path = f"{PIPELINES}/shop/verify"
    nothing = await served.post("ci", path, {"stage": "dev"})
    assert "no release serves in stage dev" in nothing.json["message"]
    await served.release(1)
    await served.live("shop-1", "dev")

    first = await served.post("ci", path, {"stage": "dev"})
    again = await served.post("ci", path, {"stage": "dev"})
    assert (first.status, again.status) == (201, 200)
    assert first.json["spec"]["purpose"] == "Verify"
    assert first.json["metadata"]["name"] == "shop-1.dev.2"


async def test_the_caller_is_who_asks_whatever_the_object_says(served: PromotionApiServer) -> None:
    await served.release(1)
    forged = {
        "apiVersion": "upwell.dev/v1alpha1",
        "kind": "Promotion",
        "metadata": {"name": "mine"},
        "spec": {"pipeline": "shop", "release": "shop-1", "stage": "dev", "requestedBy": "ada"},
    }
    made = await served.post("eve", PROMOTIONS, forged)
    assert made.status == 201
    assert made.json["spec"]["requestedBy"] == "eve"
    assert made.json["metadata"]["labels"] == {"upwell.dev/pipeline": "shop"}

    changed = {**made.json, "spec": {**made.json["spec"], "stage": "production"}}
    bearer = {"Authorization": f"Bearer {served.tokens['eve']}"}
    answer = await served.api.send("PUT", f"{PROMOTIONS}/mine", changed, **bearer)
    assert answer.status == 422
    [cause] = answer.json["details"]["causes"]
    assert (cause["field"], "is immutable" in cause["message"]) == ("spec.stage", True)
    patch = {"metadata": {"annotations": {"note": "x"}}}
    merge = "application/merge-patch+json"
    noted = await served.api.send("PATCH", f"{PROMOTIONS}/mine", patch, merge, **bearer)
    assert noted.status == 200
