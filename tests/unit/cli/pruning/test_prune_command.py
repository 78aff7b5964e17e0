"""`upwell prune`: a dry run first, sizes a person can read, the largest first, a total."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from upwell.api.meta import Resource
from upwell.api.requests.prune import KeptImage, Prune, PrunedItem, PruneStatus
from upwell.cli.pruning.prune import format_bytes

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

DIGEST = f"sha256:{'a' * 64}"
STATUS = PruneStatus(
    items=(
        PrunedItem(
            what="image", name=f"shop/web@{DIGEST}", reason="nothing names it", bytes=3 << 20
        ),
        PrunedItem(what="Image", name=DIGEST),
    ),
    kept=(KeptImage(image=f"shop/web@sha256:{'b' * 64}", reason="instance web-1 runs it"),),
    bytes=3 << 20,
)


@pytest.fixture
def asked(client: "FakeClient", monkeypatch: pytest.MonkeyPatch) -> list[Prune]:
    """Play the server; return what it was asked."""
    requests: list[Prune] = []

    async def request(asked: Resource, seconds: float) -> Resource:
        assert isinstance(asked, Prune)
        assert seconds >= 600, "one run may remove 500 items of each kind"
        requests.append(asked)
        return asked.with_status(STATUS)

    monkeypatch.setattr(client, "request", request)
    return requests


def test_it_lists_what_would_go_and_how_to_remove_it(upwell: Upwell, asked: list[Prune]) -> None:
    result = upwell("prune")

    assert result.stdout.splitlines() == [
        "SIZE      WHAT    NAME                    WHY",
        "3.0 MiB   image   shop/web@aaaaaaaaaaaa   nothing names it",
        "-         Image   aaaaaaaaaaaa",
        "",
        "2 items would be removed, 3.0 MiB",
    ]
    assert "add --confirm" in result.stderr
    assert not asked[0].spec.confirm


def test_confirmed_with_rules_of_ones_own(upwell: Upwell, asked: list[Prune]) -> None:
    result = upwell(
        "prune", "--confirm", "--keep-tag-revisions", "1", "--keep-younger-than", "2h", "-o", "json"
    )

    spec = asked[0].spec
    assert (spec.confirm, spec.keep_tag_revisions, spec.keep_younger_than_seconds) == (
        True,
        1,
        7200,
    )
    assert json.loads(result.stdout)["status"]["items"][0]["name"] == f"shop/web@{DIGEST}"


@pytest.mark.usefixtures("asked")
def test_what_stays_is_listed_with_its_reason(upwell: Upwell) -> None:
    assert "shop/web@bbbbbbbbbbbb   instance web-1 runs it" in upwell("prune", "--kept").stdout


@pytest.mark.usefixtures("asked")
def test_both_at_once_is_wrong_usage(upwell: Upwell) -> None:
    assert upwell("prune", "--confirm", "--dry-run").exit_code == 2


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 << 30, "5.0 GiB"),
        (5 << 40, "5120.0 GiB"),
    ],
)
def test_bytes_are_written_for_people(count: int, text: str) -> None:
    assert format_bytes(count) == text
