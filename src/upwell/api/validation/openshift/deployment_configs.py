"""Rules of a DeploymentConfig's own fields (apps/v1 of OpenShift); its template has others."""

from collections.abc import Collection, Iterator

from upwell.api.apps import (
    DeploymentConfig,
    DeploymentConfigSpec,
    DeploymentConfigStrategy,
    DeploymentTrigger,
    ExecNewPodHook,
    ImageTriggerParams,
    LifecycleHook,
    RollingParams,
    TagImageHook,
)
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.validation.metadata import annotations
from upwell.api.validation.openshift.references import stream_tag_faults
from upwell.api.validation.openshift.variables import identifier_faults
from upwell.api.validation.pods.resources import requirements
from upwell.api.validation.shapes import Check, labels, share
from upwell.api.values.faults import Fault

_TYPES = ("Rolling", "Recreate", "Custom")
_PATH = "spec.strategy"
_DEFAULT_TIMEOUT = 600
_EXTRA: dict[str, Check] = {"labels": labels, "annotations": annotations, "resources": requirements}
"""Fields of the strategy that no rollout here reads."""


def deployment_config_faults(config: DeploymentConfig) -> Iterator[Fault]:
    """Yield every fault of a defaulted DeploymentConfig but for those of its template."""
    spec = config.spec
    for at, trigger in enumerate(spec.triggers or ()):
        yield from _trigger(trigger, f"spec.triggers[{at}]")
    yield from _strategy(spec.strategy, _containers(spec))
    yield from _times(spec)


def _containers(spec: DeploymentConfigSpec) -> set[str]:
    if spec.template is None:
        return set()
    pod = spec.template.spec
    return {container.name for container in (*pod.containers, *pod.init_containers)}


def _trigger(trigger: DeploymentTrigger, path: str) -> Iterator[Fault]:
    if not trigger.type:
        yield Fault.required(f"{path}.type")
    if trigger.type != "ImageChange":
        return
    if trigger.image_change_params is None:
        yield Fault.required(f"{path}.imageChangeParams")
    else:
        yield from _image_change(trigger.image_change_params, f"{path}.imageChangeParams")


def _image_change(params: ImageTriggerParams, path: str) -> Iterator[Fault]:
    if not params.from_.name:
        yield Fault.required(f"{path}.from")
    else:
        if params.from_.kind not in {"", IMAGE_STREAM_TAG}:
            why = f"kind must be an {IMAGE_STREAM_TAG}"
            yield Fault.invalid(f"{path}.from.kind", params.from_.kind, why)
        yield from stream_tag_faults(params.from_, f"{path}.from")
    if not params.container_names:
        yield Fault.required(f"{path}.containerNames")


def _strategy(strategy: DeploymentConfigStrategy, containers: Collection[str]) -> Iterator[Fault]:
    kind = strategy.type or "Rolling"
    if kind not in _TYPES:
        why = 'unsupported strategy type, use "Custom" instead and specify your own strategy'
        yield Fault.invalid(f"{_PATH}.type", kind, why)
    if kind == "Custom" and strategy.custom_params is None:
        yield Fault.required(f"{_PATH}.customParams")
    if strategy.custom_params is not None:
        environment = strategy.custom_params.environment
        yield from identifier_faults(environment, f"{_PATH}.customParams.environment")
    rolling, recreate = strategy.rolling_params, strategy.recreate_params
    if rolling is not None and kind in {"Rolling", "Custom"}:
        path = f"{_PATH}.rollingParams"
        yield from _rolling(rolling, path)
        yield from _hooks({"pre": rolling.pre, "post": rolling.post}, containers, path)
    if recreate is not None and kind in {"Recreate", "Custom"}:
        path = f"{_PATH}.recreateParams"
        yield from _positive(recreate.timeout_seconds, f"{path}.timeoutSeconds")
        hooks = {"pre": recreate.pre, "mid": recreate.mid, "post": recreate.post}
        yield from _hooks(hooks, containers, path)
    for name, check in _EXTRA.items():
        value = (strategy.model_extra or {}).get(name)
        if value is not None:
            yield from check(value, f"{_PATH}.{name}")


