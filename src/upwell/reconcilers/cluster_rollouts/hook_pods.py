"""Runs the lifecycle hooks of a cluster's DeploymentConfigs: each is a Pod, to one recorded end."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from upwell.api.apps import DeploymentConfig, HookResult, LifecycleHook, RevisionRecord
from upwell.api.pod import Pod
from upwell.policy.cluster_rollouts.deployment_configs import ROLE_LABEL, hook_pod, hook_pod_name
from upwell.policy.cluster_rollouts.replicas import instance_of, is_owned_by
from upwell.policy.rollouts.history import with_record
from upwell.policy.rollouts.hooks import HookEnd, HookPhase, RetryAt, hooks_of, judge
from upwell.policy.rollouts.instance import owner_of
from upwell.policy.rollouts.judgement import failed
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.rollout import HookMoment
from upwell.policy.rollouts.snapshot import Obstacle, RolloutSnapshot
from upwell.policy.rollouts.steps import RunHook, Step
from upwell.reconcilers.authority import Authority
from upwell.reconcilers.rollouts.hooks import give_tags, require_rights, retry_message, with_hook
from upwell.store.interface import AlreadyExistsError, NotFoundError, Store
from upwell.workload.interface import Instance, State


class HookPods:
    """Takes hooks whose time has come one step further; removes the Pods of those that are over."""

    def __init__(self, store: Store, authority: Authority, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._authority = authority
        self._clock = clock

    async def run(
        self,
        config: DeploymentConfig,
        snapshot: RolloutSnapshot,
        steps: Sequence[Step],
        pods: Sequence[Pod],
    ) -> RolloutSnapshot:
        """Return the snapshot with what the hook that is due says; raises StoreError."""
        record = snapshot.chosen.record
        step = next((one for one in steps if isinstance(one, RunHook)), None)
        if record is None:
            return snapshot
        kept = hook_pod_name(config, record, step.moment) if step is not None else ""
        await self._clear(config, pods, kept)
        if step is None:
            return snapshot
        try:
            found = await self._step(config, record, step.moment, pods)
        except TemplateError as error:
            obstacle = Obstacle(error.reason, str(error), "True", error=error)
            return replace(snapshot, obstacle=obstacle)
        if isinstance(found, Obstacle):
            return replace(snapshot, obstacle=found)
        changed = with_hook(record, step.moment, found)
        records = with_record(snapshot.records, record.hash, hooks=changed.hooks)
        snapshot = replace(snapshot, records=records)
        if found.phase != HookPhase.FAILED:
            return snapshot
        detail = f"the {step.moment} hook: {found.message}"
        return failed(snapshot, changed, "HookFailed", detail, final=True)

    async def _step(
        self,
        config: DeploymentConfig,
        record: RevisionRecord,
        moment: HookMoment,
        pods: Sequence[Pod],
    ) -> HookResult | Obstacle:
        """Return the result of a hook, or what it waits for."""
        hook = hooks_of(config)[moment]
        if hook.exec_new_pod is None:
            await give_tags(self._store, self._authority, config, record, hook)
            return HookResult(phase=HookPhase.COMPLETE.value, ended=self._clock())
        name = hook_pod_name(config, record, moment)
        pod = next((one for one in pods if one.name == name), None)
        if pod is None or not is_owned_by(pod, config):
            return await self._start(config, record, moment, hook)
        instance = instance_of(pod, owner_of(config.key), record.hash)
        if not _is_over(pod):
            return Obstacle("HookRunning", _running_text(moment, instance), "True")
        end = HookEnd(instance.started_at, instance.succeeded, instance.restarts, instance.message)
        verdict = judge(hook, end, self._clock())
        if isinstance(verdict, RetryAt):  # its node was lost: it is the node that tries again
            await self._delete(pod)
            return Obstacle("HookRetrying", retry_message(moment, verdict), "True")
        if end.succeeded:
            await give_tags(self._store, self._authority, config, record, hook)
        return verdict

    async def _start(
        self,
        config: DeploymentConfig,
        record: RevisionRecord,
        moment: HookMoment,
        hook: LifecycleHook,
    ) -> Obstacle:
        await require_rights(self._authority, config)
        made = hook_pod(config, record, moment, hook)
        try:
            await self._store.create(made)
        except AlreadyExistsError:
            why = f"Pod {made.namespace}/{made.name} is there, and is not this hook's: delete it"
            return Obstacle("NameTaken", why, "True")
        return Obstacle("HookRunning", f"the {moment} hook runs", "True")

    async def _clear(self, config: DeploymentConfig, pods: Sequence[Pod], kept: str) -> None:
        """Remove the Pods of hooks but for the one that is called so."""
        for pod in pods:
            if ROLE_LABEL in pod.labels and pod.name != kept and is_owned_by(pod, config):
                await self._delete(pod)

    async def _delete(self, pod: Pod) -> None:
        if pod.is_deleting:
            return
        try:
            await self._store.delete(Pod, pod.namespace, pod.name)
        except NotFoundError:
            return


def _is_over(pod: Pod) -> bool:
    return pod.status.phase in {"Succeeded", "Failed"}


def _running_text(moment: HookMoment, instance: Instance) -> str:
    if instance.state is State.EXITED and instance.restarts:
        retry = RetryAt(instance.started_at, instance.restarts)
        return f"{retry_message(moment, retry)}: {instance.message}"
    waits = f": {instance.message}" if instance.message else ""
    return f"the {moment} hook runs{waits}"
