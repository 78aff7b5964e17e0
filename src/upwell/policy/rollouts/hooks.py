"""Lifecycle hooks of DeploymentConfigs: which there are, what runs, and what follows from its end.

Facts: appsv1 LifecycleHook, and OpenShift's deployer (strategy/support/lifecycle.go).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from upwell.api.apps import (
    DeploymentConfig,
    ExecNewPodHook,
    HookResult,
    LifecycleHook,
    RevisionRecord,
    TagImageHook,
)
from upwell.api.meta import Resource
from upwell.api.pod_template import Container, EnvVar, PodTemplate
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.rollout import FIRST_BACKOFF, LONGEST_BACKOFF, HookMoment

HOOK_CONTAINER = "lifecycle"
"""The name that OpenShift gives a hook's only container."""


class FailurePolicy(StrEnum):
    """Policy for a hook that fails."""

    ABORT = "Abort"
    RETRY = "Retry"
    IGNORE = "Ignore"


class HookPhase(StrEnum):
    """Result of a hook."""

    COMPLETE = "Complete"
    FAILED = "Failed"
    IGNORED = "Ignored"


@dataclass(frozen=True, slots=True)
class HookEnd:
    """A run of a hook that is over."""

    at: datetime
    """Time at which it was started."""
    succeeded: bool
    retries: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """The hook is run again, not before `at`."""

    at: datetime
    number: int


def hooks_of(workload: Resource) -> Mapping[HookMoment, LifecycleHook]:
    """Return the hooks of a workload by moment; raises TemplateError for what cannot be run."""
    if not isinstance(workload, DeploymentConfig):
        return {}
    strategy = workload.spec.strategy
    recreate = strategy.type == "Recreate"
    params = strategy.recreate_params if recreate else strategy.rolling_params
    found = {moment: getattr(params, moment.value, None) for moment in HookMoment}
    hooks = {moment: hook for moment, hook in found.items() if isinstance(hook, LifecycleHook)}
    for moment, hook in hooks.items():
        _check(moment, hook, workload.spec.template or PodTemplate())
    return hooks


def declared_hooks(workload: Resource) -> Iterator[LifecycleHook]:
    """Yield each hook that a workload declares, also of a strategy that is not the one in force."""
    if not isinstance(workload, DeploymentConfig):
        return
    strategy = workload.spec.strategy
    for params in (strategy.rolling_params, strategy.recreate_params):
        for moment in HookMoment:
            hook = getattr(params, moment.value, None)
            if isinstance(hook, LifecycleHook):
                yield hook


def pending(workload: Resource, record: RevisionRecord) -> frozenset[HookMoment]:
    """Return the hooks of a revision that have not succeeded, nor failed in vain."""
    done = {HookPhase.COMPLETE, HookPhase.IGNORED}
    ended = {moment for moment, result in record.hooks.items() if result.phase in done}
    return frozenset(moment for moment in hooks_of(workload) if moment.value not in ended)


def last_end(record: RevisionRecord) -> datetime | None:
    """Return when the last hook of a revision ended."""
    return max((result.ended for result in record.hooks.values()), default=None)


def judge(hook: LifecycleHook, end: HookEnd, now: datetime) -> HookResult | RetryAt:
    """Say what follows from the end of a run."""
    if end.succeeded:
        return HookResult(phase=HookPhase.COMPLETE.value, ended=now, retries=end.retries)
    match FailurePolicy(hook.failure_policy):
        case FailurePolicy.RETRY:
            wait = min(FIRST_BACKOFF * (1 << min(end.retries, 5)), LONGEST_BACKOFF)
            return RetryAt(end.at + wait, end.retries + 1)
        case FailurePolicy.IGNORE:
            phase = HookPhase.IGNORED
        case FailurePolicy.ABORT:
            phase = HookPhase.FAILED
    return HookResult(phase=phase.value, ended=now, retries=end.retries, message=end.message)


def hook_template(
    template: PodTemplate, hook: ExecNewPodHook, environment: Mapping[str, str]
) -> PodTemplate:
    """Return the template of the instance that runs a hook: the container, with another command.

    It sees the volumes that the hook names, and variables of the hook before those of the
    container; `environment` is added to both. It has no ports, probes and sidecars.
    """
    base = _container(template, hook.container_name)
    own = {variable.name for variable in hook.env}
    given = tuple(EnvVar(name=name, value=value) for name, value in environment.items())
    env = (*(one for one in base.env if one.name not in own), *hook.env, *given)
    changes: dict[str, object] = {
        "name": HOOK_CONTAINER,
        "command": hook.command,
        "args": (),
        "env": env,
        "volume_mounts": tuple(one for one in base.volume_mounts if one.name in hook.volumes),
        **dict.fromkeys(("readiness_probe", "liveness_probe", "startup_probe")),
        "lifecycle": None,
        "ports": (),
    }
    pod = template.spec.model_copy(
        update={
            "containers": (base.model_copy(update=changes),),
            "init_containers": (),
            "volumes": tuple(one for one in template.spec.volumes if one.name in hook.volumes),
        }
    )
    return PodTemplate(spec=pod)


def hook_image(record: RevisionRecord, container_name: str) -> str:
    """Return the pinned image of the container that a hook names, or of the only one."""
    return record.images[_container(record.template, container_name).name]


def _container(template: PodTemplate, name: str) -> Container:
    containers = template.spec.containers
    if not name and len(containers) == 1:
        return containers[0]
    for container in containers:
        if container.name == name:
            return container
    raise TemplateError(
        "InvalidHook",
        f"the hook's containerName {name!r} names no container of the template:"
        f" {', '.join(one.name for one in containers)}",
    )


def _check(moment: HookMoment, hook: LifecycleHook, template: PodTemplate) -> None:
    if hook.failure_policy not in set(FailurePolicy):
        raise TemplateError(
            "InvalidHook",
            f"the {moment} hook's failurePolicy {hook.failure_policy!r} is none of"
            f" {', '.join(FailurePolicy)}",
        )
    action = hook.exec_new_pod
    if action is None and not hook.tag_images:
        raise TemplateError("InvalidHook", f"the {moment} hook needs execNewPod or tagImages")
    if action is not None:
        if not action.command:
            raise TemplateError("InvalidHook", f"the {moment} hook's execNewPod needs a command")
        _container(template, action.container_name)
        volumes = {volume.name for volume in template.spec.volumes}
        for name in action.volumes:
            if name not in volumes:
                raise TemplateError(
                    "InvalidHook", f"the {moment} hook's volume {name!r} is none of the template's"
                )
    for tag in hook.tag_images:
        _check_tag(moment, tag, template)


def _check_tag(moment: HookMoment, tag: TagImageHook, template: PodTemplate) -> None:
    _container(template, tag.container_name)
    if tag.to.kind not in {"", "ImageStreamTag"} or ":" not in tag.to.name:
        raise TemplateError(
            "InvalidHook", f"the {moment} hook's tagImages.to must be an ImageStreamTag name:tag"
        )
