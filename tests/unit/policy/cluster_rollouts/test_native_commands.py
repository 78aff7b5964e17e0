"""Of what a cluster rolls out, people are told the commands that work there: kubectl's."""

import json
from typing import Any

import pytest
from tests.support.clocks import TickingClock
from tests.support.cluster.memory_cluster import owned_by
from tests.support.cluster.workloads import (
    image,
    move_tag,
    noted,
    stuck,
    triggers,
    with_status_of,
    workload,
)

from upwell.api.apps import TRIGGERS_ANNOTATION, CronJob, DaemonSet, Deployment, StatefulSet
from upwell.api.image import ImageStream
from upwell.api.meta import Condition, Resource
from upwell.policy.cluster_rollouts.field_owners import image_path
from upwell.policy.cluster_rollouts.note import (
    NOTE_ANNOTATION,
    FailedImage,
    RolloutNote,
    failures_text,
)
from upwell.policy.explain.changes import explain
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.health.judgement import faults_of
from upwell.policy.images.streams import StreamName
from upwell.policy.rollouts.commands import is_native
from upwell.policy.rollouts.requests import (
    ClusterRolloutError,
    PausedWorkloadError,
    cancelled,
    require_revision,
    require_startable,
    retried,
)
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, decide
from upwell.store.memory import MemoryStore

type Native = Deployment | StatefulSet | DaemonSet

SEEN = {
    "deployment.kubernetes.io/revision": "7",
    "deprecated.daemonset.template.generation": "7",
}
WEB = "deployment/web -n shop"
NOW = TickingClock()()


def native[R: Resource](kind: type[R], **annotations: str) -> R:
    """Return a workload that a cluster's controllers have seen."""
    made = workload(kind)
    seen = made.with_metadata(annotations={**made.annotations, **SEEN, **annotations})
    return with_status_of(seen, observedGeneration=1, updateRevision="web-7")


def paused(made: Deployment) -> Deployment:
    return made.model_copy(update={"spec": made.spec.model_copy(update={"paused": True})})


@pytest.mark.parametrize("kind", [Deployment, StatefulSet, DaemonSet])
def test_what_its_controller_has_seen_is_a_clusters(kind: type[Native]) -> None:
    assert is_native(native(kind))
    assert not is_native(workload(kind))


@pytest.mark.parametrize("kind", [Deployment, CronJob])
def test_a_controller_that_made_no_revision_is_known_by_the_status_it_writes(
    kind: type[Deployment | CronJob],
) -> None:
    made = workload(kind)
    status = {**owned_by("kube-controller-manager", ("f:status",)), "subresource": "status"}
    assert is_native(made.with_metadata(managed_fields=(*made.metadata.managed_fields, status)))


def test_what_triggers_wait_for_names_the_command_that_ends_it() -> None:
    held = decide(native(Deployment, **{HOLD_ANNOTATION: "audit"}), {})
    assert held is not None
    assert held.message == f"held: audit; `kubectl annotate {WEB} upwell.dev/hold-` lifts the hold"

    stopped = decide(paused(native(Deployment)), {})
    assert stopped is not None
    assert f"; `kubectl rollout resume {WEB}` or false resumes" in stopped.message

    here = workload(Deployment)
    here = here.with_metadata(annotations={**here.annotations, HOLD_ANNOTATION: "audit"})
    own = decide(here, {})
    assert own is not None
    assert "; `rollout resume` or removing annotation upwell.dev/hold lifts" in own.message


def test_what_failed_before_is_tried_again_by_kubectl() -> None:
    told = failures_text(native(Deployment), [FailedImage("app", image("new"), "it crashed")])
    assert told.endswith(f"; `kubectl annotate {WEB} {NOTE_ANNOTATION}-` tries it again")


def test_verbs_of_rollouts_are_refused_with_those_of_kubectl() -> None:
    made = native(Deployment)
    with pytest.raises(ClusterRolloutError, match=f"`kubectl rollout undo {WEB}`"):
        require_revision(made, None)
    with pytest.raises(ClusterRolloutError, match=f"`kubectl rollout undo {WEB}`"):
        cancelled(made, NOW)
    with pytest.raises(ClusterRolloutError, match=f"`kubectl rollout restart {WEB}`"):
        retried(made, NOW)
    with pytest.raises(PausedWorkloadError, match=f"`kubectl rollout resume {WEB}` first"):
        require_startable(paused(made), again=False)


def failing(version: str, manager: str, **annotations: str) -> Deployment:
    """Return a Deployment that is stuck with an image that `manager` has set last."""
    made = native(Deployment, **annotations)
    [container] = made.spec.template.spec.containers
    pod = made.spec.template.spec.model_copy(
        update={"containers": (container.model_copy(update={"image": image(version)}),)}
    )
    template = made.spec.template.model_copy(update={"spec": pod})
    spec = made.spec.model_copy(update={"template": template})
    fields = (owned_by(manager, image_path(made, ("app", False))),)
    taken = made.model_copy(update={"spec": spec}).with_metadata(managed_fields=fields)
    return with_status_of(taken, **stuck(taken))


def test_a_persons_image_that_fails_is_told_with_its_owner_and_the_way_back() -> None:
    one = noted(failing("nope", "kubectl-set"), RolloutNote({"app": image("good")}))

    [fault] = faults_of(one)

    assert str(fault).startswith("revision 7: no progress for 600 s; the image of container app")
    assert "is owned by field manager kubectl-set: apply the manifest again" in str(fault)
    assert str(fault).endswith(f"; `kubectl rollout undo {WEB}`")
    [running, *_] = explain(Snapshot([one]), one)
    before = f"before it, Upwell had set app = {image('good')}"
    assert running.text == f"no replica of revision 7 is ready; {before}"


def test_one_that_crashes_says_what_ran_in_full_before() -> None:
    note = RolloutNote({"app": image("new")}, good={"app": image("good")})
    one = noted(failing("new", "upwell"), note)
    [running, *_] = explain(Snapshot([one]), one)
    before = f"app = {image('good')} ran in full before"
    assert running.text == f"no replica of revision 7 is ready; {before}"


def test_the_first_revision_has_none_to_go_back_to() -> None:
    one = failing("nope", "kubectl-set", **{"deployment.kubernetes.io/revision": "1"})
    [fault] = faults_of(one)
    assert str(fault) == "revision 1: no progress for 600 s"


def test_a_pod_that_the_cluster_refuses_is_told_of() -> None:
    one = failing("nope", "upwell")
    refused = Condition(
        type="ReplicaFailure", status="True", reason="FailedCreate", message="exceeded quota"
    )
    conditions = (*one.status.conditions, refused)
    [fault] = faults_of(one.with_status(one.status.model_copy(update={"conditions": conditions})))
    assert "no progress for 600 s: exceeded quota" in str(fault)


async def test_triggers_that_a_person_has_paused_are_made_automatic_by_kubectl() -> None:
    store = MemoryStore(TickingClock())
    await move_tag(store, "new")
    stream = await store.get(ImageStream, "shop", "app")
    entries: list[dict[str, Any]] = json.loads(triggers())
    manual = json.dumps([{**one, "paused": True} for one in entries])
    one = native(Deployment, **{TRIGGERS_ANNOTATION: manual})

    verdict = decide(one, {StreamName("shop", "app"): stream})

    assert verdict is not None
    command = f"upwell set triggers {WEB} --auto --dry-run=client -o yaml | kubectl apply -f -"
    assert f"; `{command}` updates it from now on" in verdict.message
    assert "rollout latest" not in verdict.message
