"""The actions of the API over a store in memory, with what they need from other layers."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.support.inventory.memory import InventoryInMemory
from tests.support.registry.signed_images import image_judge

from upwell.actions.bases import BaseActions
from upwell.actions.builds import BuildActions
from upwell.actions.catalog import Actions
from upwell.actions.images import ImageActions, ImageExaminer
from upwell.actions.plans import PlanActions
from upwell.actions.promotion import PromotionActions
from upwell.actions.rollouts import RolloutActions
from upwell.actions.waves import WaveActions
from upwell.controller import ObjectCache
from upwell.oci import Platform
from upwell.policy.images.schedule import ImportSchedule
from upwell.policy.waves.canary import CanaryRules
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.images.image_streams import ImageStreams
from upwell.reconcilers.images.layers import LayerReader
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.waves.index import WaveIndex
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.interface import InternalRegistry, Registry
from upwell.store.interface import Store


@dataclass(frozen=True)
class MemoryActions:
    """Actions, and the parts behind them that a test may run or fill."""

    actions: Actions
    cache: ObjectCache
    """Builds are started and pushes are noted once it runs."""
    streams: ImageStreams
    inventory: InventoryInMemory


def memory_actions(
    store: Store,
    clients: Store,
    clock: Callable[[], datetime],
    folder: Path,
    internal: InternalRegistry | None = None,
    upstream: Registry | None = None,
) -> MemoryActions:
    """Return actions on `store`; a registry that is not given is one in `folder`.

    `clients` is the store with the quota of clients.
    """
    internal = internal or EmbeddedRegistry(folder, "registry.internal:5000")
    upstream = upstream or internal
    cache, inventory, secrets = ObjectCache(store), InventoryInMemory(), PullSecrets(store)
    streams = ImageStreams(
        cache,
        upstream,
        internal,
        secrets,
        ImportSchedule(),
        clock=clock,
        platforms=[Platform("linux", "amd64")],
    )
    index = WaveIndex(BuildIndex(cache))
    builds = BuildActions(index.builds)
    rollouts = RolloutActions(store, clock, index.builds.bar_of_change)
    actions = Actions(
        builds,
        rollouts,
        PromotionActions(clients, clock, index.builds),
        ImageActions(clients, internal, streams, inventory, clock),
        ImageExaminer(
            store, upstream, secrets, clock, image_judge(store, upstream, clock, internal.prefix)
        ),
        waves=WaveActions(index, builds, rollouts, clock),
        bases=BaseActions(cache, LayerReader(upstream, secrets, Platform("linux", "amd64"))),
        plans=PlanActions(index, clock, CanaryRules()),
    )
    return MemoryActions(actions, cache, streams, inventory)
