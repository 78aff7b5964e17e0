"""`upwell release`: what Releases are made of, how far they got, and what differs."""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.support.promotion.pipeline_objects import put_promoted, release
from tests.unit.cli.conftest import NEW, OLD, SHOP_NEW, SHOP_OLD, build

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

MADE = f"sha256:{'e' * 64}"

type Upwell = Callable[..., "Result"]


@pytest.fixture(autouse=True)
async def _objects(fixed: "FakeClient") -> None:
    await put_promoted(fixed)
    for digest, version in ((SHOP_OLD, "2.36-9"), (SHOP_NEW, "2.36-9+deb12u1")):
        packages = [{"name": "libc6", "version": version}, {"name": "tzdata", "version": "1"}]
        fixed.answers[f"images/{digest}/packages"] = {"packages": packages}


def test_list_shows_the_newest_first_and_how_far_each_is(upwell: Upwell) -> None:
    lines = upwell("release", "list", "shop", "-o", "wide").stdout.splitlines()

    assert lines[0].split() == ["RELEASE", "PHASE", "VERIFIED", "IN", "AGE", "CAUSE", "MESSAGE"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["shop-2", "Waiting", "dev"],
        ["shop-1", "Promoted", "staging"],
    ]
    assert upwell("release", "list", "-o", "name").stdout.split() == [
        "release.upwell.dev/shop-2",
        "release.upwell.dev/shop-1",
    ]


def test_an_empty_list_says_so(upwell: Upwell) -> None:
    result = upwell("release", "list", "bank")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "no releases in namespace default" in result.stderr


def test_describe_tells_components_and_promotions(upwell: Upwell) -> None:
    text = upwell("release", "describe", "release/shop-2").stdout

    assert "Cause:      web: new base default/debian:11" in text
    assert "Phase:      Waiting: staging: approval" in text
    web = next(line for line in text.splitlines() if line.startswith("  web "))
    assert web.split() == [
        "web",
        "dddddddddddd",
        "default/shop-2",
        "222222222222",
        "default/debian:11@bbbbbbbbbbbb",
    ]
    moves = {tuple(line.split()[:3]) for line in text.splitlines() if "shop-2." in line}
    assert moves == {
        ("dev", "shop-2.dev", "Succeeded"),
        ("staging", "shop-2.staging", "Waiting"),
    }


def test_describe_as_json_has_the_promotions(upwell: Upwell) -> None:
    data = json.loads(upwell("release", "describe", "shop-2", "-o", "json").stdout)

    assert data["release"]["metadata"]["name"] == "shop-2"
    assert [one["metadata"]["name"] for one in data["promotions"]] == [
        "shop-2.dev",
        "shop-2.staging",
    ]


def test_diff_tells_bases_commits_and_packages(upwell: Upwell) -> None:
    assert upwell("release", "diff", "shop-1", "shop-2").stdout.splitlines() == [
        "release.upwell.dev/shop-1 -> release.upwell.dev/shop-2",
        "  web: cccccccccccc -> dddddddddddd",
        "    base default/debian:11: aaaaaaaaaaaa -> bbbbbbbbbbbb",
        "    commit 0123456789ab sell more",
        "    libc6 2.36-9 -> 2.36-9+deb12u1",
    ]


def test_diff_as_json(upwell: Upwell) -> None:
    data = json.loads(upwell("release", "diff", "shop-1", "shop-2", "-o", "json").stdout)

    [web] = data["components"]
    assert (data["old"], data["new"], web["name"]) == ("shop-1", "shop-2", "web")
    assert web["bases"] == [{"image": "default/debian:11", "old": OLD, "new": NEW}]
    assert web["packages"] == [{"name": "libc6", "old": "2.36-9", "new": "2.36-9+deb12u1"}]
    assert [commit["subject"] for commit in web["commits"]] == ["sell more"]


async def test_diff_tells_components_that_come_go_and_stay(
    upwell: Upwell, client: "FakeClient"
) -> None:
    third = release(3, SHOP_NEW, NEW)
    same = third["spec"]["components"][0] | {"revision": "2" * 40}
    worker = same | {"name": "worker", "build": ""}
    third["spec"]["components"] = [same, worker]
    await client.put(third)

    forth = (await asyncio.to_thread(upwell, "release", "diff", "shop-2", "shop-3")).stdout
    back = (await asyncio.to_thread(upwell, "release", "diff", "shop-3", "shop-2")).stdout

    assert forth.splitlines()[1:] == [
        "  web: the same, dddddddddddd",
        "  worker: new, dddddddddddd",
    ]
    assert back.splitlines()[-1] == "  worker: removed"


def test_packages_that_are_not_known_are_no_reason_to_tell_nothing(
    upwell: Upwell, client: "FakeClient"
) -> None:
    client.answers.clear()

    text = upwell("release", "diff", "shop-1", "shop-2").stdout

    assert "    cannot compare packages: those of an image are unknown" in text
    assert "    commit 0123456789ab sell more" in text


def test_the_release_of_a_build(upwell: Upwell) -> None:
    assert upwell("release", "of", "build/shop-2").stdout == "shop-2\n"


async def test_a_release_that_does_not_come_is_exit_5(upwell: Upwell, client: "FakeClient") -> None:
    await client.put(build(9, "Complete", NEW, MADE))
    wanted = ("release", "of", "build/shop-9", "--timeout", "0.05s")

    result = await asyncio.to_thread(upwell, *wanted)

    assert result.exit_code == 5, result.stderr
    assert "no release has the image of build/shop-9 after 0.05 s" in result.stderr


def test_restore_sends_the_reason(upwell: Upwell, client: "FakeClient") -> None:
    client.answers["releases/shop-1/restore"] = release(1, SHOP_OLD, OLD)

    result = upwell("release", "restore", "shop-1", "--reason", "the test was wrong")

    assert result.stdout == "release.upwell.dev/shop-1 restored\n"
    assert client.calls[-1] == (
        "POST",
        "releases/shop-1/restore",
        {"reason": "the test was wrong"},
    )
    assert upwell("release", "restore", "shop-1").exit_code == 2
