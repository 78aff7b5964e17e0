"""The plan of a change among 100,000 images and 20,000 workloads, and the graph that it stands on.

Run with `pytest -m benchmark -s tests/benchmarks/test_impact_plan.py`.
"""

import asyncio
import gc
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from statistics import median
from typing import Any

import pytest
from tests.support.benchmarks.bare_work import loop_seconds
from tests.support.benchmarks.ratios import Ratios

from upwell.actions.plans import PlanActions
from upwell.api.apps import Deployment
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode_as, encode_json
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.waves.plan import ImpactPlan, ImpactPlanSpec
from upwell.cli.explain.status_tree import StatusTree
from upwell.controller import ObjectCache
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.live_graph import LiveGraph
from upwell.policy.waves.canary import CanaryRules
from upwell.policy.waves.estimate import estimate
from upwell.policy.waves.impact import PlannedChange, StepAction, impact_of, roots_of
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.waves.index import WaveIndex
from upwell.store.memory import MemoryStore

pytestmark = pytest.mark.benchmark

NOW = datetime(2026, 5, 1, tzinfo=UTC)
BASES, APPLICATIONS, WORKLOADS = 100, 99_900, 20_000
"""Each base carries as many applications; every fifth runs."""
PATH = 'spec.template.spec.containers[?(@.name=="web")].image'
TIMES = 20


def base(number: int) -> Resource:
    origin = {"kind": "DockerImage", "name": f"vendor.test/base{number}:1"}
    tag = {"name": "1", "from": origin, "importPolicy": {"scheduled": True}}
    meta = {"namespace": "bases", "name": f"base{number}"}
    return decode_as(ImageStream, {"metadata": meta, "spec": {"tags": [tag]}})


def config(number: int, named: int | None = None) -> Resource:
    from_ = {
        "kind": "ImageStreamTag",
        "namespace": "bases",
        "name": f"base{number % BASES}:1",
    }
    spec = {
        "strategy": {"dockerStrategy": {"from": from_}},
        "output": {"to": {"kind": "ImageStreamTag", "name": f"app{number}:latest"}},
        "triggers": [{"type": "ImageChange", "imageChange": {}}],
    }
    name = number if named is None else named
    meta = {"namespace": f"team{name % 1000}", "name": f"app{name}"}
    return decode_as(BuildConfig, {"metadata": meta, "spec": spec})


def workload(number: int) -> Resource:
    from_ = {"kind": "ImageStreamTag", "name": f"app{number}:latest"}
    trigger = json.dumps([{"from": from_, "fieldPath": PATH}])
    meta: dict[str, Any] = {"namespace": f"team{number % 1000}", "name": f"app{number}"}
    meta["annotations"] = {"image.openshift.io/triggers": trigger}
    containers = [{"name": "web", "image": " "}]
    spec = {"template": {"spec": {"containers": containers}}}
    return decode_as(Deployment, {"metadata": meta, "spec": spec})


def objects() -> Iterator[Resource]:
    yield from map(base, range(BASES))
    yield from map(config, range(APPLICATIONS))
    yield from map(workload, range(WORKLOADS))


def seconds(work: Callable[[], object]) -> float:
    found = []
    for _ in range(TIMES):
        gc.collect()
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return median(found)


def test_a_plan_among_a_hundred_thousand_images(ratios: Ratios) -> None:
    known = list(objects())
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    began = time.process_time()
    snapshot = Snapshot(known)
    took = time.process_time() - began
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"\ngraph of all, traced: {took:.1f} s, {(after - before) / 2**20:.0f} MiB")  # noqa: T201

    change = PlannedChange(roots_of(snapshot, "vendor.test/base7:1", "bases"))
    impact = impact_of(snapshot, change, NOW)
    assert len(impact.of(StepAction.REBUILD)) == APPLICATIONS // BASES
    one = seconds(lambda: impact_of(snapshot, change, NOW))
    timed = seconds(lambda: estimate(impact, snapshot, NOW, at_once=2))
    print(f"one base: {len(impact.steps)} steps planned in {one * 1000:.0f} ms")  # noqa: T201
    print(f"its estimate: {timed * 1000:.0f} ms")  # noqa: T201
    bare = loop_seconds()
    ratios.note_cost("plan of a base, bare loop", one / bare)
    ratios.note_cost("estimate of a plan, bare loop", timed / bare)

    roots = [
        roots_of(snapshot, f"vendor.test/base{number}:1", "bases")[0] for number in range(BASES)
    ]
    every = PlannedChange(tuple(roots))
    began = time.process_time()
    whole = impact_of(snapshot, every, NOW)
    print(f"all bases: {len(whole.steps)} steps in {time.process_time() - began:.1f} s")  # noqa: T201
    assert len(whole.of(StepAction.ROLL_OUT)) == WORKLOADS


