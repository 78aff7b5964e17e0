"""Settings of the rollout of each kind of workload, as one shape."""

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import cast

from upwell.api.apps import (
    CronJob,
    DaemonSet,
    Deployment,
    DeploymentConfig,
    RecreateParams,
    RollingParams,
    RollingUpdate,
    StatefulSet,
)
from upwell.api.meta import Resource
from upwell.api.pod_template import PodTemplate
from upwell.api.validation.numbers import MAX_REPLICAS
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.rollout import RolloutStrategy, Settings

type Workload = Deployment | DeploymentConfig | StatefulSet | DaemonSet

WORKLOADS: tuple[type[Workload], ...] = (Deployment, DeploymentConfig, StatefulSet, DaemonSet)

DEFAULT_SHARE = "25%"
DEFAULT_DEADLINE = 600
DEFAULT_GRACE = 30
DRAIN_ANNOTATION = "upwell.dev/drain-seconds"
"""Seconds for which an instance that leaves may go on with its work, if not its grace period."""
_LONGEST_DRAIN = 86400
_MANY_DIGITS = 10
ROLL_OUT_ANNOTATION = "upwell.dev/roll-out"
"""Names the template hash that a person wants rolled out where no trigger does it."""
DEFAULT_ACTIVE_DEADLINE = 21600
"""Seconds that a DeploymentConfig's rollout may take (apps.openshift.io MaxDeploymentDuration)."""


def settings_of(workload: Workload) -> Settings:
    """Return how to roll out; raises TemplateError for what cannot be understood."""
    match workload:
        case Deployment():
            return _deployment(workload)
        case DeploymentConfig():
            return _deployment_config(workload)
        case StatefulSet():
            return _settings(workload, workload.spec.replicas, RolloutStrategy.ORDERED, (0, 1))
        case DaemonSet():
            # Kubernetes stops the old one first; beside it is better, since no node is full here.
            return _settings(workload, 1, RolloutStrategy.ROLLING, (1, 0))


def rollout_warnings(resource: Resource) -> Iterator[str]:
    """Yield why nothing new of a workload would be rolled out, as it is declared."""
    if isinstance(resource, WORKLOADS):
        try:
            settings_of(resource)
        except TemplateError as error:
            yield f"it is not rolled out while this cannot be parsed: {error}"


def template_of(workload: Workload) -> PodTemplate:
    """Return the template as declared; an absent one is empty."""
    return workload.spec.template or PodTemplate()


def with_pod_template[R: Resource](resource: R, template: PodTemplate) -> R:
    """Return the workload with another template."""
    if isinstance(resource, CronJob):
        job = resource.spec.job_template
        job_spec = job.spec.model_copy(update={"template": template})
        changed = {"job_template": job.model_copy(update={"spec": job_spec})}
        return resource.model_copy(update={"spec": resource.spec.model_copy(update=changed)})
    if isinstance(resource, Deployment | DeploymentConfig | StatefulSet | DaemonSet):
        spec = resource.spec.model_copy(update={"template": template})
        return cast("R", resource.model_copy(update={"spec": spec}))
    return resource


def instance_labels(workload: Resource, template: PodTemplate) -> dict[str, str]:
    """Return the labels of instances: OpenShift's deployer adds the DeploymentConfig's name."""
    labels = dict(template.metadata.labels)
    if isinstance(workload, DeploymentConfig):
        labels["deploymentconfig"] = workload.name
    return labels


def history_limit(workload: Workload) -> int:
    """Return how many old revisions are kept."""
    return workload.spec.revision_history_limit


def grace_seconds(template: PodTemplate) -> float:
    """Return how long an instance may take to end."""
    grace = template.spec.termination_grace_period_seconds
    return grace if grace >= 0 else 1  # as Kubernetes takes it


def drain_limit(workload: Workload) -> timedelta:
    """Return how long an instance that leaves may go on with what it has.

    As long as it may take to end, unless an annotation says otherwise; raises TemplateError when
    that cannot be understood.
    """
    text = workload.annotations.get(DRAIN_ANNOTATION, "").strip()
    if not text:
        return timedelta(seconds=min(grace_seconds(template_of(workload)), _LONGEST_DRAIN))
    if not (text.isascii() and text.isdecimal() and len(text) < _MANY_DIGITS):
        why = f"annotation {DRAIN_ANNOTATION}: {text!r} is not a number of seconds"
        raise TemplateError("InvalidAnnotation", why)
    return timedelta(seconds=min(int(text), _LONGEST_DRAIN))


