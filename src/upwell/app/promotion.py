"""Composes promotion: what makes Releases, carries them from stage to stage, and verifies them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.promotion import Promotion
from upwell.app.access import InternalLogins
from upwell.app.adapters import Adapters
from upwell.cluster.kubernetes_instances import KubernetesInstances
from upwell.controller import Controller
from upwell.machine.clock import PastTimes, elapsed, now
from upwell.oci import Reference
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.cluster_rollouts.image_policies import RolloutPolicies
from upwell.reconcilers.cluster_rollouts.records import RolloutRecords
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.promotion.catching_up import CatchUpReconciler, catch_up_controller
from upwell.reconcilers.promotion.checks.clusters import ClusterChecks, VerificationByStage
from upwell.reconcilers.promotion.cluster_instances import ClusterStageInstances
from upwell.reconcilers.promotion.images import ReleaseImages
from upwell.reconcilers.promotion.instances import (
    CheckRuntime,
    MachineInstances,
    StageInstances,
)
from upwell.reconcilers.promotion.machine_watch import MachineRecord
from upwell.reconcilers.promotion.pipelines import StoredWorkloads
from upwell.reconcilers.promotion.placing.cluster import ClusterRollouts
from upwell.reconcilers.promotion.placing.clusters import ClusterPlacement
from upwell.reconcilers.promotion.placing.committed_releases import CommittedReleases
from upwell.reconcilers.promotion.placing.git import GitPlacement
from upwell.reconcilers.promotion.placing.machine import MachineRollouts
from upwell.reconcilers.promotion.placing.ports import ReleasePlacer, WorkloadRollouts
from upwell.reconcilers.promotion.placing.workloads import ByStage, Workloads
from upwell.reconcilers.promotion.promotions import PromotionReconciler
from upwell.reconcilers.promotion.verification import StageVerification
from upwell.reconcilers.promotion.wiring import pipeline_controller, promotion_controller
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.signatures.policies import ImagePolicies
from upwell.registry.client.push import RegistryPusher
from upwell.registry.copying import CopyAccess, ImageCopier
from upwell.registry.interface import Credential, CredentialSource, RequestAccess
from upwell.server.promotion.verdicts import PLACE, VerdictTokens


def promotion(
    adapters: Adapters,
    index: WorkloadIndex,
    builds: BuildIndex,
    secrets: PullSecrets,
    policies: ImagePolicies,
    records: RolloutRecords | None,
) -> Sequence[Controller]:
    """Return the controllers of promotion; with `records`, a cluster rolls out."""
    store = adapters.store
    rollouts: WorkloadRollouts = MachineRollouts(store)
    if records is not None:
        rollouts = ClusterRollouts(records.cluster, now, configs=rollouts)
    tokens = VerdictTokens(adapters.protection.signatures)

    def verdict_url(asked: Promotion, check: str, attempt: int) -> str:
        return f"{adapters.settings.public_url}{PLACE}{tokens.sign(asked.uid, check, attempt)}"

    insecure = InsecureRegistries(store, adapters.is_insecure)
    images = ReleaseImages(adapters.registries, secrets, MirrorCopier(adapters), insecure)
    machine = _machine(adapters)
    instances: StageInstances = MachineInstances(adapters.runtime)
    if adapters.cluster is not None:
        pods = KubernetesInstances(adapters.cluster.client.connection)
        instances = ClusterStageInstances(pods, now())

    def verifying(runtime: CheckRuntime) -> StageVerification:
        return StageVerification(
            store, runtime, adapters.probes, adapters.evidence, verdict_url, now, machine
        )

    verification = VerificationByStage(
        verifying(CheckRuntime.of_server(store, instances)),
        ClusterChecks(store, adapters.remote_clusters, verifying, now),
    )
    authority = adapters.authority
    committed = committed_releases(adapters)
    clusters = ClusterPlacement(
        store, adapters.remote_clusters, images, committed, now, RolloutPolicies(policies)
    )
    placer = placement(adapters, index, rollouts, committed, clusters)
    reconciler = PromotionReconciler(store, images, placer, verification, now, machine, authority)
    return (
        pipeline_controller(
            index,
            builds,
            now,
            authority,
            policies,
            obstacle=rollouts.obstacle,
            per_stage=adapters.settings.waves.rollouts_per_stage,
        ),
        promotion_controller(index, reconciler),
        catch_up_controller(index, CatchUpReconciler(store, clusters, now, authority)),
    )


def _machine(adapters: Adapters) -> MachineRecord:
    """Return the record of what the server stands on."""
    components, past = adapters.components, PastTimes(now)

    def well_since() -> datetime:
        return past(max(adapters.runtime.well_since(), components.well_since()))

    return MachineRecord(well_since, components.fault_since, elapsed)


def committed_releases(adapters: Adapters) -> CommittedReleases:
    """Return what commits the digests of stages that are kept in git."""

    def link(promotion: Promotion) -> str:
        kind = Promotion.KIND
        path = f"apis/{kind.api_version}/namespaces/{promotion.namespace}/{kind.plural}"
        return f"{adapters.settings.public_url}/{path}/{promotion.name}"

    return CommittedReleases(adapters.store, adapters.repositories, link, now)


def placement(
    adapters: Adapters,
    index: WorkloadIndex,
    rollouts: WorkloadRollouts,
    committed: ReleasePlacer,
    clusters: ClusterPlacement,
) -> ByStage:
    """Return what places Releases, as each stage says."""
    workloads = Workloads(StoredWorkloads(adapters.store), rollouts, index.all_stages_of)
    return ByStage(workloads, GitPlacement(committed, workloads, adapters.probes), clusters)


class MirrorCopier:
    """Copies the images of Releases to the mirrors of stages; implements Copier."""

    def __init__(self, adapters: Adapters) -> None:
        self._adapters = adapters

    async def copy(
        self,
        origin: Reference,
        goal: Reference,
        logins: CredentialSource,
        insecure: frozenset[str],
    ) -> None:
        """Copy by digest, what is there already excepted; raises a RegistryError."""
        adapters = self._adapters
        pushes: CredentialSource = logins
        if goal.registry == adapters.embedded_host:
            pushes = PushLogins(adapters.protection.registry)
        access = CopyAccess(
            RequestAccess(logins, insecure=origin.registry in insecure),
            RequestAccess(pushes, insecure=goal.registry in insecure),
        )
        pusher = RegistryPusher(adapters.client.connection)
        await ImageCopier(adapters.registries, pusher, access).copy(origin, goal)


@dataclass(frozen=True, slots=True)
class PushLogins:
    """Implements CredentialSource by the login that pushes to a namespace of ours."""

    logins: InternalLogins

    async def find(self, registry: str, repository: str) -> Credential | None:
        """Return the login of the namespace that the repository is in."""
        del registry
        return self.logins.to_push(repository.partition("/")[0])
