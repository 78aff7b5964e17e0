"""DeploymentConfigs of a cluster: rolled out by the policy of one machine, with other instances.

A revision is a ReplicationController that the DeploymentConfig owns; the cluster keeps its Pods at
the size that is set here, and a hook is a Pod. All are found again by names and owners, so that a
leader goes on where another one ended.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from upwell.api.apps import DeploymentConfig, RevisionRecord
from upwell.api.meta import ObjectKey
from upwell.api.revisions import ReplicationController
from upwell.cluster.errors import WriteRefusedError, is_of_admission
from upwell.cluster.interface import ClusterInstances
from upwell.controller import Controller, ObjectCache, Result, Watch, of_both
from upwell.controller.refusals import Refusals
from upwell.policy.cluster_rollouts.deployment_configs import (
    images_of_template,
    new_controller,
    phase_of,
)
from upwell.policy.cluster_rollouts.replicas import (
    ObservedReplica,
    controllers_by_revision,
    observe_replicas,
    revision_of,
    sizes,
)
from upwell.policy.rollouts.degradation import degradation
from upwell.policy.rollouts.history import (
    CONFIG_LABEL,
    PHASE_ANNOTATION,
    find,
    known_before,
    with_record,
)
from upwell.policy.rollouts.judgement import completed, failed, pulling
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.report import late_at, status_of
from upwell.policy.rollouts.rollout import Replica
from upwell.policy.rollouts.settings import Workload, template_of
from upwell.policy.rollouts.snapshot import Obstacle, RolloutSnapshot, new_record, rollout_for
from upwell.policy.rollouts.steps import (
    FailureReason,
    MarkComplete,
    RollBack,
    Stall,
    Step,
    Wait,
    next_steps,
)
from upwell.policy.rollouts.target import TargetReason
from upwell.reconcilers.authority import MissingRightError
from upwell.reconcilers.cluster_rollouts.hook_pods import HookPods
from upwell.reconcilers.cluster_rollouts.parts import ClusterParts
from upwell.reconcilers.rollouts.custom import custom_params
from upwell.reconcilers.rollouts.snapshot import SnapshotReader
from upwell.reconcilers.signatures.questions import ImagePolicyError
from upwell.store.interface import (
    AlreadyExistsError,
    NotFoundError,
    RejectedError,
    Store,
    StoreError,
)

_MACHINE_FINALIZER = "upwell.dev/rollout"
"""Finalizer of one that came from a machine, where instances have to be stopped first."""
_REFUSALS = frozenset({AlreadyExistsError.reason, RejectedError.reason, "Forbidden"})
"""Reasons of errors that are told: "Forbidden" is an admission webhook's and a quota's, too."""


class ClusterRevisions:
    """Begins revisions whose images are as their template has them: nodes pull them."""

    def __init__(self, cluster: ClusterParts, clock: Callable[[], datetime]) -> None:
        self._authority = cluster.authority
        self._policies = cluster.policies
        self._clock = clock

    async def begin(self, workload: Workload, wanted: str) -> RevisionRecord:
        """Return the revision to begin; raises TemplateError if it cannot run here.

        An image that a policy keeps out is an ImagePolicyError.
        """
        if why := await self._authority.refusal(workload):
            raise MissingRightError(why)
        if custom_params(workload) is not None:
            message = (
                "spec.strategy.customParams are not run on a cluster: use Rolling or Recreate"
                " without them"
            )
            raise TemplateError("InvalidStrategy", message)
        known = known_before(workload, wanted)
        images = known.images if known else images_of_template(template_of(workload))
        if known is None:
            await self._policies.require(workload.namespace, images.values())
        return new_record(workload, wanted, images, self._clock())


class ClusterDeploymentConfigs:
    """Reconciles one DeploymentConfig with its ReplicationControllers."""

    def __init__(
        self,
        cache: ObjectCache,
        cluster: ClusterParts,
        instances: ClusterInstances,
        clock: Callable[[], datetime],
    ) -> None:
        self._cache = cache
        self._store: Store = cache.store
        self._follows = cluster.follows
        self._instances = instances
        self._clock = clock
        self._snapshots = SnapshotReader(ClusterRevisions(cluster, clock).begin, clock)
        self._hooks = HookPods(cache.store, cluster.authority, clock)
        self._refusals = Refusals()
        self._owned = cache.index(ReplicationController, _owner_uids)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Do the next steps of the DeploymentConfig that `key` names."""
        if key.kind != DeploymentConfig.KIND.kind or not self._follows(key.namespace):
            return Result()
        try:
            config = await self._store.get(DeploymentConfig, key.namespace, key.name)
        except NotFoundError:
            self._refusals.forget(key)
            return Result()  # what it owns goes with it
        if config.is_deleting:
            await self._let_go(config)
            return Result()
        return await self._roll_out(config)

    async def _let_go(self, config: DeploymentConfig) -> None:
        kept = tuple(one for one in config.metadata.finalizers if one != _MACHINE_FINALIZER)
        if kept != config.metadata.finalizers:
            await self._store.update(config.with_metadata(finalizers=kept))

    async def _roll_out(self, config: DeploymentConfig) -> Result:
        controllers = list(self._owned.get(config.uid))
        labels = {CONFIG_LABEL: config.name}
        pods = [one.pod for one in await self._instances.pods(config.namespace, labels)]
        observed = observe_replicas(controllers, pods)
        instances = [one.instance for one in observed if one.instance is not None]
        snapshot = await self._snapshots.read(config, instances)
        record = snapshot.chosen.record
        if snapshot.chosen.choice is TargetReason.BEGIN:
            await self._write(config, snapshot)
            return Result(0)
        steps: tuple[Step, ...] = ()
        refused: StoreError | None = None
        if record is not None:
            try:
                rollout = rollout_for(config, snapshot, record)
                steps = next_steps(rollout, [one.replica for one in observed], self._clock())
                await self._resize(config, snapshot, controllers, observed, steps)
                snapshot = self._judged(snapshot, steps, observed)
                snapshot = await self._hooks.run(config, snapshot, steps, pods)
            except TemplateError as error:
                # A cluster's schema lets through what no admission of ours was asked about.
                snapshot = replace(snapshot, obstacle=Obstacle(error.reason, str(error), "False"))
            except StoreError as error:
                if error.reason not in _REFUSALS and not is_of_admission(error):
                    raise
                refused = error
                reason = error.reason if error.reason in _REFUSALS else WriteRefusedError.reason
                snapshot = replace(snapshot, obstacle=Obstacle(reason, str(error), "True"))
        await self._write(config, snapshot)
        if snapshot.obstacle is not None and isinstance(snapshot.obstacle.error, ImagePolicyError):
            raise snapshot.obstacle.error  # asked again soon, or once the image is signed
        waits = [one.until for one in steps if isinstance(one, Wait)]
        now = self._clock()
        again = [degradation(config, snapshot, now).look_again, late_at(config, snapshot, now)]
        waits += [one for one in again if one is not None and one > now]
        seconds = [max((one - now).total_seconds(), 0) for one in waits]
        if refused is not None or (snapshot.obstacle is not None and snapshot.obstacle.error):
            seconds.append(self._refusals.note(config.key))
        else:
            self._refusals.forget(config.key)
        return Result(min(seconds, default=None))

    async def _resize(
        self,
        config: DeploymentConfig,
        snapshot: RolloutSnapshot,
        controllers: Sequence[ReplicationController],
        observed: Sequence[ObservedReplica],
        steps: Sequence[Step],
    ) -> None:
        """Give each ReplicationController its size and phase; make the target's, remove others."""
        by_revision = dict(controllers_by_revision(controllers))
        target = snapshot.chosen.record
        if target is not None and target.hash not in by_revision:
            made = await self._store.create(new_controller(config, target))
            await self._cache.wait_for(made)
            by_revision[target.hash] = made
        wanted = sizes(by_revision.values(), observed, steps)
        for one in by_revision.values():
            await self._write_controller(one, wanted[one.name], snapshot)

    async def _write_controller(
        self, controller: ReplicationController, size: int, snapshot: RolloutSnapshot
    ) -> None:
        record = find(snapshot.records, revision_of(controller))
        if record is None and not size and not controller.status.replicas:
            await self._remove(controller)
            return
        phase = phase_of(record) if record is not None else ""
        annotations = {**controller.annotations, **({PHASE_ANNOTATION: phase} if phase else {})}
        if size == controller.spec.replicas and annotations == controller.annotations:
            return
        spec = controller.spec.model_copy(update={"replicas": size})
        changed = controller.with_metadata(annotations=annotations)
        written = await self._store.update(changed.model_copy(update={"spec": spec}))
        await self._cache.wait_for(written)

    async def _remove(self, controller: ReplicationController) -> None:
        try:
            await self._store.delete(ReplicationController, controller.namespace, controller.name)
        except NotFoundError:
            return

    def _judged(
        self,
        snapshot: RolloutSnapshot,
        steps: Sequence[Step],
        observed: Sequence[ObservedReplica],
    ) -> RolloutSnapshot:
        """Return the snapshot with what the steps say about the revision."""
        record = snapshot.chosen.record
        if record is None:
            return snapshot
        serves = any(one.replica.ready and one.replica.revision == record.hash for one in observed)
        if record.live_at is None and serves:
            records = with_record(snapshot.records, record.hash, live_at=self._clock())
            snapshot = replace(snapshot, records=records)
        for step in steps:
            match step:
                case MarkComplete():
                    return completed(snapshot, record, self._clock())
                case RollBack() | Stall():
                    final = step.reason is FailureReason.TOO_LONG
                    detail = _detail(step.replica)
                    return failed(snapshot, record, step.reason, detail, final=final)
                case _:
                    pass
        return replace(snapshot, obstacle=snapshot.obstacle or pulling(snapshot, record))

    async def _write(self, config: DeploymentConfig, snapshot: RolloutSnapshot) -> None:
        status = status_of(config, snapshot, self._clock())
        if status != config.status:
            await self._store.update_status(config.with_status(status))


def deployment_config_controller(
    cache: ObjectCache,
    cluster: ClusterParts,
    instances: ClusterInstances,
    clock: Callable[[], datetime],
) -> Controller:
    """Return the controller of a cluster's DeploymentConfigs.

    The Pods have to be followed beside it (`PodIndex.run`).
    """
    configs = ClusterDeploymentConfigs(cache, cluster, instances, clock)
    return Controller(
        "cluster-deployment-configs",
        configs,
        cache,
        (Watch(DeploymentConfig), Watch(ReplicationController, of_both(_owners))),
        feeds=[pods.changed_configs.keys for pods in cluster.pods.values()],
    )


def _owner_uids(controller: ReplicationController) -> Iterator[str]:
    yield from (one.uid for one in controller.metadata.owner_references)


def _owners(controller: ReplicationController) -> Iterable[ObjectKey]:
    for owner in controller.metadata.owner_references:
        if owner.kind == DeploymentConfig.KIND.kind:
            yield ObjectKey(owner.kind, controller.namespace, owner.name)


def _detail(replica: Replica | None) -> str:
    return replica.message if replica is not None else ""
