"""Stores under test: in memory, in a file, behind our own server, behind Kubernetes' own.

One difference is allowed: Kubernetes deletes what an object owned a while after the object
(`Port.settles_at_once`).
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from upwell.api.meta import Condition, ObjectMeta, ObjectReference
from upwell.api.pipeline import (
    ComponentSource,
    Pipeline,
    PipelineSpec,
    PipelineStatus,
    Stage,
    StageWorkloads,
)
from upwell.store.interface import EVERYTHING, Selector, Store, WatchEvent

NAMESPACE = "shop"
SOON = 60.0


@dataclass(frozen=True)
class Port:
    """A store under test."""

    store: Store
    settles_at_once: bool


_UNNAMED = itertools.count()


def now() -> datetime:
    return datetime.now(UTC)


def pipeline(name: str, *stages: str, **metadata: object) -> Pipeline:
    """Return one that our server takes, beside any other: no two name one workload."""
    source = ObjectReference(kind="ImageStreamTag", name="web:latest")
    runs = (StageWorkloads(kind="Deployment", name=f"web-{name or next(_UNNAMED)}"),)
    return Pipeline(
        metadata=ObjectMeta.model_validate({"name": name, "namespace": NAMESPACE, **metadata}),
        spec=PipelineSpec(
            components=(ComponentSource(name="web", from_=source),),
            stages=tuple(Stage(name=stage, workloads=runs) for stage in stages or ("dev",)),
        ),
    )


def ready(status: str) -> PipelineStatus:
    return PipelineStatus(conditions=(Condition(type="Ready", status=status),))


@asynccontextmanager
async def watching(
    store: Store, selector: Selector = EVERYTHING, *, since: str = ""
) -> AsyncIterator[AsyncIterator[WatchEvent[Pipeline]]]:
    events = store.watch(Pipeline, selector, since=since)
    async with asyncio.timeout(SOON), aclosing(events) as open_events:
        yield open_events


async def take(events: AsyncIterator[WatchEvent[Pipeline]], count: int) -> list[tuple[str, str]]:
    taken = []
    for _ in range(count):
        event = await anext(events)
        taken.append((event.change.value, event.resource.name))
    return taken
