"""Gauges of the state: how much work asking for them is."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.metrics_core import Metric

from upwell.api.builds.build import (
    BUILD_CONFIG_LABEL,
    BUILD_NUMBER_ANNOTATION,
    Build,
    BuildPhase,
    BuildStatus,
)
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.networking.network_policy import NetworkPolicy
from upwell.policy.builds import backlog
from upwell.policy.builds.run_policy import number_of
from upwell.policy.explain import freshness
from upwell.server.metrics.gauges import StateGauges
from upwell.store.interface import (
    EVERYTHING,
    Listing,
    Selector,
    StoreError,
    UnavailableError,
)
from upwell.store.kubernetes_errors import KindNotServedError, StoreForbiddenError
from upwell.store.memory import MemoryStore

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
MANY = 2000


def build(number: int) -> Build:
    return Build(
        metadata=ObjectMeta(
            namespace="shop",
            name=f"app-{number}",
            labels={BUILD_CONFIG_LABEL: f"app{number % 7}"},
            annotations={BUILD_NUMBER_ANNOTATION: str(number)},
        ),
        status=BuildStatus(
            phase=BuildPhase.COMPLETE,
            start_timestamp=NOW - timedelta(minutes=1),
            completion_timestamp=NOW,
        ),
    )


def value_of(gauges: Sequence[Metric], name: str, **labels: str) -> float:
    return next(
        sample.value
        for family in gauges
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    )


async def test_builds_are_looked_at_once_for_all_who_ask_until_something_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0

    def counted(one: Build) -> int:
        nonlocal looks
        looks += 1
        return number_of(one)

    monkeypatch.setattr(backlog, "number_of", counted)
    monkeypatch.setattr(freshness, "number_of", counted)
    store = MemoryStore(lambda: NOW)
    for number in range(MANY):
        made = await store.create(build(number))
        await store.update_status(made.with_status(build(number).status))
    gauges = StateGauges(store, lambda: NOW)

    together = await asyncio.gather(*(gauges() for _ in range(20)))
    for _ in range(20):
        again = await gauges()
    assert looks <= 2 * MANY
    assert {value_of(one, "upwell_builds", phase="Complete") for one in together} == {MANY}
    assert value_of(again, "upwell_objects", kind="Build") == MANY

    await store.create(build(MANY))
    assert value_of(await gauges(), "upwell_objects", kind="Build") == MANY + 1
    assert looks <= 4 * MANY + 2


class PartOfACluster(MemoryStore):
    """A cluster that does not list one kind, for now."""

    fault: StoreError | None = None

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        if kind is NetworkPolicy and self.fault is not None:
            raise self.fault
        return await super().list(kind, selector)


@pytest.mark.parametrize(
    "fault",
    [
        StoreForbiddenError("networkpolicies is forbidden"),
        KindNotServedError(NetworkPolicy.KIND),
    ],
)
async def test_kinds_that_the_server_may_not_list_or_does_not_serve_are_left_out(
    fault: StoreError,
) -> None:
    store = PartOfACluster(lambda: NOW)
    store.fault = fault
    await store.create(build(1))

    found = await StateGauges(store, lambda: NOW)()

    assert value_of(found, "upwell_objects", kind="Build") == 1
    kinds = {one.labels.get("kind") for family in found for one in family.samples}
    assert "NetworkPolicy" not in kinds


@pytest.mark.parametrize("fault", [UnavailableError("no answer"), StoreError("it is not JSON")])
async def test_there_are_none_while_the_store_does_not_answer(fault: StoreError) -> None:
    store = PartOfACluster(lambda: NOW)
    await store.create(build(1))
    gauges = StateGauges(store, lambda: NOW)
    store.fault = fault
    away = await gauges()
    store.fault = None

    assert away == ()
    assert value_of(await gauges(), "upwell_objects", kind="Build") == 1
