"""`upwell pipeline status`: the picture of a Pipeline, and its data."""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.promotion.pipeline_objects import of, promotion, put_promoted

from upwell.api.pipeline import Freeze
from upwell.store.kubernetes_errors import StoreForbiddenError

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

FREEZE = of(
    "Freeze",
    "line",
    spec={"reason": "payments are down", "by": "ada", "end": "2026-03-02T18:05:00Z"},
)


@pytest.fixture(autouse=True)
async def _objects(fixed: "FakeClient") -> None:
    await put_promoted(fixed)


def test_stages_are_columns_and_what_waits_says_for_what_and_until_when(upwell: Upwell) -> None:
    result = upwell("pipeline", "status")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "pipeline/shop in namespace default",
        "  STAGE     dev        staging          production",
        "  SERVES    shop-2     shop-1           -",
        "  FOR       4m         60m              -",
        "  VERDICT   verified   verified         -",
        "  NEXT      -          shop-2 Waiting   held",
        "",
        "  staging waits for approval: 1 of 2 approvals (for 120m more)",
        (
            "  production is held: audit; `upwell resume pipeline/shop --stage production`"
            " lifts the hold"
        ),
    ]


def test_wide_adds_images_checks_and_who_approved(upwell: Upwell) -> None:
    rows = {
        line.split("  ")[1]: line.split()
        for line in upwell("pipeline", "status", "pipeline/shop", "-o", "wide").stdout.splitlines()
        if line.startswith("  ")
    }

    assert rows["IMAGES"][1:] == ["web=dddddddddddd", "web=cccccccccccc", "-"]
    assert rows["CHECKS"][1:] == ["integration=Passed(flaky)", "-", "-"]
    assert rows["APPROVED BY"][2:] == ["-", "ada", "-"]


async def test_a_freeze_is_told_once_for_all_stages(upwell: Upwell, client: "FakeClient") -> None:
    await client.put(FREEZE)

    lines = (await asyncio.to_thread(upwell, "pipeline", "status")).stdout.splitlines()

    [line] = [line.strip() for line in lines if "Freeze" in line]
    assert line == (
        "dev, staging, production: what comes next waits for Freeze line by ada"
        " (payments are down) (until 2026-03-02 18:05 UTC, for 30h more)"
    )


async def test_who_may_not_see_freezes_sees_the_rest(
    upwell: Upwell, client: "FakeClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = client.list

    async def list_own(kind: Any, *where: Any) -> Any:
        if kind is Freeze:
            raise StoreForbiddenError("token ci may not list freezes in all namespaces")
        return await listing(kind, *where)

    await client.put(FREEZE)
    monkeypatch.setattr(client, "list", list_own)

    result = await asyncio.to_thread(upwell, "pipeline", "status")

    assert (result.exit_code, "Freeze" in result.stdout) == (0, False)
    assert "staging waits for" in result.stdout


async def test_what_is_under_way_says_how_far_it_is(upwell: Upwell, client: "FakeClient") -> None:
    status = {
        "phase": "Verifying",
        "started": "2026-03-01T12:03:00Z",
        "checks": [{"name": "smoke", "phase": "Running"}],
    }
    await client.put_again(promotion("shop-2.staging", status=status))

    shown = (await asyncio.to_thread(upwell, "pipeline", "status")).stdout

    assert "shop-2 Verifying" in shown
    assert "  staging: approval: 1 of 2 approvals" in shown


def test_the_data_has_every_fact_of_a_stage(upwell: Upwell) -> None:
    [pipeline] = json.loads(upwell("pipeline", "status", "-o", "json").stdout)["items"]

    assert (pipeline["pipeline"], pipeline["latestRelease"]) == ("shop", "shop-2")
    dev, staging, production = pipeline["stages"]
    assert (dev["release"], dev["verified"], dev["promotion"]) == ("shop-2", True, None)
    assert staging["waitsFor"] == "approval: 1 of 2 approvals"
    assert staging["until"] == "2026-03-01T14:05:00Z"
    assert (staging["phase"], staging["candidate"]) == ("Waiting", "shop-2")
    assert (production["release"], production["hold"]) == (None, "audit")


def test_a_pipeline_that_is_not_there_is_exit_3(upwell: Upwell) -> None:
    result = upwell("pipeline", "status", "bank")

    assert result.exit_code == 3
    assert "pipeline/bank does not exist; `upwell pipeline status -A`" in result.stderr


def test_no_pipeline_at_all_says_how_to_make_one(upwell: Upwell) -> None:
    result = upwell("pipeline", "status", "-n", "empty")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "no pipelines in namespace empty; `upwell new-app --stages`" in result.stderr


def test_get_shows_stages_holds_and_checks(upwell: Upwell) -> None:
    pipelines = upwell("get", "pipelines").stdout.splitlines()
    promotions = upwell("get", "promo", "-o", "wide").stdout

    assert pipelines[1].split()[:4] == [
        "shop",
        "dev=shop-2,staging=shop-1,production=-",
        "shop-2",
        "production",
    ]
    assert "integration=Passed" in promotions
    assert "waits for approval" in promotions
