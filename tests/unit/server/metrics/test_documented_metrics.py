"""docs/access.md and docs/metrics.md say what the code does."""

import re

from tests.support.paths import ROOT
from tests.support.server.access_page import PAGE, render
from tests.support.server.api_server import Api

from upwell.server.http.limits import DEFAULT_LIMITS, MIB
from upwell.server.metrics.gauges import budget_gauges

METRICS = ROOT / "docs" / "metrics.md"
OF_THE_MACHINE = {
    "upwell_disk_free_bytes",
    "upwell_disk_used_ratio",
    "upwell_store_bytes",
    "upwell_store_watches",
    "upwell_registry_bytes",
    "upwell_registry_damaged",
}
"""Only a whole server has them; tests/integration/server/test_access_real_clients.py looks."""
OF_A_REPLICA = {"upwell_leader"}
"""Only a server on a cluster has them."""


def test_the_table_of_roles_is_the_policy() -> None:
    assert render(PAGE.read_text()) == PAGE.read_text()


def test_the_limits_are_the_defaults() -> None:
    page = PAGE.read_text()
    limits = DEFAULT_LIMITS
    for text in (
        f"{limits.body_bytes // 1024 // 1024} MiB, {limits.body_seconds:g} s",
        f"{limits.requests_per_second:g} a second, {limits.requests_burst} at once",
        f"{limits.anonymous_per_second:g} a second, {limits.anonymous_burst} at once",
        f"{limits.watches_per_client} of one client, {limits.watches} of all",
        f"{limits.watches_per_namespace} in one namespace",
        f"{limits.bodies.per_client // MIB} MiB of a client",
        f"{limits.bodies.total // MIB} MiB of all",
        f"{limits.transfers.per_client} of a client, {limits.transfers.total} of all",
        f"{limits.transfers.waiting_per_client} of a client, {limits.transfers.seconds:g} s",
        f"{limits.objects_per_namespace:,} in a namespace, {limits.objects:,} in all",
    ):
        assert text in page


async def test_every_metric_is_described_and_every_description_is_of_one(api: Api) -> None:
    described = set(re.findall(r"^\| `(upwell_\w+)`", METRICS.read_text(), re.MULTILINE))
    await api.get("/apis")
    text = (await api.get("/metrics")).text
    exposed = {
        name.removesuffix("_created")
        for name in re.findall(r"^# TYPE (upwell_\w+)", text, re.MULTILINE)
        if not name.endswith("_created")
    }
    exposed |= {family.name for family in budget_gauges({})}
    assert described == exposed | OF_THE_MACHINE | OF_A_REPLICA
