"""Services of a Route in the table of `get`: each with its part, as OpenShift prints them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from upwell.api.codec import decode_as
from upwell.api.route import Route
from upwell.formats.table_cells import cells

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def service(name: str, weight: int) -> dict[str, Any]:
    return {"kind": "Service", "name": name, "weight": weight}


@pytest.mark.parametrize(
    ("backends", "shown"),
    [
        ([service("a", 100)], "a"),
        ([{"kind": "Service", "name": "a"}], "a"),
        ([service("a", 0)], "a(0%)"),
        ([service("a", 100), service("b", 50), service("c", 0)], "a(66%),b(33%),c(0%)"),
        ([service("a", 0), service("b", 0)], "a(0%),b(0%)"),
    ],
)
def test_each_service_has_its_part_of_the_requests(
    backends: list[dict[str, Any]], shown: str
) -> None:
    to, *others = backends
    route = decode_as(
        Route,
        {
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"to": to, "alternateBackends": others},
        },
    )
    titles = [one.title for one in Route.KIND.columns]

    assert cells(route, Route.KIND.columns, NOW)[titles.index("SERVICES")] == shown