def _rolling(rolling: RollingParams, path: str) -> Iterator[Fault]:
    yield from _positive(rolling.interval_seconds, f"{path}.intervalSeconds")
    yield from _positive(rolling.update_period_seconds, f"{path}.updatePeriodSeconds")
    yield from _positive(rolling.timeout_seconds, f"{path}.timeoutSeconds")
    missing, extra = rolling.max_unavailable, rolling.max_surge
    found = [
        *(share(missing, f"{path}.maxUnavailable") if missing is not None else ()),
        *(share(extra, f"{path}.maxSurge") if extra is not None else ()),
    ]
    yield from found
    if found:
        return
    if isinstance(missing, str) and int(missing.rstrip("%")) > 100:  # noqa: PLR2004 - percent
        yield Fault.invalid(f"{path}.maxUnavailable", missing, "should not be more than 100%")
    if all(value is not None and int(str(value).rstrip("%")) == 0 for value in (missing, extra)):
        why = "cannot be 0 when maxSurge is 0 as well"
        yield Fault.invalid(f"{path}.maxUnavailable", missing, why)


def _positive(seconds: int, path: str) -> Iterator[Fault]:
    if seconds < 1:
        yield Fault.invalid(path, seconds, "must be >0")


def _times(spec: DeploymentConfigSpec) -> Iterator[Fault]:
    timeout, deadline = _timeout(spec.strategy), spec.strategy.active_deadline_seconds
    ready = spec.min_ready_seconds
    negative = "must be greater than or equal to 0"
    if ready < 0:
        yield Fault.invalid("spec.minReadySeconds", ready, negative)
    if deadline < 0:
        yield Fault.invalid(f"{_PATH}.activeDeadlineSeconds", deadline, negative)
    elif deadline <= timeout:
        why = "activeDeadlineSeconds must be greater than timeoutSeconds"
        yield Fault.invalid(f"{_PATH}.activeDeadlineSeconds", deadline, why)
    if 0 < timeout <= ready:
        why = f"must be less than the deployment timeout ({timeout}s)"
        yield Fault.invalid("spec.minReadySeconds", ready, why)
    if ready >= deadline:
        why = f"must be less than activeDeadlineSeconds ({deadline}s)"
        yield Fault.invalid("spec.minReadySeconds", ready, why)


def _timeout(strategy: DeploymentConfigStrategy) -> int:
    params = strategy.rolling_params or strategy.recreate_params
    return params.timeout_seconds if params is not None else _DEFAULT_TIMEOUT


def _hooks(
    hooks: dict[str, LifecycleHook | None], containers: Collection[str], path: str
) -> Iterator[Fault]:
    for moment, hook in hooks.items():
        if hook is not None:
            yield from _hook(hook, containers, f"{path}.{moment}")


def _hook(hook: LifecycleHook, containers: Collection[str], path: str) -> Iterator[Fault]:
    if not hook.failure_policy or "failure_policy" not in hook.model_fields_set:
        yield Fault.required(f"{path}.failurePolicy")
    if hook.exec_new_pod is not None and hook.tag_images:
        why = "only one of 'execNewPod' or 'tagImages' may be specified"
        yield Fault.invalid(path, "", why)
    elif hook.exec_new_pod is not None:
        yield from _command(hook.exec_new_pod, containers, f"{path}.execNewPod")
    elif not hook.tag_images:
        yield Fault.invalid(path, "", "One of execNewPod or tagImages must be specified")
    for at, tag in enumerate(hook.tag_images):
        yield from _tag(tag, containers, f"{path}.tagImages[{at}]")


def _command(run: ExecNewPodHook, containers: Collection[str], path: str) -> Iterator[Fault]:
    if not run.command:
        yield Fault.required(f"{path}.command")
    if not run.container_name and len(containers) != 1:
        yield Fault.required(f"{path}.containerName").following("spec.template")
    yield from identifier_faults(run.env, f"{path}.env")
    for at, volume in enumerate(run.volumes):
        if not volume:
            yield Fault.invalid(f"{path}.volumes[{at}]", volume, "must not be empty")


def _tag(tag: TagImageHook, containers: Collection[str], path: str) -> Iterator[Fault]:
    if not tag.container_name and len(containers) != 1:
        fault = Fault.required(f"{path}.containerName", "a containerName is required")
        yield fault.following("spec.template")
    elif tag.container_name and tag.container_name not in containers:
        why = f"no container {tag.container_name!r} found"
        fault = Fault.invalid(f"{path}.containerName", tag.container_name, why)
        yield fault.following("spec.template")
    if tag.to.kind != IMAGE_STREAM_TAG:
        yield Fault.invalid(f"{path}.to.kind", tag.to.kind, f"Must be '{IMAGE_STREAM_TAG}'")
    if not tag.to.name:
        yield Fault.required(f"{path}.to.name", "a destination tag name is required")
