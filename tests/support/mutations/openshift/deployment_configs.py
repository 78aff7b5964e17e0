"""Rules of DeploymentConfigs but for their pod templates (apps/v1 types.go)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.mutations.mutants import Document
from tests.support.mutations.openshift.shared import (
    REPOSITORY,
    SECONDS,
    Table,
    environment,
    part_of,
    reference_types,
    resources,
)
from tests.support.mutations.rules import (
    BOOL,
    C_IDENTIFIER,
    DNS_SUBDOMAIN,
    INT32,
    INT_OR_TEXT,
    LABEL_VALUE,
    LIST,
    OBJECT,
    QUALIFIED,
    TEXT,
    FieldRule,
    KindRules,
    at_least,
    empty_or,
    keys_match,
    matches,
    needed,
    not_empty,
    one_of,
)

_POSITIVE = SECONDS & at_least(1)


def _percent(value: Any) -> bool:
    """Condition: a number, or a percentage."""
    return not isinstance(value, str) or re.fullmatch(r"[0-9]+%", value) is not None


_MOMENTS = {"rollingParams": ("pre", "post"), "recreateParams": ("pre", "mid", "post")}


def _hook(prefix: str) -> Table:
    return {
        prefix: OBJECT,
        f"{prefix}.failurePolicy": needed(TEXT),
        f"{prefix}.execNewPod": OBJECT,
        f"{prefix}.execNewPod.command": needed(LIST),
        f"{prefix}.execNewPod.command[]": TEXT,
        f"{prefix}.execNewPod.containerName": TEXT,
        f"{prefix}.execNewPod.volumes": LIST,
        f"{prefix}.execNewPod.volumes[]": TEXT & not_empty,
        **environment(f"{prefix}.execNewPod.env", C_IDENTIFIER),
        f"{prefix}.tagImages": LIST,
        f"{prefix}.tagImages[]": OBJECT,
        f"{prefix}.tagImages[].containerName": TEXT,
        f"{prefix}.tagImages[].to": FieldRule((dict,), required=True),
        f"{prefix}.tagImages[].to.kind": needed(TEXT & one_of("ImageStreamTag")),
        f"{prefix}.tagImages[].to.name": needed(TEXT),
    }


def _containers(document: Document) -> list[str]:
    pod = document["spec"]["template"].get("spec")
    lists = [pod.get("containers"), pod.get("initContainers")] if isinstance(pod, dict) else []
    return [
        str(one["name"])
        for found in lists
        if isinstance(found, list)
        for one in found
        if isinstance(one, dict) and "name" in one
    ]


def _deployment_strategy(document: Document) -> Iterator[str]:
    strategy = part_of(document, "spec", "strategy")
    kind = strategy.get("type") or "Rolling"
    path = "spec.strategy"
    if kind == "Custom" and strategy.get("customParams") is None:
        yield f"{path}.customParams"
    checked = {"Rolling": {"rollingParams"}, "Recreate": {"recreateParams"}}.get(
        kind, set(_MOMENTS)
    )
    for params, moments in _MOMENTS.items():
        for moment in moments:
            hook = part_of(strategy, params).get(moment)
            if hook is not None and params in checked:
                yield from _hook_parts(document, hook, f"{path}.{params}.{moment}")
    rolling = part_of(strategy, "rollingParams")
    yield from _surge(rolling, f"{path}.rollingParams")
    yield from _times(document, strategy, kind)


def _hook_parts(document: Document, hook: Mapping[str, Any], path: str) -> Iterator[str]:
    containers = _containers(document)
    run, tags = hook.get("execNewPod"), hook.get("tagImages")
    if bool(tags) == (run is not None):
        yield path
    if run is not None and not run.get("containerName") and len(containers) != 1:
        yield f"{path}.execNewPod.containerName"
    for at, tag in enumerate(tags or ()):
        name = tag.get("containerName") or (containers[0] if len(containers) == 1 else "")
        if name not in containers:
            yield f"{path}.tagImages[{at}].containerName"


def _surge(rolling: Mapping[str, Any], path: str) -> Iterator[str]:
    missing, extra = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    if isinstance(missing, str) and int(missing.rstrip("%")) > 100:
        yield f"{path}.maxUnavailable"
    zero = (0, "0%")
    if missing in zero and extra in zero and not isinstance(missing, bool):
        yield f"{path}.maxUnavailable"


def _times(document: Document, strategy: Mapping[str, Any], kind: str) -> Iterator[str]:
    rolling, recreate = strategy.get("rollingParams"), strategy.get("recreateParams")
    timeout = None
    if rolling is not None or kind == "Rolling":
        timeout = part_of(rolling).get("timeoutSeconds", 600) or 600
    elif recreate is not None or kind == "Recreate":
        timeout = part_of(recreate).get("timeoutSeconds", 600) or 600
    deadline = strategy.get("activeDeadlineSeconds")
    deadline = 21600 if deadline is None else deadline
    if timeout is not None and deadline <= timeout:
        yield "spec.strategy.activeDeadlineSeconds"
    ready = part_of(document, "spec").get("minReadySeconds") or 0
    if ready >= (timeout or 600) or ready >= deadline:
        yield "spec.minReadySeconds"


def _selected(document: Document) -> Iterator[str]:
    spec = part_of(document, "spec")
    metadata = spec["template"].get("metadata")
    labels = metadata.get("labels") or {} if isinstance(metadata, dict) else {}
    # More lenient: a value that is null is absent, in a map too.
    given = {key: value for key, value in (spec.get("selector") or {}).items() if value is not None}
    selector = given or labels
    if not selector.items() <= labels.items() or not selector:
        yield "spec.template.metadata.labels"


def _deployment_triggers(document: Document) -> Iterator[str]:
    for at, trigger in enumerate(part_of(document, "spec").get("triggers") or ()):
        if trigger["type"] != "ImageChange":
            continue
        path = f"spec.triggers[{at}].imageChangeParams"
        params = trigger.get("imageChangeParams")
        if params is None:
            yield path
            continue
        if not params.get("containerNames"):
            yield f"{path}.containerNames"
        reference = part_of(params, "from")
        if not reference.get("name"):
            yield f"{path}.from"
        else:
            yield from _followed_tag(reference, f"{path}.from")


def _followed_tag(reference: Mapping[str, Any], path: str) -> Iterator[str]:
    kind, name = reference.get("kind") or "ImageStreamTag", reference["name"]
    if kind in {"ImageStream", "ImageRepository"}:
        name = name if ":" in name else f"{name}:latest"
    elif kind != "ImageStreamTag":
        yield f"{path}.kind"
    stream, colon, _ = name.partition(":")
    if not colon or re.fullmatch(REPOSITORY, stream) is None:
        yield f"{path}.name"
    namespace = reference.get("namespace") or "shop"
    if re.fullmatch(DNS_SUBDOMAIN, namespace) is None:
        yield f"{path}.namespace"


DEPLOYMENT_CONFIG = KindRules(
    {
        "spec": FieldRule((dict,), required=True),
        "spec.replicas": INT32 & at_least(0),
        "spec.revisionHistoryLimit": INT32 & at_least(0),
        "spec.minReadySeconds": INT32 & at_least(0),
        "spec.paused": BOOL,
        "spec.test": BOOL,
        "spec.selector": OBJECT,
        "spec.selector{}": TEXT,
        "spec.template": FieldRule((dict,), required=True),
        "spec.template.metadata": OBJECT,
        "spec.template.metadata.labels": OBJECT,
        "spec.template.metadata.labels{}": TEXT,
        "spec.strategy": OBJECT,
        "spec.strategy.type": TEXT & empty_or(one_of("Rolling", "Recreate", "Custom")),
        "spec.strategy.activeDeadlineSeconds": SECONDS & at_least(0),
        "spec.strategy.labels": OBJECT & keys_match(QUALIFIED),
        "spec.strategy.labels{}": TEXT & matches(LABEL_VALUE),
        "spec.strategy.annotations": OBJECT & keys_match(f"(?i:{QUALIFIED})"),
        "spec.strategy.annotations{}": TEXT,
        **resources("spec.strategy.resources"),
        "spec.strategy.customParams": OBJECT,
        "spec.strategy.customParams.image": TEXT,
        "spec.strategy.customParams.command": LIST,
        "spec.strategy.customParams.command[]": TEXT,
        **environment("spec.strategy.customParams.environment", C_IDENTIFIER),
        "spec.strategy.rollingParams": OBJECT,
        "spec.strategy.rollingParams.intervalSeconds": _POSITIVE,
        "spec.strategy.rollingParams.updatePeriodSeconds": _POSITIVE,
        "spec.strategy.rollingParams.timeoutSeconds": _POSITIVE,
        "spec.strategy.rollingParams.maxUnavailable": INT_OR_TEXT & _percent & at_least(0),
        "spec.strategy.rollingParams.maxSurge": INT_OR_TEXT & _percent & at_least(0),
        "spec.strategy.recreateParams": OBJECT,
        "spec.strategy.recreateParams.timeoutSeconds": _POSITIVE,
        **{
            path: rule
            for params, moments in _MOMENTS.items()
            for moment in moments
            for path, rule in _hook(f"spec.strategy.{params}.{moment}").items()
        },
        "spec.triggers": LIST,
        "spec.triggers[]": OBJECT,
        "spec.triggers[].type": needed(TEXT),
        "spec.triggers[].imageChangeParams": OBJECT,
        "spec.triggers[].imageChangeParams.automatic": BOOL,
        "spec.triggers[].imageChangeParams.containerNames": LIST,
        "spec.triggers[].imageChangeParams.containerNames[]": TEXT,
        **reference_types("spec.triggers[].imageChangeParams.from"),
    },
    (_selected, _deployment_strategy, _deployment_triggers),
)
