"""Rules of Kubernetes' workloads; source: the validation of apps/v1 and batch/v1."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from upwell.api.apps import (
    TRIGGERS_ANNOTATION,
    CronJob,
    DaemonSet,
    Deployment,
    DeploymentConfig,
    Job,
    StatefulSet,
)
from upwell.api.codec import encode
from upwell.api.defaults.jobs import OWN_LABELS
from upwell.api.meta import Resource
from upwell.api.pod import Pod
from upwell.api.validation.pods.template import template_faults
from upwell.api.validation.pods.volume_sources import claim_spec
from upwell.api.validation.schedules import schedule_faults
from upwell.api.validation.shapes import (
    Check,
    Rule,
    flag,
    integer,
    label_selector,
    listed,
    one_of,
    record,
    selects,
    share,
    text,
)
from upwell.api.values.faults import Fault

_PROGRESS_DEADLINE = 600
"""Seconds, where a Deployment says nothing."""
_TEMPLATE = "spec.template"
_SHARE = "25%"
_WHOLE = 100
_COUNTS: dict[str, Check] = {
    "replicas": integer(),
    "minReadySeconds": integer(),
    "revisionHistoryLimit": integer(),
    "selector": label_selector,
}


def workload_faults(resource: Resource) -> Iterator[Fault]:
    """Yield what is wrong with the spec of a workload, its Pod template included."""
    if not isinstance(
        resource, Deployment | StatefulSet | DaemonSet | Job | CronJob | DeploymentConfig
    ):
        return
    spec = encode(resource).get("spec") or {}
    match resource:
        case Deployment():
            yield from _DEPLOYMENT(spec, "spec")
            yield from _serving(spec, resource.annotations)
        case StatefulSet():
            yield from _STATEFUL_SET(spec, "spec")
            claims = [_name_of(claim) for claim in spec.get("volumeClaimTemplates") or ()]
            yield from _serving(spec, resource.annotations, claims)
        case DaemonSet():
            yield from _DAEMON_SET(spec, "spec")
            yield from _serving(spec, resource.annotations)
        case Job():
            yield from _JOB(spec, "spec")
            yield from _job_selector(spec)
            yield from _job_template(spec, "spec", resource.annotations)
        case CronJob():
            yield from _CRON_JOB(spec, "spec")
            yield from schedule_faults(spec, "spec")
            job = (spec.get("jobTemplate") or {}).get("spec") or {}
            yield from _job_template(job, "spec.jobTemplate.spec", resource.annotations)
        case DeploymentConfig():
            yield from _deployment_config(resource, spec)


def pod_faults(pod: Pod) -> Iterator[Fault]:
    """Yield what is wrong with the spec of a Pod that stands for itself."""
    spec = encode(pod).get("spec") or {}
    for fault in template_faults({"spec": spec}, _TEMPLATE):
        yield replace(fault, path=fault.path.removeprefix(f"{_TEMPLATE}."))
    for name in ("initContainers", "containers"):
        for at, container in enumerate(spec.get(name) or ()):
            image = container.get("image") if isinstance(container, dict) else None
            if isinstance(image, str) and image != image.strip():
                why = "must not have leading or trailing whitespace"
                yield Fault.invalid(f"spec.{name}[{at}].image", image, why)


def _one_at_least(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    """Check that a rollout can take a step, and takes no more than all away."""
    missing, extra = value.get("maxUnavailable", _SHARE), value.get("maxSurge", _SHARE)
    where = f"{path}.maxUnavailable"
    if _number(missing) == 0 and _number(extra) == 0:
        yield Fault.invalid(where, missing, "may not be 0 when `maxSurge` is 0")
    if isinstance(missing, str) and _number(missing) > _WHOLE:
        yield Fault.invalid(where, missing, "must not be greater than 100%")


def _number(value: object) -> int:
    return int(str(value).removesuffix("%")[:10] or 0)


def _alone(kind: str) -> Rule:
    """Return the rule that `rollingUpdate` belongs to the type RollingUpdate."""

    def rule(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
        if value.get("type") == kind and value.get("rollingUpdate") is not None:
            why = f"may not be specified when strategy `type` is '{kind}'"
            yield Fault.forbidden(f"{path}.rollingUpdate", why)

    return rule


def _deadline(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    deadline = spec.get("progressDeadlineSeconds", _PROGRESS_DEADLINE)
    if deadline <= (spec.get("minReadySeconds") or 0):
        why = "must be greater than minReadySeconds"
        yield Fault.invalid(f"{path}.progressDeadlineSeconds", deadline, why)


_SHARES: dict[str, Check] = {"maxUnavailable": share, "maxSurge": share}
_DEPLOYMENT = record(
    {
        **_COUNTS,
        "progressDeadlineSeconds": integer(),
        "paused": flag,
        "strategy": record(
            {
                "type": one_of("Recreate", "RollingUpdate"),
                "rollingUpdate": record(_SHARES, _one_at_least),
            },
            _alone("Recreate"),
        ),
    },
    _deadline,
)
_WHEN_GONE = one_of("Retain", "Delete")
_STATEFUL_SET = record(
    {
        **_COUNTS,
        "serviceName": text(),
        "podManagementPolicy": one_of("OrderedReady", "Parallel"),
        "ordinals": record({"start": integer()}),
        "updateStrategy": record(
            {
                "type": one_of("OnDelete", "RollingUpdate"),
                "rollingUpdate": record({"partition": integer(), "maxUnavailable": share}),
            },
            _alone("OnDelete"),
        ),
        "persistentVolumeClaimRetentionPolicy": record(
            {"whenDeleted": _WHEN_GONE, "whenScaled": _WHEN_GONE}
        ),
        "volumeClaimTemplates": listed(record({"spec": claim_spec}, required=("spec",))),
    }
)


def _one_step(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    missing, extra = _number(value.get("maxUnavailable", 1)), _number(value.get("maxSurge", 0))
    if missing and extra:
        why = "may not be set when maxUnavailable is non-zero"
        yield Fault.invalid(f"{path}.maxSurge", value["maxSurge"], why)
    if not missing and not extra:
        why = "cannot be 0 when maxSurge is 0"
        yield Fault.invalid(f"{path}.maxUnavailable", value.get("maxUnavailable", 0), why)


_DAEMON_SET = record(
    {
        **_COUNTS,
        "updateStrategy": record(
            {
                "type": one_of("OnDelete", "RollingUpdate"),
                "rollingUpdate": record(_SHARES, _one_step),
            }
        ),
    }
)


def _indexed(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        why = "when completion mode is Indexed"
        yield Fault.required(f"{path}.completions", why)


_JOB_FIELDS: dict[str, Check] = {
    "parallelism": integer(),
    "completions": integer(),
    "activeDeadlineSeconds": integer(),
    "backoffLimit": integer(),
    "ttlSecondsAfterFinished": integer(),
    "completionMode": one_of("NonIndexed", "Indexed"),
    "podReplacementPolicy": one_of("TerminatingOrFailed", "Failed"),
    "suspend": flag,
    "manualSelector": flag,
    "selector": label_selector,
}
_JOB = record(_JOB_FIELDS, _indexed)


def _no_selector(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if spec.get("selector") is not None:
        yield Fault.invalid(
            f"{path}.selector", spec["selector"], "`selector` will be auto-generated"
        )
    if spec.get("manualSelector"):
        yield Fault.not_supported(
            f"{path}.manualSelector", spec["manualSelector"], ["nil", "false"]
        )


_CRON_JOB = record(
    {
        "schedule": text(),
        "timeZone": text(),
        "startingDeadlineSeconds": integer(),
        "concurrencyPolicy": one_of("Allow", "Forbid", "Replace"),
        "suspend": flag,
        "successfulJobsHistoryLimit": integer(),
        "failedJobsHistoryLimit": integer(),
        "jobTemplate": record({"spec": record(_JOB_FIELDS, _indexed, _no_selector)}),
    }
)


def _serving(
    spec: Mapping[str, Any], annotations: Mapping[str, str], claims: list[str] | None = None
) -> Iterator[Fault]:
    """Yield the faults of selector and template of what serves without an end."""
    template = spec.get("template") or {}
    yield from _selector(spec.get("selector"), template)
    triggered = None if annotations.get(TRIGGERS_ANNOTATION) else ()
    yield from template_faults(template, "spec.template", triggered=triggered, claims=claims or ())
    yield from _endless(template.get("spec") or {}, "spec.template.spec")


def _selector(selector: Mapping[str, Any] | None, template: Mapping[str, Any]) -> Iterator[Fault]:
    if selector is None:
        yield Fault.required("spec.selector")
    elif not (selector.get("matchLabels") or selector.get("matchExpressions")):
        yield Fault.invalid("spec.selector", selector, "empty selector is invalid")
    elif not any(True for _ in label_selector(selector, "")):
        yield from _does_not_match(selector, template)


def _job_selector(spec: Mapping[str, Any]) -> Iterator[Fault]:
    """Check that a Job's own Pods are selected; the uid that it has without more is added later."""
    selector, path = spec.get("selector"), "spec.selector"
    if not isinstance(selector, dict) or any(True for _ in label_selector(selector, path)):
        if selector is None and spec.get("manualSelector") is True:
            yield Fault.required(path)
        return
    if spec.get("manualSelector") is not True:
        given = selector.get("matchLabels") or {}
        others = {key: value for key, value in given.items() if key not in OWN_LABELS}
        selector = {**selector, "matchLabels": others}
    yield from _does_not_match(selector, spec.get("template") or {})


