"""Every fault of every kind of object, asked of all five surfaces: none contradicts another."""

from datetime import UTC, datetime
from typing import Any

import pytest

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.codec import decode, encode
from upwell.api.meta import Resource
from upwell.cli.explain.status_tree import StatusTree
from upwell.policy.explain.changes import explain
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.health.fault import FaultEvent, HealthFault
from upwell.policy.health.judgement import faults_of
from upwell.policy.notifications.cloud_events import cloud_events
from upwell.policy.notifications.events import events_of
from upwell.server.metrics.gauges import fault_gauges

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SINCE = "2026-03-01T11:00:00Z"
IMAGE = "registry.test/web@sha256:" + "a" * 64


def condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    told = {"type": kind, "status": status, "reason": reason, "message": message}
    return {**told, "lastTransitionTime": SINCE}


def made(api_version: str, kind: str, status: dict[str, Any], **spec: Any) -> Resource:
    metadata = {"namespace": "shop", "name": "web", "uid": "1"}
    document = {"apiVersion": api_version, "kind": kind, "metadata": metadata}
    return decode({**document, "spec": spec, "status": status})


def workload(
    *conditions: dict[str, Any],
    phases: tuple[str, ...] = ("Complete",),
    ready: int = 1,
    message: str = "",
    kind: str = "Deployment",
) -> Resource:
    revisions = [
        {
            "revision": len(phases) - at,
            "hash": f"h{at}",
            "template": {},
            "created": SINCE,
            "phase": phase,
            "images": {"web": IMAGE},
            "liveAt": SINCE,
            "message": message if phase == "Failed" else "",
        }
        for at, phase in enumerate(phases)
    ]
    status = {
        "observedGeneration": 1,
        "conditions": list(conditions),
        "revisions": revisions,
        "readyReplicas": ready,
        "updatedReplicas": ready,
    }
    return made("apps/v1", kind, status, replicas=1, template={})


CRASHED = "revision 2 (web = x) ended again and again: container web exited 3: no database"