def is_manual(workload: Workload) -> bool:
    """Return True if only a person starts a rollout: a DeploymentConfig with `triggers: []`."""
    return isinstance(workload, DeploymentConfig) and workload.spec.triggers == ()


def follows_changes(workload: Workload) -> bool:
    """Return True if each change of the template is rolled out, without any trigger."""
    if not isinstance(workload, DeploymentConfig) or workload.spec.triggers is None:
        return True
    return any(trigger.type == "ConfigChange" for trigger in workload.spec.triggers)


def is_test(workload: Workload) -> bool:
    """Return True if nothing shall run once a rollout is complete (`spec.test`)."""
    return isinstance(workload, DeploymentConfig) and bool(workload.spec.test)


def is_paused(workload: Resource) -> bool:
    """Return True if `spec.paused` is set."""
    return isinstance(workload, Deployment | DeploymentConfig) and bool(workload.spec.paused)


def _deployment(deployment: Deployment) -> Settings:
    spec, kind = deployment.spec, deployment.spec.strategy.type
    replicas = spec.replicas
    if kind not in {"RollingUpdate", "Recreate"}:
        raise TemplateError("InvalidStrategy", f"spec.strategy.type {kind!r} is not known")
    seconds = spec.progress_deadline_seconds
    if kind == "Recreate":
        return _settings(deployment, replicas, RolloutStrategy.RECREATE, (0, 0), seconds)
    rolling = spec.strategy.rolling_update or RollingUpdate()
    limits = _limits(rolling, replicas)
    return _settings(deployment, replicas, RolloutStrategy.ROLLING, limits, seconds)


def _deployment_config(config: DeploymentConfig) -> Settings:
    spec = config.spec
    replicas, strategy, kind = spec.replicas, spec.strategy, spec.strategy.type
    active = timedelta(seconds=strategy.active_deadline_seconds or DEFAULT_ACTIVE_DEADLINE)
    if kind == "Recreate":
        seconds = (strategy.recreate_params or RecreateParams()).timeout_seconds
        found = _settings(config, replicas, RolloutStrategy.RECREATE, (0, 0), seconds)
        return replace(found, active_deadline=active)
    if kind not in {"Rolling", "Custom"}:
        raise TemplateError("InvalidStrategy", f"spec.strategy.type {kind!r} is not known")
    if kind == "Custom" and strategy.custom_params is None:
        raise TemplateError("InvalidStrategy", "spec.strategy.customParams is missing")
    rolling = strategy.rolling_params or RollingParams()
    found = _settings(
        config,
        replicas,
        RolloutStrategy.ROLLING,
        _limits(rolling, replicas),
        rolling.timeout_seconds,
    )
    return replace(found, active_deadline=active)


def _settings(
    workload: Workload,
    replicas: int,
    strategy: RolloutStrategy,
    limits: tuple[int, int],
    deadline_seconds: int = DEFAULT_DEADLINE,
) -> Settings:
    surge, unavailable = limits
    if replicas > MAX_REPLICAS:  # admitted before there was a bound
        raise TemplateError(
            "TooManyReplicas", f"spec.replicas: {replicas} is more than {MAX_REPLICAS}"
        )
    return Settings(
        replicas=replicas,
        strategy=strategy,
        max_surge=surge,
        max_unavailable=unavailable,
        min_ready=timedelta(seconds=workload.spec.min_ready_seconds),
        deadline=timedelta(seconds=deadline_seconds or DEFAULT_DEADLINE),
        paused=is_paused(workload),
        drain=drain_limit(workload),
    )


def _limits(rolling: RollingUpdate | RollingParams, replicas: int) -> tuple[int, int]:
    """Return surge (rounded up) and unavailable (rounded down), never both 0."""
    surge = _share(rolling.max_surge, replicas, "maxSurge", up=True)
    unavailable = _share(rolling.max_unavailable, replicas, "maxUnavailable", up=False)
    if surge == 0 and unavailable == 0:
        return 0, 1  # as Kubernetes' ResolveFenceposts: a rollout has to be able to move
    return surge, unavailable


def _share(value: int | str | None, replicas: int, name: str, *, up: bool) -> int:
    text = str(DEFAULT_SHARE if value is None else value).strip()
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit() and len(number) <= _MANY_DIGITS):
        raise TemplateError(
            "InvalidStrategy", f"{name} {text!r} is neither a number nor a percentage"
        )
    if not text.endswith("%"):
        return int(number)
    exact = replicas * int(number) / 100
    return math.ceil(exact) if up else math.floor(exact)