def _does_not_match(selector: Mapping[str, Any], template: Mapping[str, Any]) -> Iterator[Fault]:
    found = (template.get("metadata") or {}).get("labels") or {}
    if not selects(selector, found):
        path = "spec.template.metadata.labels"
        fault = Fault.invalid(path, found, "`selector` does not match template `labels`")
        yield fault.following("spec.selector")


def _endless(pod: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if pod.get("restartPolicy") in {"OnFailure", "Never"}:
        yield Fault.not_supported(f"{path}.restartPolicy", pod["restartPolicy"], ["Always"])
    if pod.get("activeDeadlineSeconds") is not None:
        why = "must not be specified: what serves has no end"
        yield Fault.forbidden(f"{path}.activeDeadlineSeconds", why)


def _job_template(
    spec: Mapping[str, Any], path: str, annotations: Mapping[str, str]
) -> Iterator[Fault]:
    template = spec.get("template") or {}
    triggered = None if annotations.get(TRIGGERS_ANNOTATION) else ()
    yield from template_faults(template, f"{path}.template", triggered=triggered)
    policy = (template.get("spec") or {}).get("restartPolicy") or "Always"
    if policy == "Always":
        where = f"{path}.template.spec.restartPolicy"
        yield Fault.not_supported(where, policy, ["OnFailure", "Never"])


def _deployment_config(config: DeploymentConfig, spec: Mapping[str, Any]) -> Iterator[Fault]:
    template = spec.get("template")
    if template is None:
        yield Fault.required("spec.template")
        return
    triggered = {
        name
        for trigger in config.spec.triggers or ()
        if trigger.image_change_params is not None
        for name in trigger.image_change_params.container_names
    }
    yield from template_faults(template, "spec.template", triggered=triggered)
    yield from _endless(template.get("spec") or {}, "spec.template.spec")
    selector = config.spec.selector
    labels = config.spec.template.metadata.labels if config.spec.template is not None else {}
    if not selector:
        yield Fault.required("spec.selector")
    elif any(labels.get(key) != value for key, value in selector.items()):
        path = "spec.template.metadata.labels"
        fault = Fault.invalid(path, labels, "`selector` does not match template `labels`")
        yield fault.following("spec.selector")


def _name_of(claim: Mapping[str, Any]) -> str:
    name = (claim.get("metadata") or {}).get("name")
    return name if isinstance(name, str) else ""