FAULTY: dict[str, Resource] = {
    "rolled back": workload(
        condition("Progressing", "False", "ProgressDeadlineExceeded", CRASHED),
        condition("RolledBack", "True", "RevisionFailed", CRASHED),
        phases=("Failed", "Complete"),
        message=CRASHED,
    ),
    "failed, nothing before": workload(
        condition("Progressing", "False", "ProgressDeadlineExceeded", CRASHED),
        condition("Degraded", "True", "CrashLoopBackOff", "0 of 1 replicas: exited 3"),
        phases=("Failed",),
        ready=0,
        message=CRASHED,
    ),
    "degraded": workload(
        condition("Degraded", "True", "ContainersNotReady", "0 of 1 replicas: exited 3"), ready=0
    ),
    "degraded StatefulSet": workload(
        condition("Degraded", "True", "CrashLoopBackOff", "0 of 1 replicas: exited 3"),
        ready=0,
        kind="StatefulSet",
    ),
    "a Secret is missing": workload(
        condition("Progressing", "False", "MissingSource", "Secret 'dbpass' does not exist"),
        phases=(),
        ready=0,
    ),
    "the stream that it follows is gone": workload(
        condition(
            "ImageTriggered", "False", "StreamNotFound", "ImageStream shop/web does not exist"
        )
    ),
    "an image cannot be pulled": workload(
        condition("Progressing", "True", "ImagePullFailed", "cannot pull x: unauthorized"),
        phases=("Progressing",),
        ready=0,
    ),
    "drifted": workload(
        condition("Drifted", "True", "ChangedByHand", "instance web-0 was made by hand; mended")
    ),
    "host port in use": workload(
        condition("HostPortsServed", "False", "ListenerFailed", "port 80 is not served: in use")
    ),
    "Service without its listener": made(
        "v1",
        "Service",
        {"conditions": [condition("Ready", "False", "ListenerFailed", "10.0.0.1:80: in use")]},
    ),
    "Service that leads nowhere": made(
        "v1",
        "Service",
        {
            "conditions": [
                condition("Ready", "True", "Listening", ""),
                condition("EndpointsAvailable", "False", "NoEndpoints", "no workload has app=web"),
            ]
        },
    ),
    "Route that is not admitted": made(
        "route.openshift.io/v1",
        "Route",
        {
            "ingress": [
                {
                    "routerName": "upwell",
                    "conditions": [
                        condition("Admitted", "False", "HostAlreadyClaimed", "host x is held")
                    ],
                }
            ]
        },
    ),
    "newest build failed": made(
        "build.openshift.io/v1",
        "BuildConfig",
        {
            "conditions": [
                condition("Degraded", "True", "DockerBuildFailed", "build web-2 failed: exit 1")
            ]
        },
    ),
    "inputs are missing": made(
        "build.openshift.io/v1",
        "BuildConfig",
        {"conditions": [condition("Ready", "False", "InputsMissing", "debian:11 is not there")]},
    ),
    "import failed": made(
        "image.openshift.io/v1",
        "ImageStream",
        {
            "tags": [
                {
                    "tag": "11",
                    "conditions": [
                        condition(
                            "ImportSuccess",
                            "False",
                            "ManifestUnknown",
                            "no manifest; tried again at 2026-03-01T12:05:00Z",
                        )
                    ],
                }
            ]
        },
    ),
    "Job failed": made(
        "batch/v1",
        "Job",
        {"conditions": [condition("Failed", "True", "BackoffLimitExceeded", "failed 7 times")]},
    ),
    "Release rejected": made(
        "upwell.dev/v1alpha1",
        "Pipeline",
        {
            "conditions": [
                condition("Degraded", "True", "ReleaseRejected", "release web-1 was rejected")
            ]
        },
    ),
    "component": made(
        "config.openshift.io/v1",
        "ClusterOperator",
        {
            "conditions": [condition("Degraded", "True", "RouterDown", "haproxy has ended")],
            "extension": {
                "faults": [{"since": SINCE, "reason": "RouterDown", "message": "haproxy has ended"}]
            },
        },
    ),
    "image not signed": made(
        "build.openshift.io/v1",
        "Build",
        {
            "phase": "Complete",
            "conditions": [condition("Signed", "False", "Unavailable", "registry.test is away")],
        },
    ),
    "cluster away": made(
        "upwell.dev/v1alpha1",
        "Cluster",
        {
            "conditions": [
                condition("Reachable", "False", "ClusterUnavailable", "192.0.2.7: no route"),
                condition("Authorized", "True", "Allowed", ""),
            ]
        },
    ),
    "cluster without rights": made(
        "upwell.dev/v1alpha1",
        "Cluster",
        {
            "conditions": [
                condition("Reachable", "True", "Answered", ""),
                condition("Authorized", "False", "MissingRights", "the access lacks: list pods"),
            ]
        },
    ),
    "quota nearly used": made(
        "v1",
        "ResourceQuota",
        {
            "conditions": [
                condition("NearlyUsed", "True", "QuotaNearlyUsed", "more than 80 % is used of pods")
            ]
        },
    ),
}


def one_fault(faulty: Resource) -> HealthFault:
    """Return the fault: each of these objects has one, which is said once."""
    [fault] = faults_of(faulty)
    return fault


def status_of(faulty: Resource) -> tuple[dict[str, Any], list[str]]:
    components = [faulty] if isinstance(faulty, ClusterOperator) else []
    known = [] if components else [faulty]
    tree = StatusTree(Snapshot(known), NOW, "", components)
    return tree.data(), [*tree.component_lines(), *tree.lines(), *tree.other_lines()]


@pytest.mark.parametrize("faulty", FAULTY.values(), ids=FAULTY)
def test_status_tells_it_once_and_calls_nothing_current(faulty: Resource) -> None:
    fault = one_fault(faulty)
    data, lines = status_of(faulty)

    assert [one["message"] for one in data["faults"]] == [fault.message]
    assert data["summary"]["faults"] == 1
    assert data["summary"]["current"] == 0
    text = "\n".join(lines)
    assert text.count(fault.message) == 1
    assert "current" not in text


