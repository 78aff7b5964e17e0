"""Defaults of workloads: apps/v1, batch/v1 and apps.openshift.io/v1."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from upwell.api.apps import (
    CronJobSpec,
    DaemonSet,
    DeploymentConfig,
    DeploymentConfigSpec,
    DeploymentConfigStrategy,
    DeploymentSpec,
    DeploymentStrategy,
    DeploymentTrigger,
    LifecycleHook,
    RecreateParams,
    RollingParams,
    RollingUpdate,
    StatefulSetSpec,
    VolumeClaimTemplate,
    WorkloadSpec,
)
from upwell.api.defaults.names import with_tag
from upwell.api.meta import Model

STORED: Mapping[type[Model], tuple[str, ...]] = {
    DeploymentSpec: (
        "replicas",
        "revision_history_limit",
        "progress_deadline_seconds",
        "strategy",
    ),
    DeploymentStrategy: ("type",),
    RollingUpdate: ("max_unavailable", "max_surge"),
    StatefulSetSpec: ("replicas", "revision_history_limit", "pod_management_policy"),
    WorkloadSpec: ("revision_history_limit",),
    CronJobSpec: (
        "concurrency_policy",
        "suspend",
        "successful_jobs_history_limit",
        "failed_jobs_history_limit",
    ),
    DeploymentConfigSpec: ("replicas", "revision_history_limit", "strategy"),
    DeploymentConfigStrategy: ("type", "active_deadline_seconds"),
    RollingParams: ("update_period_seconds", "interval_seconds", "timeout_seconds"),
    RecreateParams: ("timeout_seconds",),
}
_SHARE = RollingUpdate().max_surge
_NOTHING = (0, "0%")


def deployment_strategy(strategy: DeploymentStrategy) -> dict[str, object]:
    """Return the bounds of a rolling update."""
    if strategy.type != "RollingUpdate" or strategy.rolling_update is not None:
        return {}
    return {"rolling_update": RollingUpdate()}


def _may_roll(strategy: object) -> TypeGuard[dict[str, Any]]:
    """Return True for a strategy to complete; one of wrong types is left to validation."""
    if not isinstance(strategy, dict) or not isinstance(strategy.get("rollingUpdate", {}), dict):
        return False
    kind = strategy.get("type", "")
    return isinstance(kind, str) and kind in {"", "RollingUpdate"}


def stateful_set_spec(spec: StatefulSetSpec) -> dict[str, object]:
    """Return how a StatefulSet is updated; there are no partitions here."""
    given = (spec.model_extra or {}).get("updateStrategy", {})
    if not _may_roll(given) or given.get("type"):
        return {}
    rolling = {"partition": 0, **given.get("rollingUpdate", {})}
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}


def claim_template(template: VolumeClaimTemplate) -> dict[str, object]:
    """Return the kind of a volume that each replica has."""
    spec = template.spec
    if not isinstance(spec, dict) or "volumeMode" in spec:
        return {}
    return {"spec": {**spec, "volumeMode": "Filesystem"}}


def daemon_set(workload: DaemonSet) -> DaemonSet:
    """Return a DaemonSet with how it is updated."""
    given = (workload.spec.model_extra or {}).get("updateStrategy", {})
    if not _may_roll(given):
        return workload
    rolling = {"maxUnavailable": 1, "maxSurge": 0, **given.get("rollingUpdate", {})}
    wanted = {"type": "RollingUpdate", "rollingUpdate": rolling}
    if given == wanted:
        return workload
    spec = workload.spec.model_copy(update={"updateStrategy": wanted})
    return workload.model_copy(update={"spec": spec})


def config_strategy(strategy: DeploymentConfigStrategy) -> dict[str, object]:
    """Return the parameters of the strategy that is chosen."""
    if strategy.type == "Rolling" and strategy.rolling_params is None:
        return {"rolling_params": RollingParams()}
    if strategy.type == "Recreate" and strategy.recreate_params is None:
        return {"recreate_params": RecreateParams()}
    return {}


def rolling_params(params: RollingParams) -> dict[str, object]:
    """Return the bounds of a rolling update; one of them stays alone, unless it is 0."""
    surge, unavailable = params.max_surge, params.max_unavailable
    changes: dict[str, object] = {}
    if unavailable is None and (surge is None or surge in _NOTHING):
        changes["max_unavailable"] = _SHARE
    if surge is None and (unavailable is None or unavailable in _NOTHING):
        changes["max_surge"] = _SHARE
    return changes


def config_spec(spec: DeploymentConfigSpec) -> dict[str, object]:
    """Return the triggers and the selector, and the only container as that of hooks."""
    changes: dict[str, object] = {}
    if spec.triggers is None:
        changes["triggers"] = (DeploymentTrigger(type="ConfigChange"),)
    if not spec.selector and spec.template is not None and spec.template.metadata.labels:
        changes["selector"] = dict(spec.template.metadata.labels)
    containers = spec.template.spec.containers if spec.template is not None else ()
    if len(containers) == 1:
        strategy = _with_hooks(spec.strategy, containers[0].name)
        if strategy is not spec.strategy:
            changes["strategy"] = strategy
    return changes


def deployment_config(config: DeploymentConfig) -> DeploymentConfig:
    """Return a DeploymentConfig whose triggers say in which namespace their stream is."""
    triggers = tuple(_placed(one, config.namespace) for one in config.spec.triggers or ())
    if triggers == (config.spec.triggers or ()):
        return config
    return config.model_copy(update={"spec": config.spec.model_copy(update={"triggers": triggers})})


def _placed(trigger: DeploymentTrigger, namespace: str) -> DeploymentTrigger:
    params = trigger.image_change_params
    if params is None:
        return trigger
    from_ = with_tag(params.from_)
    if not from_.namespace and namespace:
        from_ = from_.model_copy(update={"namespace": namespace})
    if from_ is params.from_:
        return trigger
    params = params.model_copy(update={"from_": from_})
    return trigger.model_copy(update={"image_change_params": params})


def _with_hooks(strategy: DeploymentConfigStrategy, container: str) -> DeploymentConfigStrategy:
    changes: dict[str, object] = {}
    for name in ("rolling_params", "recreate_params"):
        params: RollingParams | RecreateParams | None = getattr(strategy, name)
        if params is None:
            continue
        hooks = {
            moment: _named(hook, container)
            for moment in ("pre", "mid", "post")
            if (hook := getattr(params, moment, None)) is not None
        }
        if any(hook is not getattr(params, moment) for moment, hook in hooks.items()):
            changes[name] = params.model_copy(update=hooks)
    return strategy.model_copy(update=changes) if changes else strategy


def _named(hook: LifecycleHook, container: str) -> LifecycleHook:
    """Return a hook whose actions say which container they are about."""
    named = {"container_name": container}
    changes: dict[str, object] = {}
    if hook.exec_new_pod is not None and not hook.exec_new_pod.container_name:
        changes["exec_new_pod"] = hook.exec_new_pod.model_copy(update=named)
    tags = tuple(
        one if one.container_name else one.model_copy(update=named) for one in hook.tag_images
    )
    if tags != hook.tag_images:
        changes["tag_images"] = tags
    return hook.model_copy(update=changes) if changes else hook