async def test_a_plan_as_the_server_answers_it(ratios: Ratios) -> None:
    """Of one base with all that stands on it, and of three times as much that does not."""
    others = range(3)
    store = MemoryStore(lambda: NOW)
    for number in (7, *others):
        await store.create(base(number))
    for number in range(APPLICATIONS):
        if number % BASES in {7, *others}:
            await store.create(config(number))
            if number < WORKLOADS:
                await store.create(workload(number))
    cache = ObjectCache(store)
    index = WaveIndex(BuildIndex(cache))
    following = asyncio.create_task(cache.run())  # otherwise each answer lists all objects anew
    await index.ready()
    actions = PlanActions(index, lambda: NOW, CanaryRules(share=0.05))
    asked = ImpactPlan(spec=ImpactPlanSpec(image="vendor.test/base7:1"))

    async def answer() -> str:
        status = await actions.plan("bases", asked.spec, lambda _kind, _namespace: True)
        return encode_json(asked.with_status(status))

    text = await answer()  # the cache has all then
    found = []
    for _ in range(TIMES):
        gc.collect()
        began = time.process_time()
        await answer()
        found.append(time.process_time() - began)
    told = f"{median(found) * 1000:.0f} ms, at least {min(found) * 1000:.0f}"
    print(f"\nthe answer, {len(text)} bytes: {told}")  # noqa: T201
    ratios.note_cost("answer with a plan, bare loop", median(found) / loop_seconds())
    following.cancel()
    await asyncio.wait([following])


def test_the_graph_of_a_hundred_thousand_images_follows_a_change(ratios: Ratios) -> None:
    known = {item.key: item for item in objects()}
    gc.collect()
    tracemalloc.start()
    live = LiveGraph()
    began = time.process_time()
    for item in known.values():
        live.move(None, item)
    took = time.process_time() - began
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"\nall put in, traced: {took:.1f} s, {size / 2**20:.0f} MiB")  # noqa: T201
    for name, changes in (
        ("a BuildConfig on another base", [(config(n), config(n + 1, n)) for n in range(99)]),
        ("a Deployment comes and goes", [(workload(n), None) for n in range(99)]),
        ("a base of 999 goes", [(base(n), None) for n in range(9)]),
    ):
        times = []
        for before, after in changes:
            for old, new in ((before, after), (after, before)):
                began = time.process_time()
                live.move(old, new)
                times.append(time.process_time() - began)
        print(f"{name}: {median(times) * 1e6:.0f} us, at most {max(times) * 1e6:.0f}")  # noqa: T201
        turn = loop_seconds() / 1e3
        ratios.note_cost(f"graph, {name}, turns of a bare loop", median(times) / turn)


def test_status_takes_as_long_as_there_is_to_show(ratios: Ratios) -> None:
    for number in (1_000, 2_000, 4_000):
        found = [*map(base, range(20)), *map(config, range(number)), *map(workload, range(number))]
        snapshot = Snapshot(found)
        began = time.process_time()
        lines = sum(1 for _ in StatusTree(snapshot, NOW).lines())
        took = time.process_time() - began
        print(f"\n{lines} lines of status: {took:.2f} s")  # noqa: T201
        turn = loop_seconds() / 1e3
        ratios.note_cost(f"a line of status of {number}, turns of a bare loop", took / lines / turn)