@pytest.mark.parametrize("faulty", FAULTY.values(), ids=FAULTY)
def test_explain_tells_it_once(faulty: Resource) -> None:
    fault = one_fault(faulty)
    texts = [one.text for one in explain(Snapshot([faulty]), faulty)]

    assert sum(text.count(fault.message) for text in texts) == 1
    assert not any("nothing is due" in text for text in texts)


@pytest.mark.parametrize("faulty", FAULTY.values(), ids=FAULTY)
def test_a_condition_stores_it(faulty: Resource) -> None:
    fault = one_fault(faulty)
    stored = str(encode(faulty)["status"])

    assert fault.message in stored
    assert fault.reason in stored
    assert fault.since is not None


@pytest.mark.parametrize("case", [name for name in FAULTY if name != "newest build failed"])
def test_an_event_and_a_notice_tell_it(case: str) -> None:
    faulty = FAULTY[case]
    fault = one_fault(faulty)
    told = [one for one in events_of(faulty) if one.reason == fault.event.value]

    assert len(told) == 1
    assert fault.message in told[0].message
    assert told[0].warning
    if fault.event is not FaultEvent.JOB_FAILED:
        notices = [one for one in cloud_events(faulty) if fault.message in one.message]
        assert notices
        assert {one.severity.value for one in notices} <= {"warning", "error"}


@pytest.mark.parametrize("faulty", FAULTY.values(), ids=FAULTY)
def test_the_metric_counts_it(faulty: Resource) -> None:
    fault = one_fault(faulty)
    [samples, _] = fault_gauges([faulty])

    assert [(one.labels, one.value) for one in samples.samples] == [
        ({"kind": faulty.KIND.kind, "reason": fault.reason}, 1)
    ]


def test_of_a_build_that_failed_it_tells_itself_in_the_same_words() -> None:
    status = {"phase": "Failed", "reason": "DockerBuildFailed", "message": "exit 1"}
    build = made("build.openshift.io/v1", "Build", {**status, "completionTimestamp": SINCE})

    [fault] = faults_of(build)
    [event] = [one for one in events_of(build) if one.reason == fault.event.value]
    assert event.message == fault.message == "build web failed: DockerBuildFailed: exit 1"


def test_every_fault_is_among_them() -> None:
    assert {one_fault(one).event for one in FAULTY.values()} == set(FaultEvent)


@pytest.mark.parametrize(
    "whole",
    [
        workload(),
        workload(
            condition("Progressing", "Unknown", "DeploymentPaused", "spec.paused is set"),
            condition("Degraded", "False", "AsExpected", "1 of 1"),
        ),
        workload(
            condition("Progressing", "False", "ImageNotResolved", "waits for shop:latest"),
            phases=(),
            ready=0,
        ),
        workload(
            condition("Progressing", "True", "ReplicaSetUpdated", "0 of 1"),
            phases=("Progressing", "Complete"),
        ),
        made(
            "build.openshift.io/v1",
            "BuildConfig",
            {"conditions": [condition("Ready", "False", "NoBinaryInput", "waits for an upload")]},
        ),
    ],
    ids=["whole", "paused", "waits for an image", "rolls out", "waits for an upload"],
)
def test_what_is_under_way_or_waits_is_no_fault(whole: Resource) -> None:
    assert faults_of(whole) == ()
    assert status_of(whole)[0]["summary"]["faults"] == 0


def test_a_workload_that_recovered_says_so_once() -> None:
    whole = workload(condition("Degraded", "False", "AsExpected", "1 of 1 replicas are available"))

    told = [one for one in events_of(whole) if one.reason == "WorkloadRecovered"]
    assert [one.message for one in told] == ["1 of 1 replicas are available"]
    assert not told[0].warning
    assert [one.type for one in cloud_events(whole)][-1] == "dev.upwell.workload.recovered"


@pytest.mark.parametrize(
    ("reason", "step"),
    [("ImagePolicyNotSatisfied", "sign it"), ("ImagePolicyNotChecked", "asked again by itself")],
)
def test_what_an_image_policy_holds_names_the_next_step(reason: str, step: str) -> None:
    told = condition("Progressing", "False", reason, "image x does not satisfy policy y")
    [fault] = faults_of(workload(told))

    assert step in fault.next_step
