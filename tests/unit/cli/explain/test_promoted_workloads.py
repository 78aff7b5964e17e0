"""status and explain where a Pipeline sets the images of workloads."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.promotion.pipeline_objects import put_promoted
from tests.unit.cli.conftest import SHOP_NEW, deployment

from upwell.api.builds.build import Build
from upwell.api.networking.ingress import Ingress
from upwell.api.promotion import Promotion, Rejection, Release, ReleasePhase
from upwell.policy.rollouts.image_ownership import PROMOTED_ANNOTATION
from upwell.store.kubernetes_errors import StoreForbiddenError

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

PROMOTION = "shop-1.staging"
STAGE = "stage staging of pipeline default/shop"
DEV = "stage dev of pipeline default/shop"

type Upwell = Callable[..., "Result"]


@pytest.fixture(autouse=True)
async def _objects(fixed: "FakeClient") -> None:
    await put_promoted(fixed)


def test_explain_goes_from_what_runs_to_the_base_image(upwell: Upwell) -> None:
    lines = upwell("explain", "deploy/shop", "--packages=none").stdout.splitlines()

    texts = [line.split(" (2026")[0] for line in lines]
    assert [line.strip() for line in texts[2:8]] == [
        f"container web runs cccccccccccc, component web of release shop-1 in {STAGE}",
        "release shop-1 was made: the first images",
        f"promotion {PROMOTION} brought it into stage staging, Succeeded; ci asked for it: first",
        "emergency, past order, approval and windows: no staging yet",
        "ada approved it: go",
        "build shop-1 made cccccccccccc",
    ]
    assert "  behind by 1: approval: 1 of 2 approvals" in texts


def test_explain_a_promotion_says_what_it_waits_for_and_where_its_release_is_from(
    upwell: Upwell,
) -> None:
    lines = upwell("explain", "promotion/shop-2.staging", "--packages=none").stdout.splitlines()

    texts = [line.split(" (2026")[0].strip() for line in lines]
    assert texts[1:6] == [
        f"it brings shop-2 into {STAGE}: Waiting; by itself",
        "ada approved it: go",
        "release shop-2 was made: web: new base default/debian:11",
        "component web is dddddddddddd",
        "build shop-2 made dddddddddddd",
    ]
    assert texts[-2:] == [
        "waits for approval: 1 of 2 approvals",
        "see `upwell pipeline status shop`",
    ]


def test_explain_a_promotion_that_has_succeeded(upwell: Upwell) -> None:
    text = upwell("explain", f"promotion/{PROMOTION}").stdout
    assert f"it brings shop-1 into {STAGE}: Succeeded; ci asked for it: first" in text
    assert "emergency, past order, approval and windows: no staging yet" in text
    assert "nothing is due: it has succeeded" in text


def test_explain_a_release_says_where_it_is_from_and_where_each_promotion_stands(
    upwell: Upwell,
) -> None:
    lines = upwell("explain", "release/shop-2", "--packages=none").stdout.splitlines()

    texts = [line.split(" (2026")[0].strip() for line in lines]
    assert texts[0] == "release.upwell.dev/shop-2"
    assert texts[1:4] == [
        "release shop-2 was made: web: new base default/debian:11",
        "component web is dddddddddddd",
        "build shop-2 made dddddddddddd",
    ]
    assert texts[-7:] == [
        f"promotion shop-2.staging brings shop-2 into {STAGE}: Waiting; by itself",
        "ada approved it: go",
        "waits for approval: 1 of 2 approvals",
        f"promotion shop-2.dev brings shop-2 into {DEV}: Succeeded; by itself",
        texts[-3],
        "it is Waiting: staging: approval",
        "see `upwell pipeline status shop`",
    ]
    assert texts[-3].startswith("check integration Passed")


async def test_explain_a_rejected_release_that_nothing_promotes(
    upwell: Upwell, client: "FakeClient"
) -> None:
    found = await client.get(Release, "default", "shop-2")
    rejection = Rejection(reason="a check failed", by="ada", at=datetime.now(UTC))
    status = found.status.model_copy(
        update={"phase": ReleasePhase.REJECTED, "rejection": rejection, "message": "a check failed"}
    )
    await client.update_status(found.with_status(status))
    for stage in ("dev", "staging"):
        await client.delete(Promotion, "default", f"shop-2.{stage}")
    text = (await asyncio.to_thread(upwell, "explain", "rel/shop-2")).stdout
    assert "it is rejected by ada: a check failed" in text
    assert "  it is Rejected: a check failed" in text
    assert "nothing has promoted it yet; see `upwell pipeline status shop`" in text


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("wave/w-1", "`upwell wave describe w-1` tells of it"),
        ("freeze/stop", "`upwell describe freeze/stop` tells of it"),
        ("subscription/ci", "`upwell describe subscription/ci` tells of it"),
        ("template/app", "`upwell describe template/app` tells of it"),
    ],
)
def test_a_kind_that_is_not_explained_has_a_command_that_tells(
    upwell: Upwell, asked: str, told: str
) -> None:
    refused = upwell("explain", asked)
    assert refused.exit_code == 2
    assert told in " ".join(refused.stderr.split())


async def test_explain_a_promotion_whose_release_is_gone(
    upwell: Upwell, client: "FakeClient"
) -> None:
    await client.delete(Release, "default", "shop-1")
    text = (await asyncio.to_thread(upwell, "explain", f"promotion/{PROMOTION}")).stdout
    assert "the record of release shop-1 is gone" in text


async def test_a_build_that_is_gone_leaves_what_its_release_remembers(
    upwell: Upwell, client: "FakeClient"
) -> None:
    for item in (await client.list(Build)).items:
        await client.delete(Build, "default", item.name)

    text = (await asyncio.to_thread(upwell, "explain", "deploy/shop")).stdout

    assert "build default/shop-1 made it (its record is gone)" in text
    assert "commit 111111111111" in text
    assert "it is based on default/debian:11, aaaaaaaaaaaa" in text


def test_status_names_the_stage_and_what_it_waits_for(upwell: Upwell) -> None:
    [line] = [
        one for one in upwell("status").stdout.splitlines() if "Deployment default/shop" in one
    ]

    assert "shop-1 in stage staging of pipeline default/shop" in line
    assert "behind by 1: approval: 1 of 2 approvals" in line


async def test_status_shows_the_hold_of_the_stage(upwell: Upwell, client: "FakeClient") -> None:
    production = deployment((1, "Complete", SHOP_NEW))
    production["metadata"] = {"name": "shop-production", "namespace": "default"}
    await client.put(production)

    data = json.loads((await asyncio.to_thread(upwell, "status", "-o", "json")).stdout)

    [node] = [one for one in data["nodes"] if one["name"].endswith("shop-production")]
    assert "on hold: audit" in node["state"]
    assert node["inputs"] == [{"name": "default/shop:latest", "role": "promote", "automatic": True}]


async def test_who_sees_one_namespace_is_told_about_that(
    upwell: Upwell, client: "FakeClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = client.list
    elsewhere = deployment((1, "Complete", SHOP_NEW))
    note = json.dumps({"pipeline": "ci/fleet", "stage": "production", "containers": ["web"]})
    annotations = {PROMOTED_ANNOTATION: note}
    elsewhere["metadata"] = {"name": "fleet", "namespace": "default", "annotations": annotations}
    await client.put(elsewhere)

    async def list_own(kind: Any, *where: Any) -> Any:
        if kind.KIND.namespaced and (not where or not where[0].namespace):
            raise StoreForbiddenError("token ci may not list builds in all namespaces")
        return await listing(kind, *where)

    monkeypatch.setattr(client, "list", list_own)

    explained = await asyncio.to_thread(upwell, "explain", "deploy/shop")
    own = await asyncio.to_thread(upwell, "status")
    everything = await asyncio.to_thread(upwell, "status", "-A")

    assert "release shop-1 was made" in explained.stdout
    assert "showing namespace default only" in explained.stderr
    [fleet] = [line for line in own.stdout.splitlines() if "Deployment default/fleet" in line]
    why = "stage production of pipeline ci/fleet sets its images, and your token cannot read it"
    assert fleet.endswith(f"unknown: {why}")
    assert (everything.exit_code, "may not list builds" in everything.stderr) == (1, True)


async def test_what_the_server_may_not_read_is_not_said_to_be_the_tokens(
    upwell: Upwell, client: "FakeClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = client.list
    why = 'User "system:serviceaccount:upwell:upwell" cannot list resource "ingresses"'

    async def list_others(kind: Any, *where: Any) -> Any:
        if kind is Ingress:
            raise StoreForbiddenError(why)
        return await listing(kind, *where)

    monkeypatch.setattr(client, "list", list_others)

    refused = await asyncio.to_thread(upwell, "status")

    assert why in refused.stderr
    assert "your token" not in refused.stderr


def test_describe_shows_where_a_promotion_stands(upwell: Upwell) -> None:
    text = upwell("describe", "promotion/shop-2.staging").stdout

    rows = [line.split(maxsplit=1) for line in text.splitlines()]
    assert ["phase:", "Waiting"] in rows
    assert ["votes[0].comment:", "go"] in rows
