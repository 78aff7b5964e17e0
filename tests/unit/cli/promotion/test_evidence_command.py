"""evidence: what checks have left, listed and printed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.support.promotion.pipeline_objects import PASSED, promotion

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

E2E = {
    "name": "e2e",
    "phase": "Failed",
    "evidence": [
        {"name": "log.txt", "digest": "sha256:2", "size": 2048},
        {"name": "attempt-2/log.txt", "digest": "sha256:3", "size": 5},
    ],
}


@pytest.fixture(autouse=True)
async def _promotions(client: "FakeClient") -> None:
    await client.put(promotion("shop-2.dev", status={"phase": "Failed", "checks": [PASSED, E2E]}))
    await client.put(promotion("shop-3.dev", status={"phase": "Verifying"}))


def test_all_of_it_is_listed(upwell: Upwell) -> None:
    assert upwell("evidence", "shop-2.dev").stdout.splitlines() == [
        "EVIDENCE                SIZE      LINK",
        "integration/junit.xml   0 B       -",
        "integration/7           -         https://ci/7",
        "e2e/log.txt             2.0 KiB   -",
        "e2e/attempt-2/log.txt   5 B       -",
    ]
    nothing = upwell("evidence", "promotion/shop-3.dev")
    assert "no evidence of" in nothing.stderr


def test_a_piece_is_printed_as_it_is(upwell: Upwell, client: "FakeClient") -> None:
    client.logs["shop-2.dev"] = b"one\n\xff"
    printed = upwell("evidence", "shop-2.dev", "e2e/attempt-2/log.txt")
    assert printed.stdout_bytes == b"one\n\xff"
    place = "promotions/shop-2.dev/evidence"
    assert client.calls[-1] == ("STREAM", place, {"digest": "sha256:3"})
    assert upwell("evidence", "shop-2.dev", "integration/7").stdout == "https://ci/7\n"


def test_what_is_not_there_is_exit_3(upwell: Upwell) -> None:
    unknown = upwell("evidence", "shop-2.dev", "log.txt")
    assert unknown.exit_code == 3
    assert "has no evidence 'log.txt'; it has: integration/junit.xml" in unknown.stderr
    assert upwell("evidence", "shop-9.dev").exit_code == 3
    assert upwell("evidence", "release/shop-2").exit_code == 2
