"""Composes the actions that people and clients may ask for."""

from upwell.actions.bases import BaseActions
from upwell.actions.builds import BuildActions
from upwell.actions.catalog import Actions
from upwell.actions.images import ImageActions, ImageExaminer
from upwell.actions.notifications import SubscriptionActions
from upwell.actions.plans import PlanActions
from upwell.actions.promotion import PromotionActions
from upwell.actions.pruning import PruningActions
from upwell.actions.rollouts import RolloutActions
from upwell.actions.running import RunningActions
from upwell.actions.waves import WaveActions
from upwell.app.adapters import Adapters
from upwell.machine.clock import now
from upwell.machine.platform import machine_platform
from upwell.reconcilers.cluster_rollouts.records import RolloutRecords
from upwell.reconcilers.images.image_streams import ImageStreams
from upwell.reconcilers.images.layers import LayerReader
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.pruning import LeftoverSweep, Pruning
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.signatures.policies import ImagePolicies
from upwell.reconcilers.waves.index import WaveIndex
from upwell.store.interface import Store


def actions(
    adapters: Adapters,
    clients: Store,
    index: WaveIndex,
    streams: ImageStreams,
    secrets: PullSecrets,
    pruning: tuple[Pruning, LeftoverSweep | None],
    policies: ImagePolicies,
) -> Actions:
    """Return the actions; what they create in the name of clients is counted by `clients`."""
    store = adapters.store
    builds = BuildActions(index.builds)
    rollouts = RolloutActions(store, now, index.builds.bar_of_change)
    return Actions(
        builds=builds,
        rollouts=rollouts,
        waves=WaveActions(index, builds, rollouts, now),
        bases=BaseActions(
            adapters.cache, LayerReader(adapters.registries, secrets, machine_platform())
        ),
        plans=PlanActions(index, now, adapters.settings.waves.rules.canary),
        promotions=PromotionActions(clients, now, index.builds),
        images=ImageActions(clients, adapters.internal, streams, adapters.inventory, now),
        examiner=ImageExaminer(store, adapters.registries, secrets, now, policies),
        subscriptions=_subscriptions(adapters),
        pruning=PruningActions(
            *pruning,
            adapters.settings.retention.rules,
            adapters.settings.external_registry.prefix,
        ),
    )


def _subscriptions(adapters: Adapters) -> SubscriptionActions:
    deliveries = adapters.subscriptions
    return SubscriptionActions(
        adapters.store,
        deliveries.outbox,
        deliveries.targets,
        deliveries.dispatcher,
        adapters.settings.public_url,
        now,
        deliveries.shared,
    )


def running_workloads(
    adapters: Adapters, index: WorkloadIndex, records: RolloutRecords | None, secrets: PullSecrets
) -> RunningActions | None:
    """Return what tells of a cluster's Pods; None: there is none."""
    if records is None:
        return None
    layers = LayerReader(adapters.registries, secrets, machine_platform())
    return RunningActions(index, tuple(records.cluster.pods.values()), layers)
