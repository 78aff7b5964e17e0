"""Hands what a cluster has besides, such as its workloads, the ports that it needs."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from starlette.applications import Starlette

from upwell.api.apps import DeploymentConfig
from upwell.app.kubernetes.admission import MEANING
from upwell.app.kubernetes.cluster import OpenedCluster
from upwell.app.kubernetes.leading import LeaderGauges, leading, watch_election
from upwell.app.kubernetes.shared_keys import keep_shared
from upwell.app.kubernetes.watching import tell_undecided, watch_objects
from upwell.app.signing.keys import OpenedSigningKeys
from upwell.cluster.kubernetes import KubernetesWorkloads
from upwell.cluster.kubernetes_instances import KubernetesInstances
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.controller import Controller, ObjectCache
from upwell.controller.leader import LeaderElection
from upwell.machine.clock import now
from upwell.machine.components import Components
from upwell.policy.waves.budget import RolloutBudget
from upwell.reconcilers.authority import Authority
from upwell.reconcilers.cluster_rollouts.deployment_configs import deployment_config_controller
from upwell.reconcilers.cluster_rollouts.image_policies import RolloutPolicies
from upwell.reconcilers.cluster_rollouts.parts import ClusterParts
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.reconcilers.cluster_rollouts.reconciler import cluster_rollout_controller
from upwell.reconcilers.cluster_rollouts.records import RolloutRecords, cluster_turns
from upwell.reconcilers.cluster_routing.reconciler import cluster_route_controller
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.rollouts.triggers import workload_trigger_controller
from upwell.reconcilers.signatures.policies import ImagePolicies
from upwell.reconcilers.waves.gate import WaveGate
from upwell.server.cluster_access.admission import ClusterAdmission
from upwell.server.cluster_access.webhooks import create_admission_app
from upwell.server.metrics.metrics import Gauges
from upwell.store.interface import Store

type Loop = Callable[[], Coroutine[Any, Any, None]]


def led_loops(
    cluster: OpenedCluster | None, components: Components, loops: Sequence[Loop]
) -> Sequence[Loop]:
    """Return loops that reconcile: where replicas elect a leader, while this one leads."""
    if cluster is None:
        return loops
    of_leader, of_all = _admission_loops(cluster, components)
    return (
        leading(cluster.leader, (*of_leader, *loops)),
        partial(watch_election, cluster.election, components),
        *of_all,
    )


def _admission_loops(
    cluster: OpenedCluster, components: Components
) -> tuple[Sequence[Loop], Sequence[Loop]]:
    """Return what keeps the cluster's admission in force: the leader's loops, and every replica's.

    Whether it is in force is shown as component `admission`.
    """
    component = components.add("admission", required=False)
    webhook = cluster.webhook
    if webhook is None:
        component.fail("AdmissionNotInForce", f"[kubernetes] admission-port is not set; {MEANING}")
        return (), ()
    return (webhook.keep,), (partial(webhook.watch, component),)


def cluster_loops(
    cluster: OpenedCluster | None,
    records: RolloutRecords | None,
    cache: ObjectCache,
    components: Components,
    signing: OpenedSigningKeys | None,
) -> Sequence[Loop]:
    """Return what every replica looks at: the Pods, shared keys, what the cluster keeps from it."""
    if cluster is None or records is None:
        return ()
    adopt = _nothing if signing is None else signing.settle
    component = components.add("shared-keys", required=False)
    pods = records.cluster.pods.values()
    return (
        partial(keep_shared, cluster.keys, adopt, component),
        partial(watch_objects, cache, pods, cluster.unreadable, components),
        *(one.run for one in pods),
    )


async def _nothing() -> None:
    return


def cluster_reports(cluster: OpenedCluster | None, cache: ObjectCache) -> Sequence[Loop]:
    """Return what the leader tells of the cluster's objects."""
    return () if cluster is None else (partial(tell_undecided, cluster.unreadable, cache, now),)


def replica_gauges(own: Gauges, election: LeaderElection | None) -> Gauges:
    """Return the gauges of a process, with whether it leads where replicas elect a leader."""
    return own if election is None else LeaderGauges(own, election)


def replica_role(election: LeaderElection | None) -> Callable[[], str] | None:
    """Return what says whether this replica leads; None: there are no others."""
    return None if election is None else lambda: election.role


def admission_app(cluster: OpenedCluster | None, registry: str, store: Store) -> Starlette | None:
    """Return what the cluster's webhook is answered by; None: it has no port."""
    webhook = None if cluster is None else cluster.webhook
    if cluster is None or webhook is None:
        return None
    return create_admission_app(
        ClusterAdmission(cluster.rights, webhook.account, webhook.admission, registry, store)
    )


def cluster_records(
    cluster: OpenedCluster, authority: Authority, policies: ImagePolicies
) -> RolloutRecords:
    """Return what writes to workloads and sees their Pods; all that judge rollouts do by it.

    Each of the Pods' indexes has to be run.
    """
    api = cluster.client.connection
    pods = {one: PodIndex(KubernetesPods(api, one)) for one in cluster.namespaces or ("",)}
    judge = RolloutPolicies(policies)
    return RolloutRecords(ClusterParts(KubernetesWorkloads(api, now), pods, authority, judge), now)


def _ask_policies_again(records: RolloutRecords, rollouts: Controller) -> None:
    """Look at the workloads whose images wait: an image has been signed."""
    for key in tuple(records.kept_back):
        rollouts.queue.add(key)


def cluster_controllers(
    cluster: OpenedCluster,
    records: RolloutRecords,
    index: WorkloadIndex,
    gate: WaveGate,
    budget: RolloutBudget,
    gateway: str = "",
) -> Sequence[Controller]:
    """Return what sets images of workloads, rolls out or judges, and has Routes served.

    `gateway` is the Gateway that serves these, as `NAMESPACE/NAME`.
    """
    parts, pods = records.cluster, KubernetesInstances(cluster.client.connection)
    turns = cluster_turns(index.cache, now, budget)
    rollouts = cluster_rollout_controller(
        index, records, now, gate, watches=gate.watches, turns=turns
    )
    parts.policies.judge.on_signed.append(partial(_ask_policies_again, records, rollouts))
    return (
        rollouts,
        workload_trigger_controller(
            index,
            now,
            gate,
            turns=turns,
            watches=gate.watches(),
            kinds=(DeploymentConfig,),
        ),
        deployment_config_controller(index.cache, parts, pods, now),
        cluster_route_controller(index.cache, now, parts.follows, gateway),
    )
