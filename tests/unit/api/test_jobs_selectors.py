"""Labels by which a Job and its Pods are found, and no others."""

from typing import Any

import pytest

from upwell.api.apps import CronJob, Job
from upwell.api.codec import decode_as, encode
from upwell.api.defaults import as_stored
from upwell.api.validation.objects import validate

UID = "6f0c2a9e-0b1f-4d58-8a1e-2f0d4f1c7b11"
ANOTHER = {"controller-uid": "another", "batch.kubernetes.io/controller-uid": "another"}
IDENTITY = {"controller-uid": UID, "batch.kubernetes.io/controller-uid": UID}
NAME = {"job-name": "load", "batch.kubernetes.io/job-name": "load"}
SELECTED = {"matchLabels": {"batch.kubernetes.io/controller-uid": UID}}


def job(labels: dict[str, str] | None = None, uid: str | None = UID, **spec: Any) -> Job:
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "x.test/a:1"}]}
    template: dict[str, Any] = {"spec": pod}
    if labels is not None:
        template["metadata"] = {"labels": labels}
    metadata = {"namespace": "shop", "name": "load", "uid": uid}
    return as_stored(decode_as(Job, {"metadata": metadata, "spec": {"template": template, **spec}}))


def labels_of(found: Job) -> dict[str, str]:
    return found.spec.template.metadata.labels


@pytest.mark.parametrize(
    ("given", "selector", "labels", "matched"),
    [
        (None, None, {**IDENTITY, **NAME}, SELECTED),
        ({"app": "a"}, {}, {"app": "a", **IDENTITY, **NAME}, SELECTED),
        # Exported from the cluster where it ran.
        (ANOTHER, {"matchLabels": ANOTHER}, {**IDENTITY, **NAME}, SELECTED),
        (
            {"app": "a"},
            {"matchLabels": {"app": "a"}},
            {"app": "a", **IDENTITY, **NAME},
            {"matchLabels": {"app": "a", **SELECTED["matchLabels"]}},
        ),
        ({"job-name": "mine"}, None, {**IDENTITY, **NAME, "job-name": "mine"}, SELECTED),
        # Kept by a version that had no use for it.
        (None, "load", {**IDENTITY, **NAME}, SELECTED),
        (None, {"matchLabels": 7}, {**IDENTITY, **NAME}, SELECTED),
    ],
)
def test_a_job_that_exists_selects_its_own_pods(
    given: dict[str, str] | None, selector: Any, labels: dict[str, str], matched: Any
) -> None:
    found = job(given, selector=selector)
    assert (labels_of(found), found.spec.selector) == (labels, matched)
    assert as_stored(found) is found
    assert validate(found) == ()


def test_no_label_has_a_name_that_is_too_long_for_one() -> None:
    found = as_stored(job(uid=None).with_metadata(name="a" * 64, uid=UID))
    assert labels_of(found) == IDENTITY
    assert validate(found) == ()


def test_its_author_may_say_which_pods_are_its() -> None:
    selector = {"matchLabels": {"app": "a"}}
    found = job({"app": "a"}, selector=selector, manualSelector=True)
    assert (labels_of(found), found.spec.selector) == ({"app": "a"}, selector)
    assert validate(found) == ()


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"manualSelector": True}, "spec.selector"),
        (
            {"manualSelector": True, "selector": {"matchLabels": {"app": "b"}}},
            "spec.template.metadata.labels",
        ),
        ({"selector": {"matchLabels": {"app": "b"}}}, "spec.template.metadata.labels"),
        ({"selector": {"matchLabels": {"app": "not a label"}}}, "spec.selector.matchLabels"),
    ],
)
def test_a_selector_that_misses_the_jobs_own_pods_is_a_fault(
    spec: dict[str, Any], path: str
) -> None:
    (fault,) = validate(job({"app": "a"}, uid=None, **spec))
    assert fault.path.startswith(path)


def test_the_jobs_of_a_cron_job_are_told_apart_not_their_template() -> None:
    spec = {"schedule": "@daily", "jobTemplate": {"spec": encode(job(uid=None))["spec"]}}
    metadata = {"namespace": "shop", "name": "daily", "uid": UID}
    found = as_stored(decode_as(CronJob, {"metadata": metadata, "spec": spec}))
    assert found.spec.job_template.spec.selector is None
    assert found.spec.job_template.spec.template.metadata.labels == {}
