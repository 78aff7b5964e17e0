"""promote, rollback, verify, approve, reject, history: what they ask the server, and say."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.promotion.pipeline_objects import (
    WAITING,
    answer,
    promotion,
    put_promoted,
    release,
)
from tests.unit.cli.conftest import OLD, SHOP_OLD

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

STAGING = "promotions/shop-2.staging"


@pytest.fixture(autouse=True)
async def _objects(fixed: "FakeClient") -> None:
    await put_promoted(fixed)


def asked(client: "FakeClient") -> tuple[str, Any]:
    method, path, body = client.calls[-1]
    assert method == "POST"
    return path, body


def test_promote_sends_what_was_said_and_no_more(upwell: Upwell, client: "FakeClient") -> None:
    client.answers["releases/shop-2/promote"] = answer("shop-2.production", "Waiting", "waits")

    plain = upwell("promote", "release/shop-2", "--stage", "production")

    assert plain.stdout == "promotion.upwell.dev/shop-2.production Waiting: waits\n"
    assert asked(client) == ("releases/shop-2/promote", {"stage": "production"})
    reasons = ("--reason", "nightly", "--bypass", "CVE", "--run", "b7")
    upwell("promote", "shop-2", "--stage", "production", *reasons, "-o", "name")
    assert asked(client)[1] == {
        "stage": "production",
        "reason": "nightly",
        "bypass": "CVE",
        "run": "b7",
    }


def test_promote_says_that_nothing_is_done_where_the_release_serves_already(
    upwell: Upwell, client: "FakeClient"
) -> None:
    before = answer("shop-2.production", "Succeeded")
    before["status"]["ended"] = "2026-03-01T12:00:00Z"
    client.answers["releases/shop-2/promote"] = before

    said = upwell("promote", "shop-2", "--stage", "production")
    assert said.stdout == "promotion.upwell.dev/shop-2.production Succeeded\n"
    nothing = "nothing was done: promotion/shop-2.production has succeeded at 2026-03-01T12:00:00Z"
    assert said.stderr == f"{nothing}\n"

    before["status"]["clusters"] = [{"name": "east", "phase": "Complete"}]
    said = upwell("promote", "shop-2", "--stage", "production")
    assert said.stderr == (
        f"{nothing}; an image that is set by hand in a cluster is found within five minutes\n"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        ("promote", "shop-2"),
        ("promote", "build/shop-1", "--stage", "dev"),
        ("promote", "pipeline/shop", "--stage", "prod"),
        ("rollback", "shop", "--stage", "production"),
        ("verify", "shop-2", "--stage", "dev"),
        ("verify", "shop-2", "--stage", "dev", "--passed", "--again"),
        ("verify", "pipeline/shop", "--stage", "dev", "--passed"),
        ("approve", "shop-2", "--link"),
        ("approve", "shop-2", "--as", "ada"),
        ("approve", "shop-2", "--expires", "soon"),
        ("approve", "build/shop-2"),
        ("reject", "shop-2"),
    ],
)
def test_wrong_usage_is_exit_2_and_asks_nothing(
    upwell: Upwell, client: "FakeClient", wrong: tuple[str, ...]
) -> None:
    assert upwell(*wrong).exit_code == 2
    assert not [call for call in client.calls if call[0] == "POST"]


@pytest.mark.parametrize(
    ("stage", "bypass", "release"),
    [
        ("staging", (), "shop-2"),
        ("dev", (), "shop-2"),
        ("production", ("--bypass", "fire"), "shop-2"),
        ("production", (), ""),
    ],
)
def test_promote_of_a_pipeline_takes_the_newest_that_may_enter(
    upwell: Upwell, client: "FakeClient", stage: str, bypass: tuple[str, ...], release: str
) -> None:
    client.answers["releases/shop-2/promote"] = answer(f"shop-2.{stage}", "Waiting")

    result = upwell("promote", "pipeline/shop", "--stage", stage, *bypass)

    if release:
        assert asked(client)[0] == f"releases/{release}/promote"
    else:
        assert result.exit_code == 1
        assert "pipeline/shop waits for shop-2 to be verified in staging" in result.stderr


@pytest.mark.parametrize(("phase", "code"), [("Succeeded", 0), ("Failed", 1), ("Rejected", 1)])
async def test_a_promotion_that_is_waited_for_ends_the_command_as_it_ends(
    upwell: Upwell, client: "FakeClient", phase: str, code: int
) -> None:
    client.answers["releases/shop-2/promote"] = answer("shop-2.production", "Waiting")
    await client.put(promotion("shop-2.production", status={"phase": phase, "message": "so"}))

    result = await asyncio.to_thread(upwell, "promote", "shop-2", "--stage", "production", "--wait")

    assert result.exit_code == code
    assert f"promotion.upwell.dev/shop-2.production {phase}: so" in result.stdout


def test_a_promotion_that_does_not_end_is_exit_5(upwell: Upwell, client: "FakeClient") -> None:
    client.answers["releases/shop-2/promote"] = answer("shop-2.staging", "Waiting")

    wait = ("--wait", "--timeout", "0.05s")
    result = upwell("promote", "shop-2", "--stage", "staging", *wait)

    assert result.exit_code == 5
    assert "shop-2.staging Waiting: waits for approval" in result.stderr
    assert "promotion/shop-2.staging has not ended after 0.05 s" in result.stderr


def test_rollback_says_that_the_stage_is_held(upwell: Upwell, client: "FakeClient") -> None:
    client.answers["pipelines/shop/rollback"] = answer("shop-1.staging.2", "Waiting")

    arguments = ("--stage", "staging", "--to", "release/shop-1", "--reason", "slow")
    result = upwell("rollback", "pipeline/shop", *arguments)

    assert result.exit_code == 0
    assert "`upwell resume pipeline/shop --stage staging`" in result.stderr
    body = {"stage": "staging", "release": "shop-1", "reason": "slow"}
    assert asked(client) == ("pipelines/shop/rollback", body)


def test_verify_uploads_files_and_names_links(
    upwell: Upwell, client: "FakeClient", tmp_path: Path
) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text("<testsuite/>")
    client.answers["releases/shop-2/evidence"] = {"name": "junit.xml", "digest": "sha256:1"}
    judged = {"check": "integration", "promotion": answer("shop-2.dev", "Succeeded")}
    client.answers["releases/shop-2/verify"] = judged

    shown = ("--evidence", str(junit), "--evidence", "https://ci.test/job/7/")
    said = ("--passed", "--message", "41 of 41", "--run", "b7")
    result = upwell("verify", "shop-2", "--stage", "dev", *said, *shown)

    assert result.exit_code == 0
    assert result.stdout == "promotion.upwell.dev/shop-2.dev check integration passed\n"
    assert client.uploads == [(b"<testsuite/>", {"name": "junit.xml"})]
    assert asked(client) == (
        "releases/shop-2/verify",
        {
            "stage": "dev",
            "passed": True,
            "message": "41 of 41",
            "run": "b7",
            "evidence": [
                {"name": "junit.xml", "digest": "sha256:1"},
                {"name": "7", "url": "https://ci.test/job/7/"},
            ],
        },
    )


def test_a_failed_verdict_is_reported_and_no_failure_of_the_command(
    upwell: Upwell, client: "FakeClient"
) -> None:
    judged = {"check": "integration", "promotion": answer("shop-2.dev", "Verifying")}
    client.answers["releases/shop-2/verify"] = judged

    arguments = ("verify", "shop-2", "--stage", "dev", "--failed", "--check", "integration")
    result = upwell(*arguments, "-o", "name")

    assert (result.exit_code, result.stderr) == (0, "check integration failed\n")
    assert result.stdout == "promotion.upwell.dev/shop-2.dev\n"
    assert asked(client)[1] == {
        "stage": "dev",
        "passed": False,
        "check": "integration",
        "evidence": [],
    }


def test_verify_again_asks_the_pipeline(upwell: Upwell, client: "FakeClient") -> None:
    client.answers["pipelines/shop/verify"] = answer("shop-1.staging.2", "Waiting")

    again = ("--again", "--message", "new data")
    assert upwell("verify", "pipeline/shop", "--stage", "staging", *again).exit_code == 0
    body = {"stage": "staging", "reason": "new data"}
    assert asked(client) == ("pipelines/shop/verify", body)


@pytest.mark.parametrize(
    "named", ["shop-2", "release/shop-2", "shop-2.staging", "promotion/shop-2.staging"]
)
def test_approve_finds_what_waits(upwell: Upwell, client: "FakeClient", named: str) -> None:
    votes = [*WAITING["votes"], {"by": "bob", "approved": True, "at": "2026-03-01T12:04:00Z"}]
    client.answers[f"{STAGING}/approve"] = promotion(
        "shop-2.staging", status={**WAITING, "votes": votes}
    )

    result = upwell("approve", named, "--comment", "seen")

    assert result.stdout == "promotion.upwell.dev/shop-2.staging approved: approved by ada, bob\n"
    assert asked(client) == (f"{STAGING}/approve", {"comment": "seen"})


def test_a_vote_that_is_not_enough_says_how_many_are_missing(
    upwell: Upwell, client: "FakeClient"
) -> None:
    client.answers[f"{STAGING}/approve"] = promotion("shop-2.staging", status=WAITING)

    text = upwell("approve", "shop-2.staging").stdout

    assert text == "promotion.upwell.dev/shop-2.staging approved: approval: 1 of 2 approvals\n"


def test_approve_without_anything_that_waits_says_where_it_is(upwell: Upwell) -> None:
    ended = upwell("approve", "shop-1")
    unknown = upwell("approve", "shop-9")

    assert (ended.exit_code, unknown.exit_code) == (3, 3)
    assert "no promotion of release/shop-1 waits for approval" in ended.stderr
    assert "`upwell pipeline status shop`" in ended.stderr
    assert "no release or promotion shop-9" in unknown.stderr


async def test_approve_of_what_waits_twice_asks_for_the_stage(
    upwell: Upwell, client: "FakeClient"
) -> None:
    await client.put(promotion("shop-2.production", status=WAITING))

    result = await asyncio.to_thread(upwell, "approve", "shop-2")

    assert result.exit_code == 2
    assert "waits before stages production, staging: choose one with --stage" in result.stderr


def test_a_link_goes_to_stdout_alone(upwell: Upwell, client: "FakeClient") -> None:
    link = {"path": "/approvals/abc", "as": "ada", "expires": "2026-03-01T16:00:00Z"}
    client.answers[f"{STAGING}/links"] = link

    result = upwell("approve", "shop-2", "--link", "--as", "ada", "--expires", "4h")

    assert result.stdout == "http://127.0.0.1:7080/approvals/abc\n"
    assert "votes as ada on promotion/shop-2.staging" in result.stderr
    assert asked(client) == (f"{STAGING}/links", {"as": "ada", "expiresSeconds": 14400})


def test_reject_of_a_release_and_of_a_promotion(upwell: Upwell, client: "FakeClient") -> None:
    rejection = {"reason": "broken", "by": "ada", "at": "2026-03-01T12:04:00Z"}
    client.answers["releases/shop-2/reject"] = release(2, SHOP_OLD, OLD, rejection=rejection)
    votes = [{"by": "ada", "approved": False, "at": "2026-03-01T12:04:00Z", "comment": "no"}]
    client.answers[f"{STAGING}/reject"] = promotion(
        "shop-2.staging", status={**WAITING, "votes": votes}
    )

    everywhere = upwell("reject", "shop-2", "--reason", "broken", "--stage", "dev")
    assert everywhere.stdout == "release.upwell.dev/shop-2 rejected: broken\n"
    assert asked(client) == ("releases/shop-2/reject", {"reason": "broken", "stage": "dev"})

    one = upwell("reject", "promotion/shop-2.staging", "--reason", "no")
    assert one.stdout == "promotion.upwell.dev/shop-2.staging rejected: refused by ada: no\n"
    assert asked(client) == (f"{STAGING}/reject", {"comment": "no"})


def test_history_tells_who_did_what_why_and_how_it_ended(upwell: Upwell) -> None:
    lines = upwell("history", "shop", "-o", "wide").stdout.splitlines()
    rows = {line.split()[1]: line for line in lines[1:]}

    assert lines[0].split()[:7] == ["AGE", "STAGE", "RELEASE", "WHAT", "RESULT", "TOOK", "BY"]
    assert rows["dev"].split()[2:7] == ["shop-2", "promoted", "Succeeded", "60s", "upwell"]
    assert "integration=Passed" in rows["dev"]
    assert [line for line in lines if "emergency" in line and "no staging yet" in line]


def test_history_of_one_stage_newest_first(upwell: Upwell) -> None:
    lines = upwell("history", "pipeline/shop", "--stage", "staging").stdout.splitlines()
    limited = json.loads(upwell("history", "shop", "--limit", "1", "-o", "json").stdout)

    assert [line.split()[1:3] for line in lines[1:]] == [
        ["staging", "shop-2"],
        ["staging", "shop-1"],
    ]
    assert [one["metadata"]["name"] for one in limited["items"]] == ["shop-2.dev"]


def test_history_of_a_stage_that_is_not_there_names_those_that_are(upwell: Upwell) -> None:
    result = upwell("history", "shop", "--stage", "prod")

    assert result.exit_code == 2
    assert "has no stage 'prod'; its stages: dev, staging, production" in result.stderr


def test_wait_for_a_promotion_that_ended_otherwise_fails_at_once(upwell: Upwell) -> None:
    good = upwell("wait", "promotion/shop-2.dev", "--for=phase=Succeeded")
    bad = upwell("wait", "promotion/shop-2.dev", "--for=phase=Failed", "--timeout=0")
    verified = "jsonpath={.status.verified[*].name}=dev"

    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert "shop-2.dev has ended: Succeeded" in bad.stderr
    assert upwell("wait", "release/shop-2", f"--for={verified}").exit_code == 0


def test_wait_for_what_may_not_exist_yet(upwell: Upwell) -> None:
    there = upwell("wait", "promotion/shop-2.dev", "--for=create")
    absent = upwell("wait", "promotion/shop-9.dev", "--for=create", "--timeout=0.05s")

    assert there.stdout == "promotion.upwell.dev/shop-2.dev exists\n"
    assert absent.exit_code == 5
    assert "promotion/shop-9.dev does not exist after 0.05 s" in absent.stderr
