"""Hands what prunes the stores that grow, and what may need an image: of a machine or a cluster."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from upwell.app.adapters import Adapters
from upwell.app.cleanup import free_space
from upwell.cluster.kubernetes_documents import KubernetesDocuments
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.machine.clock import PROCESS_CLOCK, now
from upwell.reconcilers.pruning import (
    ClusterRoots,
    LeftoverSweep,
    MachineRoots,
    NothingToPrune,
    Pruning,
    PruningSchedule,
    RetentionRoots,
    Stores,
)

type Loop = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class OpenedPruning:
    """Pruning: when it is asked for, and in the loops of who reconciles."""

    pruning: Pruning
    sweep: LeftoverSweep | None
    """None: a cluster runs everything, and nothing is left on this machine."""
    loops: Sequence[Loop]


def open_pruning(adapters: Adapters) -> OpenedPruning:
    """Return what prunes on `adapters`."""
    stores = _stores(adapters)
    pruning = Pruning(stores)
    sweep = _sweep(adapters)
    return OpenedPruning(
        pruning,
        sweep,
        (*_schedule(adapters, pruning, stores), *([] if sweep is None else [sweep.run])),
    )


def _schedule(adapters: Adapters, pruning: Pruning, stores: Stores) -> Sequence[Loop]:
    """Return what prunes by itself; where only a person does, that is idle uploads alone."""
    free = partial(free_space, adapters.components, adapters.embedded)
    settings = adapters.settings.retention
    # Of some namespaces alone it is not known what runs, and what may run is not removed.
    is_partial = adapters.cluster is not None and bool(adapters.cluster.namespaces)
    if settings.interval is None or is_partial:
        return (partial(free, _nothing),)
    schedule = PruningSchedule(
        pruning,
        stores,
        settings.rules,
        settings.interval,
        is_certain=PROCESS_CLOCK.is_certain,
    )
    return (schedule.run, partial(free, schedule.prune_now))


async def _nothing() -> None:
    return


def _stores(adapters: Adapters) -> Stores:
    """Return everything that grows."""
    return Stores(
        objects=adapters.store,
        registry=adapters.embedded or NothingToPrune(),
        host=adapters.embedded_host,
        logs=adapters.logs,
        inputs=adapters.inputs,
        evidence=adapters.evidence,
        inventory=adapters.inventory,
        builder=adapters.builder,
        roots=_roots(adapters),
        runtime=None if adapters.machine is None else adapters.machine.runtime,
        clock=now,
    )


def _roots(adapters: Adapters) -> RetentionRoots:
    cluster = adapters.cluster
    if cluster is None:
        return MachineRoots(adapters.store, adapters.runtime)
    api = cluster.client.connection
    return ClusterRoots(
        adapters.store,
        KubernetesDocuments(api),
        KubernetesPods(api),
        adapters.embedded_host,
        cluster.namespaces,
    )


def _sweep(adapters: Adapters) -> LeftoverSweep | None:
    if adapters.machine is None:
        return None
    return LeftoverSweep(
        adapters.store,
        adapters.runtime,
        adapters.machine.store.timeline,
        now,
        adapters.components.add("instances", required=False),
    )
