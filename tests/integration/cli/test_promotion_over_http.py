"""An application goes from stage to stage by commands alone, with tokens of just that role."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.support.promotion.promotion_server import PromotionServer, open_promotion_server


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[PromotionServer]:
    with open_promotion_server(tmp_path) as opened:
        opened.push(1)
        yield opened


def stages(installed: PromotionServer) -> dict[str, dict[str, Any]]:
    [pipeline] = json.loads(installed.done("jenkins", "pipeline", "status", "shop", "-o", "json"))[
        "items"
    ]
    return {stage["name"]: stage for stage in pipeline["stages"]}


def promote_to_production(installed: PromotionServer, release: str) -> None:
    """Promote a Release into production as people and a CI do."""
    installed.wait(f"{release}.dev", "Verifying")
    installed.done("jenkins", "verify", release, "--stage", "dev", "--passed")
    installed.wait(f"{release}.staging", "Waiting")
    installed.done("ada", "approve", f"{release}.staging")
    installed.wait(f"{release}.production", "Succeeded")


def test_a_release_is_tested_approved_and_promoted(
    installed: PromotionServer, tmp_path: Path
) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text("<testsuite/>")
    verdict = ("verify", "shop-1", "--stage", "dev", "--passed", "--run", "b7")
    evidence = ("--evidence", str(junit), "--evidence", "https://ci.test/7")
    installed.wait("shop-1.dev", "Verifying")

    first = installed.upwell("jenkins", *verdict, *evidence)
    installed.wait("shop-1.dev", "Succeeded")
    again = installed.upwell("jenkins", *verdict, *evidence)
    installed.wait("shop-1.staging", "Waiting")
    refused = installed.upwell("eve", "approve", "shop-1")
    early = installed.upwell("jenkins", "promote", "shop-1", "--stage", "production")
    agreed = installed.done("ada", "approve", "shop-1", "--comment", "seen in dev")
    installed.wait("shop-1.production", "Succeeded")

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert again.stdout == "promotion.upwell.dev/shop-1.dev check integration passed\n"
    assert (refused.exit_code, "eve is not an approver of stage staging" in refused.stderr) == (
        1,
        True,
    )
    assert (early.exit_code, "is not verified in staging" in early.stderr) == (1, True)
    assert agreed == "promotion.upwell.dev/shop-1.staging approved: approved by ada\n"
    assert {name: stage["release"] for name, stage in stages(installed).items()} == {
        "dev": "shop-1",
        "staging": "shop-1",
        "production": "shop-1",
    }
    described = installed.done("jenkins", "release", "describe", "shop-1")
    assert "Phase:      Promoted" in described
    assert "integration=Passed" in described
    assert len(installed.done("viewer", "history", "shop").splitlines()) == 4
    assert (
        installed.done("viewer", "evidence", "shop-1.dev", "integration/junit.xml")
        == "<testsuite/>"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("approve", "shop-1"),
        ("reject", "shop-1", "--reason", "no"),
        ("promote", "shop-1", "--stage", "production", "--bypass", "fire"),
        ("rollback", "shop", "--stage", "dev", "--reason", "no"),
        ("hold", "shop", "--stage", "dev"),
    ],
)
def test_the_token_of_a_ci_does_none_of_what_people_decide(
    installed: PromotionServer, arguments: tuple[str, ...]
) -> None:
    installed.wait("shop-1.dev", "Verifying")
    installed.done("jenkins", "verify", "shop-1", "--stage", "dev", "--passed")
    installed.wait("shop-1.staging", "Waiting")

    result = installed.upwell("jenkins", *arguments)

    assert result.exit_code == 1
    assert "needs role promoter there" in result.stderr


def test_a_rollback_holds_until_it_is_resumed_and_asking_twice_is_one(
    installed: PromotionServer,
) -> None:
    promote_to_production(installed, "shop-1")
    installed.push(2)
    promote_to_production(installed, "shop-2")
    arguments = ("rollback", "shop", "--stage", "production", "--reason", "orders are lost")

    names = {
        installed.done("ci", *arguments, "--wait", "--timeout", "20s", "-o", "name")
        for _ in range(2)
    }
    installed.wait("shop-2.production.2", "Waiting")
    held = installed.done("ci", "promote", "shop-2", "--stage", "production")

    assert names == {"promotion.upwell.dev/shop-1.production.2\n"}
    production = stages(installed)["production"]
    assert (production["release"], "orders are lost" in production["hold"]) == ("shop-1", True)
    assert "waits for a hold to be lifted: rolled back to shop-1 by ci: orders are lost" in held

    installed.done("ci", "resume", "shop", "--stage", "production")
    installed.wait("shop-2.production.2", "Succeeded")
    assert stages(installed)["production"]["release"] == "shop-2"
    what = [
        line.split()[3:5]
        for line in installed.done("ci", "history", "shop", "--stage", "production").splitlines()
    ]
    assert ["rolled", "back"] in what


def test_a_rejected_release_goes_nowhere_until_it_is_restored(installed: PromotionServer) -> None:
    installed.wait("shop-1.dev", "Verifying")
    installed.done("jenkins", "verify", "shop-1", "--stage", "dev", "--passed")
    installed.wait("shop-1.staging", "Waiting")

    installed.done("ci", "reject", "shop-1", "--reason", "checkout is broken")
    installed.wait("shop-1.staging", "Superseded")
    barred = installed.upwell("ada", "promote", "shop-1", "--stage", "staging", "--bypass", "fire")
    assert (barred.exit_code, "checkout is broken" in barred.stderr) == (1, True)

    installed.done("ci", "release", "restore", "shop-1", "--reason", "it was the database")
    installed.wait("shop-1.staging.2", "Waiting")


def test_a_failed_verdict_rejects_the_release(installed: PromotionServer) -> None:
    installed.wait("shop-1.dev", "Verifying")

    installed.done(
        "jenkins", "verify", "shop-1", "--stage", "dev", "--failed", "--message", "2 of 41 fail"
    )
    ended = installed.upwell(
        "ci", "wait", "promotion/shop-1.dev", "--for=phase=Succeeded", "--timeout=20s"
    )

    assert ended.exit_code == 1
    assert "2 of 41 fail" in ended.stderr
    assert "Rejected" in installed.done("ci", "release", "list", "shop")


def test_the_line_is_stopped_by_an_admin_and_an_emergency_passes(
    installed: PromotionServer,
) -> None:
    own = installed.upwell("ci", "freeze", "create", "--reason", "audit")
    installed.done("admin", "freeze", "create", "--reason", "payments are down")
    installed.wait("shop-1.dev", "Verifying")
    installed.done("jenkins", "verify", "shop-1", "--stage", "dev", "--passed")
    installed.wait("shop-1.staging", "Waiting")
    installed.done("ada", "approve", "shop-1")

    urgent = ("promote", "shop-1", "--stage", "production", "--bypass", "CVE-2026-1 is exploited")
    installed.done("ci", *urgent, "--wait", "--timeout", "20s")
    waits = stages(installed)["staging"]["waitsFor"]
    installed.done("admin", "freeze", "lift", "stop-the-line")
    installed.wait("shop-1.staging", "Succeeded")

    assert (own.exit_code, "needs role promoter in all namespaces" in own.stderr) == (1, True)
    assert waits == "Freeze stop-the-line by system:admin (payments are down)"
    history = installed.done("ci", "history", "shop", "--stage", "production")
    assert re.search(r"emergency +Succeeded .*CVE-2026-1 is exploited", history)


def test_a_link_is_made_by_an_admin_and_votes_without_a_token(installed: PromotionServer) -> None:
    installed.wait("shop-1.dev", "Verifying")
    installed.done("jenkins", "verify", "shop-1", "--stage", "dev", "--passed")
    installed.wait("shop-1.staging", "Waiting")
    arguments = ("approve", "shop-1", "--link", "--as", "bob")

    refused = installed.upwell("ci", *arguments)
    link = installed.done("admin", *arguments).strip()
    form = urlencode({"decision": "approve", "comment": "by link"}).encode()
    path = link.removeprefix(installed.served.api.url)
    page = installed.run(
        installed.served.api.send("POST", path, form, "application/x-www-form-urlencoded")
    )
    installed.wait("shop-1.staging", "Succeeded")

    assert (refused.exit_code, "needs role admin" in refused.stderr) == (1, True)
    assert page.status == 200
    assert "bob approved" in page.text
