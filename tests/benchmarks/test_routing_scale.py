"""Cost of one computation of the routing table, by the number of Services.

Run with `pytest -m benchmark -s tests/benchmarks/test_routing_scale.py`.
"""

import time
from datetime import UTC, datetime
from statistics import median

import pytest
from tests.support.benchmarks.bare_work import loop_seconds
from tests.support.benchmarks.ratios import Ratios

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.policy.routing.table import RoutingState, compute
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

pytestmark = pytest.mark.benchmark

FEW, MANY = 1000, 10_000
TIMES = 7
STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def _service(name: str) -> Service:
    selector = {"tier": "front", "app": name}
    spec = {"clusterIP": "10.0.0.1", "selector": selector, "ports": [{"port": 80}]}
    return decode_as(Service, {"metadata": {"namespace": "shop", "name": name}, "spec": spec})


def _deployment(name: str) -> Deployment:
    labels = {"app": name, "tier": "front"}
    pod = {"containers": [{"name": "web", "image": "registry.test/web"}]}
    spec = {"template": {"metadata": {"labels": labels}, "spec": pod}}
    return decode_as(Deployment, {"metadata": {"namespace": "shop", "name": name}, "spec": spec})


def _instance(name: str) -> Instance:
    return Instance(
        name=f"{name}-0",
        owner=Owner("Deployment", "shop", name),
        revision="first",
        state=State.RUNNING,
        ready=True,
        ready_since=STARTED,
        started_at=STARTED,
        address="10.1.0.1",
        images={},
    )


def _cost(count: int) -> float:
    """Return the median of the processor's seconds for each Service, all in one namespace."""
    names = [f"app{number}" for number in range(count)]
    workloads = {one.key: one for one in map(_deployment, names)}
    services, instances = [*map(_service, names)], [*map(_instance, names)]
    state = RoutingState(services, [], workloads, instances, STARTED)
    taken = []
    for _ in range(TIMES):
        started = time.process_time()
        routing = compute(state)
        taken.append(time.process_time() - started)
        assert sum(len(one.endpoints) for one in routing.table.backends) == count
    return median(taken) / count


def test_a_service_costs_the_same_among_many(ratios: Ratios) -> None:
    few, many = _cost(FEW), _cost(MANY)
    print(  # noqa: T201
        f"\none table: {1e6 * few:.0f} us for each of {FEW} Services,"
        f" {1e6 * many:.0f} us for each of {MANY}: ratio {many / few:.2f}"
    )
    ratios.note_cost("routing table, a Service among 10,000 and among 1,000", many / few)
    ratios.note_cost("routing table, a thousand Services, bare loop", 1000 * few / loop_seconds())
    assert many / few < 5, "a table must grow with the Services, not with their square"
