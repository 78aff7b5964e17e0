"""Defaults of Jobs: how they run, and by which labels their Pods are found (batch/v1 Job)."""

from collections.abc import Mapping

from upwell.api.apps import Job
from upwell.api.pod_template import PodTemplate

_HOW_IT_RUNS = ("parallelism", "backoff_limit", "suspend", "completion_mode")
_NAME = ("job-name", "batch.kubernetes.io/job-name")
_SELECTED = "batch.kubernetes.io/controller-uid"
_IDENTITY = ("controller-uid", _SELECTED)
OWN_LABELS = frozenset({*_NAME, *_IDENTITY})
"""Labels that the Pods of a Job get, unless its `manualSelector` is set."""
_MAX_LABEL = 63


def job(found: Job) -> Job:
    """Return a Job with how it runs, and with the labels of its template, if it has none.

    One that exists has a selector that matches its Pods alone, and their labels for it.

    The template of a CronJob says nothing about what it leaves out: its Jobs do.
    """
    spec, given = found.spec, found.spec.model_fields_set
    changes = {name: getattr(spec, name) for name in _HOW_IT_RUNS if name not in given}
    if not {"completions", "parallelism"} & given:
        changes["completions"] = 1
    if changes:
        found = found.model_copy(update={"spec": spec.model_copy(update=changes)})
    return _with_labels(_with_selector(_with_labels(found)))


def has_own_selector(found: Job) -> bool:
    """Return True unless the author of a Job says which Pods are its."""
    return found.spec.manual_selector is not True


def without_own_labels(found: Job) -> PodTemplate:
    """Return the template without what tells this Job from another one that runs the same."""
    template = found.spec.template
    if not has_own_selector(found):
        return template
    own = {found.name, found.uid}
    kept = {
        key: value
        for key, value in template.metadata.labels.items()
        if key not in OWN_LABELS or value not in own
    }
    return _labelled(template, kept)


def _with_labels(found: Job) -> Job:
    labels = found.spec.template.metadata.labels
    return found if found.labels or not labels else found.with_metadata(labels=dict(labels))


def _with_selector(found: Job) -> Job:
    """Return a Job that is known by its uid: as Kubernetes does when it creates one.

    What says so already, such as the uid of the Job that a manifest was exported from, gives way.
    """
    uid = found.uid
    if not uid or not has_own_selector(found):
        return found
    spec = found.spec
    labels = {**spec.template.metadata.labels, **dict.fromkeys(_IDENTITY, uid)}
    if len(found.name) <= _MAX_LABEL:
        labels = dict.fromkeys(_NAME, found.name) | labels
    given = spec.selector if isinstance(spec.selector, dict) else {}
    matched = given.get("matchLabels")
    matched = matched if isinstance(matched, dict) else {}
    others = {key: value for key, value in matched.items() if key not in OWN_LABELS}
    selector = {**given, "matchLabels": {**others, _SELECTED: uid}}
    if selector == spec.selector and labels == spec.template.metadata.labels:
        return found
    changes = {"selector": selector, "template": _labelled(spec.template, labels)}
    return found.model_copy(update={"spec": spec.model_copy(update=changes)})


def _labelled(template: PodTemplate, labels: Mapping[str, str]) -> PodTemplate:
    metadata = template.metadata.model_copy(update={"labels": dict(labels)})
    return template.model_copy(update={"metadata": metadata})
