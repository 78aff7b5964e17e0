"""Paths that open by the token in them: verdicts of a CI, and votes by link."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.promotion.promotion_api import (
    ROOT,
    SIGNATURES,
    PromotionApiServer,
    open_promotion_api,
)
from tests.support.server.api_server import ApiAnswer
from tests.support.server.audit_logs import audit_lines

from upwell.api.promotion import CheckPhase, CheckResult, Evidence, PromotionPhase, Release
from upwell.server.auth.signatures import Signatures, new_signatures
from upwell.server.http.limits import ServerLimits
from upwell.server.promotion.verdicts import VerdictTokens

FORM = "application/x-www-form-urlencoded"
TOKENS = VerdictTokens(SIGNATURES)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[PromotionApiServer]:
    async with open_promotion_api(tmp_path) as opened:
        await opened.release(1, "dev")
        for stage in ("dev", "staging"):
            path = f"{ROOT}/releases/shop-1/promote"
            assert (await opened.post("ci", path, {"stage": stage})).status == 201
        yield opened


async def verdict_path(served: PromotionApiServer, attempt: int = 1) -> str:
    promotion = await served.promotion("shop-1.dev")
    return f"/verdicts/{TOKENS.sign(promotion.uid, 'integration', attempt)}"


def audit(served: PromotionApiServer) -> list[dict[str, Any]]:
    return audit_lines(served.folder)


@given(st.lists(st.text() | st.integers(), max_size=5), st.text(max_size=20))
def test_what_was_signed_opens_for_its_purpose_alone(claims: list[str | int], other: str) -> None:
    token = SIGNATURES.sign("vote", claims)
    assert SIGNATURES.open("vote", token) == (claims if len(token) <= 2048 else None)
    if other != "vote":
        assert SIGNATURES.open(other, token) is None
    assert new_signatures().open("vote", token) is None


@given(st.text(max_size=80))
def test_what_was_not_signed_opens_nothing(text: str) -> None:
    assert Signatures(b"key").open("vote", text) is None


async def test_a_ci_answers_with_its_token_alone(served: PromotionApiServer) -> None:
    path = await verdict_path(served)
    await served.moved("shop-1.dev", PromotionPhase.VERIFYING)
    asked = await served.api.get(path)
    assert (asked.status, asked.json["release"], asked.json["waits"]) == (200, "shop-1", True)

    said = {
        "passed": False,
        "message": "2 of 9 fail",
        "evidence": [{"name": "r", "url": "https://c/1"}],
    }
    first = await served.api.send("POST", path, said)
    again = await served.api.send("POST", path, said)
    other = await served.api.send("POST", path, {"passed": True})

    assert (first.status, again.status, other.status) == (200, 200, 409)
    [check] = (await served.promotion("shop-1.dev")).status.checks
    assert (check.phase, check.message) == (CheckPhase.FAILED, "2 of 9 fail")
    assert len(check.evidence) == 1
    line = next(line for line in audit(served) if line["resource"] == "verdicts")
    assert (line["name"], line["namespace"], line["code"]) == ("shop-1.dev", "shop", 200)
    assert path.removeprefix("/verdicts/") not in (served.folder / "audit.log").read_text()


async def test_yesterdays_token_is_refused(served: PromotionApiServer) -> None:
    path = await verdict_path(served)
    checks = (CheckResult(name="integration", attempt=2, phase=CheckPhase.RUNNING),)
    await served.moved("shop-1.dev", PromotionPhase.VERIFYING, checks=checks)
    late = await served.api.send("POST", path, {"passed": True})
    assert (late.status, "attempt 1 of check integration is over" in late.text) == (409, True)

    await served.moved("shop-1.dev", PromotionPhase.FAILED)
    ended = await served.api.send("POST", await verdict_path(served, 2), {"passed": True})
    assert (ended.status, "has ended as Failed" in ended.text) == (409, True)
    [check] = (await served.promotion("shop-1.dev")).status.checks
    assert check.phase is CheckPhase.RUNNING


async def test_a_token_that_is_not_ours_is_refused(served: PromotionApiServer) -> None:
    forged = VerdictTokens(new_signatures()).sign("uid", "integration", 1)
    for token in (forged, "x", "x.y", f"{forged}x", "%00", "é"):
        answer = await served.api.send("POST", f"/verdicts/{token}", {"passed": True})
        assert answer.status == 403, token
    gone = await served.api.send(
        "POST", f"/verdicts/{TOKENS.sign('gone', 'x', 1)}", {"passed": True}
    )
    assert (gone.status, "does not exist any more" in gone.text) == (409, True)


async def test_guessing_is_limited(tmp_path: Path) -> None:
    limits = ServerLimits(anonymous_per_second=0.001, anonymous_burst=3)
    async with open_promotion_api(tmp_path, limits) as served:
        codes = [(await served.api.get("/verdicts/x")).status for _ in range(5)]
    assert codes == [403, 403, 403, 429, 429]


async def link(
    served: PromotionApiServer, person: str = "ada", promotion: str = "shop-1.staging"
) -> str:
    answer = await served.post(
        "admin", f"{ROOT}/promotions/{promotion}/links", {"as": person, "expiresSeconds": 3600}
    )
    assert answer.status == 201, answer.text
    path = answer.json["path"]
    assert isinstance(path, str)
    return path


async def vote(served: PromotionApiServer, path: str, **form: str) -> ApiAnswer:
    return await served.api.send("POST", path, urlencode(form).encode(), FORM)


async def test_a_page_shows_what_is_promoted_and_takes_the_vote(served: PromotionApiServer) -> None:
    path = await link(served)
    page = await served.api.get(path)
    assert page.status == 200
    assert "shop-1 to staging" in page.text
    assert "111111111111" in page.text
    assert "cause 1 &lt;b&gt;" in page.text, "nothing of a release is markup"
    assert "verified 2024-05-01 11:00 UTC" in page.text
    assert "0 of 1 approvals" in page.text
    assert (await served.promotion("shop-1.staging")).status.votes == (), "looking is no vote"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script" not in page.text + policy
    assert page.headers["Cache-Control"] == "no-store"

    done = await vote(served, path, decision="approve", comment="<i>go</i>")
    assert "ada approved" in done.text
    assert "It is approved by ada, and begins when nothing else keeps it." in done.text
    assert "&lt;i&gt;go&lt;/i&gt;" in done.text
    [recorded] = (await served.promotion("shop-1.staging")).status.votes
    assert (recorded.by, recorded.approved, recorded.comment) == ("ada", True, "<i>go</i>")
    line = audit(served)[-1]
    assert (line["user"], line["name"], line["reason"]) == ("ada", "shop-1.staging", "<i>go</i>")


async def test_a_page_links_evidence_on_the_web_and_nothing_else(
    served: PromotionApiServer,
) -> None:
    kept = (
        Evidence(name="job 7", url="https://ci.test/7?a=1&b='\""),
        Evidence(name="trap", url="javascript:alert(1)"),
        Evidence(name="<b>junit.xml", digest="sha256:1"),
    )
    result = CheckResult(name="integration", phase=CheckPhase.FAILED, evidence=kept)
    await served.moved("shop-1.dev", PromotionPhase.SUCCEEDED, checks=(result,))
    release = await served.api.store.get(Release, "shop", "shop-1")
    [entry] = release.status.verified
    verified = (entry.model_copy(update={"promotion": "shop-1.dev"}),)
    await served.api.store.update_status(
        release.with_status(release.status.model_copy(update={"verified": verified}))
    )

    page = await served.api.get(await link(served))

    assert re.findall(r'<a href="([^"]*)"', page.text) == [
        "https://ci.test/7?a=1&amp;b=&#x27;&quot;"
    ]
    assert "javascript" not in page.text
    assert "&lt;b&gt;junit.xml" in page.text
    assert '<span class="bad">Failed</span>' in page.text


async def test_a_link_is_for_one_promotion_one_person_and_some_time(
    served: PromotionApiServer,
) -> None:
    path = await link(served)
    stranger = await vote(served, await link(served, "eve"), decision="approve")
    assert (stranger.status, "not an approver" in stranger.text) == (409, True)
    assert (await served.api.get(path.replace("/approvals/", "/verdicts/"))).status == 403
    assert (await vote(served, path, decision="maybe")).status == 400
    assert (await vote(served, f"{path}x", decision="approve")).status == 403
    json_vote = await served.api.send("POST", path, {"decision": "approve"})
    assert json_vote.status == 415

    served.api.clock.advance(seconds=3600)
    late = await vote(served, path, decision="approve")
    assert (late.status, "has expired" in late.text) == (403, True)
    assert (await served.promotion("shop-1.staging")).status.votes == ()


async def test_a_link_is_listed_and_can_be_revoked(served: PromotionApiServer) -> None:
    path, other = await link(served), await link(served, "bob")
    [first, second] = (await served.promotion("shop-1.staging")).status.links
    assert (first.person, first.by, second.person) == ("ada", "system:admin", "bob")
    where = f"{ROOT}/promotions/shop-1.staging/links"

    async def revoke(who: str, which: str) -> ApiAnswer:
        headers = {"Authorization": f"Bearer {served.tokens[who]}"}
        return await served.api.send("DELETE", where, {"link": which}, **headers)

    assert (await revoke("ci", first.id)).status == 403
    assert (await revoke("admin", "nobody")).status == 404
    assert (await revoke("admin", first.id)).status == 200
    dead = await vote(served, path, decision="approve")
    assert (dead.status, "was revoked" in dead.text) == (403, True)
    assert (await vote(served, other, decision="approve")).status == 200
    assert (await revoke("admin", "bob")).status == 200
    assert (await vote(served, other, decision="reject")).status == 403
    assert len((await served.promotion("shop-1.staging")).status.votes) == 1


async def test_a_link_of_an_earlier_version_says_so(served: PromotionApiServer) -> None:
    promotion = await served.promotion("shop-1.staging")
    claims = ("shop", promotion.name, promotion.uid, "ada", 4_000_000_000)
    old = await served.api.get(f"/approvals/{SIGNATURES.sign('approval', claims)}")
    assert (old.status, "earlier version" in old.text) == (403, True)


async def test_a_link_to_what_was_made_anew_is_dead(served: PromotionApiServer) -> None:
    path = await link(served)
    promotion = await served.promotion("shop-1.staging")
    await served.api.store.delete(type(promotion), "shop", promotion.name)
    assert (await served.api.get(path)).status == 404
    await served.post("ci", f"{ROOT}/releases/shop-1/promote", {"stage": "staging"})
    assert (await vote(served, path, decision="approve")).status == 404


async def test_what_has_begun_offers_no_vote(served: PromotionApiServer) -> None:
    path = await link(served)
    await served.moved("shop-1.staging", PromotionPhase.ROLLING_OUT)
    page = await served.api.get(path)
    assert "It is RollingOut now" in page.text
    assert re.search("<form", page.text) is None
    assert (await vote(served, path, decision="approve")).status == 409


async def test_another_site_cannot_vote_in_the_browser_of_who_holds_the_link(
    served: PromotionApiServer,
) -> None:
    path = await link(served)
    answer = await served.api.send(
        "POST", path, b"decision=approve", FORM, Sec_Fetch_Site="cross-site"
    )
    assert answer.status == 403
