"""Workloads of a cluster: images are set when a tag moves, judged, put back, or left to others."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.authors import FixedAuthors
from tests.support.clocks import ManualTime
from tests.support.cluster.fixed_reviews import FixedReviews
from tests.support.cluster.memory_cluster import MemoryClusterPods, MemoryWorkloads, owned_by
from tests.support.cluster.workloads import (
    APPLIED,
    NAMESPACE,
    OWN_NOTE,
    PLACEHOLDER,
    Native,
    complete,
    image,
    manifest,
    move_tag,
    pod,
    stuck,
    with_status_of,
    workload,
)

from upwell.api.apps import TRIGGERS_ANNOTATION, CronJob, DaemonSet, Deployment, StatefulSet
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.api.pipeline import Pipeline, Quarantine
from upwell.api.promotion import Promotion
from upwell.cluster.errors import (
    AccessDeniedError,
    ClusterError,
    ClusterUnavailableError,
    WriteRefusedError,
)
from upwell.cluster.interface import PodRecord
from upwell.controller import ObjectCache, Result
from upwell.policy.cluster_rollouts.field_owners import TRIGGERS_PATH, image_path
from upwell.policy.cluster_rollouts.note import NOTE_ANNOTATION, RolloutNote
from upwell.policy.cluster_rollouts.observation import NATIVE_WORKLOADS
from upwell.policy.rollouts.image_ownership import declared_images
from upwell.policy.rollouts.triggers import (
    HOLD_ANNOTATION,
    HOLD_UNTIL_ANNOTATION,
    Reason,
    with_images,
)
from upwell.policy.waves.stop import WAVE_LABEL
from upwell.reconcilers.authority import ASK_AGAIN_SECONDS, Authority
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.cluster_access import ClusterAuthors, ClusterRights
from upwell.reconcilers.cluster_rollouts.image_policies import NO_POLICIES
from upwell.reconcilers.cluster_rollouts.parts import ClusterParts
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.reconcilers.cluster_rollouts.reconciler import ClusterRolloutReconciler
from upwell.reconcilers.cluster_rollouts.records import RolloutRecords
from upwell.reconcilers.rollouts.gate import RolloutBar
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.waves.gate import WaveGate
from upwell.store.memory import MemoryStore

START = datetime(2026, 5, 1, tzinfo=UTC)
SLOT = ("app", False)


class ClusterSetup:
    """A reconciler on a cluster in memory."""

    def __init__(self) -> None:
        self.clock = ManualTime(START)
        self.store = MemoryStore(self.clock)
        self.cluster = MemoryWorkloads(self.store)
        self.pods = MemoryClusterPods()
        self.cluster.pods = self.pods
        self.index = PodIndex(self.pods)
        self.namespace = ""
        self.bar: RolloutBar | None = None
        self.reviews = FixedReviews()
        self.policies = NO_POLICIES
        self._cache = ObjectCache(self.store)
        self._workloads = WorkloadIndex(self._cache)
        for kind in NATIVE_WORKLOADS:
            self._cache.on_change(kind, lambda _before, _after: None)
        self.reconciler = self.restarted()

    def restarted(self) -> ClusterRolloutReconciler:
        """Return a reconciler that remembers nothing."""

        class Gate:
            async def bar(_, *_args: object) -> RolloutBar | None:  # noqa: N805
                return self.bar

        authors = ClusterAuthors(ClusterRights(self.reviews), FixedAuthors(), lambda: "")
        parts = ClusterParts(
            self.cluster, {self.namespace: self.index}, Authority(authors), self.policies
        )
        return ClusterRolloutReconciler(
            self._workloads, RolloutRecords(parts, self.clock), self.clock, Gate()
        )

    async def reconcile(self, key: ObjectKey) -> Result:
        await self._cache.ready(*NATIVE_WORKLOADS, ImageStream, Pipeline, Promotion)
        return await self.reconciler.reconcile(key)

    async def roll[R: Native](self, stored: R) -> R:
        """Reconcile until nothing is written any more, and return the workload."""
        for _ in range(5):
            writes = self.cluster.writes
            await self.reconcile(stored.key)
            if writes == self.cluster.writes:
                break
        return await self.read(stored)

    async def read[R: Native](self, stored: R) -> R:
        return await self.store.get(type(stored), stored.namespace, stored.name)

    async def report[R: Native](self, stored: R, status: dict[str, Any]) -> R:
        """Let the cluster's controller report a status."""
        return await self.store.update_status(with_status_of(await self.read(stored), **status))

    async def get_stuck(self, stored: Deployment, why: str = "") -> Deployment:
        """Let the cluster's controller say that the deadline of a rollout is over."""
        self.clock.now += timedelta(seconds=stored.spec.progress_deadline_seconds)
        return await self.report(stored, stuck(stored, why))

    async def finish[R: Native](self, stored: R) -> R:
        """Let the cluster finish the rollout."""
        found = await self.read(stored)
        return await self.report(found, complete(found))

    async def show(self, *pods: PodRecord) -> None:
        """Let Pods be as given."""
        for one in pods:
            await self.pods.put(one)
        async for _ in self.index._list():
            pass

    @property
    def reasons(self) -> list[str]:
        return [one.reason for one in self.cluster.told]


def image_of(stored: Native) -> str:
    return declared_images(stored, [SLOT])[SLOT]


@pytest.fixture
def setup() -> ClusterSetup:
    return ClusterSetup()


async def at_good[R: Native](setup: ClusterSetup, kind: type[R]) -> R:
    """Return a workload that runs version `good`, which its trigger has set."""
    await move_tag(setup.store, "good")
    stored = await setup.roll(await setup.store.create(workload(kind)))
    await setup.finish(stored)
    return await setup.roll(stored)


@pytest.mark.parametrize("kind", NATIVE_WORKLOADS)
async def test_a_moved_tag_is_one_write_whatever_the_kind(
    setup: ClusterSetup, kind: type[Native]
) -> None:
    stored = await setup.store.create(workload(kind))
    await move_tag(setup.store, "good")

    changed = await setup.roll(stored)

    assert image_of(changed) == image("good")
    assert setup.cluster.writes == 1
    assert setup.reasons == ["ImageUpdated"]


async def test_a_change_that_is_rolled_out_costs_no_second_write(setup: ClusterSetup) -> None:
    stored = await at_good(setup, Deployment)
    await setup.roll(stored)

    assert setup.cluster.writes == 1


async def test_a_daemon_set_has_one_more_write_that_remembers_it_is_complete(
    setup: ClusterSetup,
) -> None:
    stored = await at_good(setup, DaemonSet)

    assert RolloutNote.of(stored).complete
    assert setup.cluster.writes == 2


@pytest.mark.parametrize("kind", [StatefulSet, DaemonSet])
async def test_pods_that_a_person_deletes_when_it_suits_them_are_no_failure(
    setup: ClusterSetup, kind: type[StatefulSet | DaemonSet]
) -> None:
    stored = await at_good(setup, kind)
    on_delete = {"updateStrategy": {"type": "OnDelete"}}
    spec = type(stored.spec).model_validate({**stored.spec.model_dump(by_alias=True), **on_delete})
    stored = await setup.store.update(stored.model_copy(update={"spec": spec}))
    await move_tag(setup.store, "better")
    stored = await setup.roll(stored)
    old = {"updatedReplicas": 0, "updatedNumberScheduled": 0, "updateRevision": "c"}
    await setup.report(stored, {**complete(stored), **old})
    setup.clock.now += timedelta(days=2)

    assert image_of(await setup.roll(stored)) == image("better")
    assert "RolledBack" not in setup.reasons


async def test_a_run_before_the_image_was_set_does_not_make_it_one_to_put_back(
    setup: ClusterSetup,
) -> None:
    """Its time is of the cluster's clock, which may be ahead."""
    stored = await at_good(setup, CronJob)
    assert stored.status.last_successful_time is not None
    assert stored.status.last_successful_time > setup.clock.now
    for version in ("better", "best"):
        await move_tag(setup.store, version)
        stored = await setup.roll(stored)

    assert RolloutNote.of(stored).good == {"app": image("good")}


async def test_a_stuck_rollout_is_put_back_once_and_not_tried_again(setup: ClusterSetup) -> None:
    stored = await at_good(setup, Deployment)
    await move_tag(setup.store, "bad")
    stored = await setup.roll(stored)
    await setup.get_stuck(stored, 'pods "web" is forbidden: exceeded quota: small')

    back = await setup.roll(stored)
    setup.reconciler = setup.restarted()
    again = await setup.roll(stored)

    assert image_of(back) == image_of(again) == image("good")
    assert setup.cluster.writes == 3
    assert setup.reasons == ["ImageUpdated", "ImageUpdated", "RolledBack", "FailedBefore"]
    assert "exceeded quota: small" in setup.cluster.told[2].message
    assert image("bad") in setup.cluster.told[3].message


async def test_the_next_image_is_tried_after_one_that_failed(setup: ClusterSetup) -> None:
    stored = await at_good(setup, Deployment)
    await move_tag(setup.store, "bad")
    stored = await setup.roll(stored)
    await setup.get_stuck(stored)
    await setup.roll(stored)
    await move_tag(setup.store, "mended")

    changed = await setup.roll(stored)

    assert image_of(changed) == image("mended")
    assert RolloutNote.of(changed).good == {"app": image("good")}
    assert RolloutNote.of(changed).failed == {}


async def test_an_image_that_failed_and_comes_back_after_another_is_not_tried_again(
    setup: ClusterSetup,
) -> None:
    stored = await at_good(setup, Deployment)
    for version in ("bad", "worse"):
        await move_tag(setup.store, version)
        stored = await setup.roll(stored)
        await setup.get_stuck(stored, f"{version} crashed")
        stored = await setup.roll(stored)
    await move_tag(setup.store, "mended")
    stored = await setup.finish(await setup.roll(stored))
    setup.reconciler = setup.restarted()
    setup.cluster.told.clear()

    for version in ("bad", "worse"):
        await move_tag(setup.store, version)
        assert image_of(await setup.roll(stored)) == image("mended")
        told = setup.cluster.told[-1]
        assert (told.reason, image(version) in told.message) == ("FailedBefore", True)
        assert f"{version} crashed" in told.message


async def test_the_oldest_failures_are_forgotten_and_reasons_are_cut(setup: ClusterSetup) -> None:
    stored = await at_good(setup, Deployment)
    for number in range(14):
        await move_tag(setup.store, f"bad{number}")
        stored = await setup.roll(stored)
        await setup.get_stuck(stored, "x" * 9000)
        stored = await setup.roll(stored)

    earlier = RolloutNote.of(stored).earlier
    expected = [image(f"bad{number}") for number in range(12, 2, -1)]
    assert [one.image for one in earlier] == expected
    assert all(len(one.why) <= 300 for one in earlier)


async def test_removing_the_note_tries_an_image_again(setup: ClusterSetup) -> None:
    stored = await at_good(setup, Deployment)
    await move_tag(setup.store, "bad")
    stored = await setup.roll(stored)
    await setup.get_stuck(stored)
    stored = await setup.roll(stored)
    annotations = {k: v for k, v in stored.annotations.items() if k != NOTE_ANNOTATION}
    await setup.store.update(stored.with_metadata(annotations=annotations))

    assert image_of(await setup.roll(stored)) == image("bad")


async def test_a_pod_for_which_a_stateful_set_would_wait_for_ever_is_deleted(
    setup: ClusterSetup,
) -> None:
    """Kubernetes, "StatefulSets", "Forced rollback"."""
    stored = await at_good(setup, StatefulSet)
    await move_tag(setup.store, "bad")
    stored = await setup.roll(stored)
    looping = {"image": image("bad"), "waits": "CrashLoopBackOff", "restarts": 3}
    broken = pod(stored, "web-1", **looping, message="exit status 1")
    running = replace(pod(stored, "web-0", image=image("good")), ready=True)
    await setup.show(running, broken)
    stored = await setup.roll(stored)
    assert image_of(stored) == image("good")
    assert list((await setup.pods.list())[0]) == [running, broken]  # the cluster has not seen it

    await setup.finish(stored)
    setup.cluster.fault = AccessDeniedError("cannot delete pods")
    assert (await setup.reconcile(stored.key)).requeue_after is not None
    setup.cluster.fault = None
    await setup.roll(stored)

    assert list((await setup.pods.list())[0]) == [running]
    assert setup.reasons[-2:] == ["Forbidden", "StuckPodDeleted"]
    assert "container app cannot run" in setup.cluster.told[-1].message


@pytest.mark.parametrize(
    ("kind", "spec", "annotations", "shown"),
    [
        (StatefulSet, {"podManagementPolicy": "Parallel"}, {}, {}),
        (StatefulSet, {"updateStrategy": {"type": "OnDelete"}}, {}, {}),
        (StatefulSet, {"updateStrategy": {"rollingUpdate": {"partition": 2}}}, {}, {}),
        (StatefulSet, {}, {HOLD_ANNOTATION: "by hand"}, {}),
        (StatefulSet, {}, {}, {"image": image("good")}),
        (StatefulSet, {}, {}, {"waits": "ContainerCreating"}),
        (StatefulSet, {}, {}, {"ready": True}),
        (Deployment, {}, {}, {}),
    ],
)
async def test_no_other_pod_is_deleted(
    setup: ClusterSetup,
    kind: type[StatefulSet | Deployment],
    spec: dict[str, Any],
    annotations: dict[str, str],
    shown: dict[str, Any],
) -> None:
    stored = await at_good(setup, kind)
    whole = type(stored.spec).model_validate({**stored.spec.model_dump(by_alias=True), **spec})
    changed = stored.model_copy(update={"spec": whole})
    changed = changed.with_metadata(annotations={**stored.annotations, **annotations})
    await setup.store.update(changed)
    await setup.finish(stored)
    is_ready = shown.pop("ready", False)
    state = {"image": image("bad"), "waits": "CrashLoopBackOff", "restarts": 9, **shown}
    kept = replace(pod(stored, "web-1", **state), ready=is_ready)
    await setup.show(kept)
    await setup.roll(stored)

    assert list((await setup.pods.list())[0]) == [kept]


@pytest.mark.parametrize("kind", NATIVE_WORKLOADS)
async def test_a_crash_loop_is_put_back(setup: ClusterSetup, kind: type[Native]) -> None:
    stored = await at_good(setup, kind)
    await move_tag(setup.store, "bad")
    stored = await setup.roll(stored)
    await setup.report(stored, {})
    looping = {"image": image("bad"), "waits": "CrashLoopBackOff", "message": "exit status 1"}

    await setup.show(pod(stored, "a", **looping, restarts=2))
    waiting = await setup.roll(stored)
    await setup.show(pod(stored, "a", **looping, restarts=3))
    back = await setup.roll(stored)

    assert image_of(waiting) == image("bad")
    assert image_of(back) == image("good")
    assert setup.cluster.told[-2].message.endswith(f"app = {image('good')} put back")


async def test_a_pull_may_fail_for_a_minute(setup: ClusterSetup) -> None:
    stored = await at_good(setup, StatefulSet)
    await move_tag(setup.store, "bad")
    stored = await setup.roll(stored)
    await setup.report(stored, {})
    await setup.show(pod(stored, "a", image=image("bad"), waits="ImagePullBackOff", message="gone"))

    asked_again = (await setup.reconcile(stored.key)).requeue_after
    waiting = await setup.roll(stored)
    setup.clock.now += timedelta(minutes=1)
    back = await setup.roll(stored)

    assert asked_again == 60
    assert image_of(waiting) == image("bad")
    assert image_of(back) == image("good")


async def test_pods_of_the_version_before_say_nothing_about_the_new_one(
    setup: ClusterSetup,
) -> None:
    stored = await at_good(setup, Deployment)
    setup.clock.now += timedelta(hours=1)
    await setup.show(pod(stored, "a", image=image("good"), waits="CrashLoopBackOff", restarts=9))
    await move_tag(setup.store, "better")

    assert image_of(await setup.roll(stored)) == image("better")
    assert "RolledBack" not in setup.reasons


@pytest.mark.parametrize("kind", [Deployment, StatefulSet, DaemonSet])
async def test_a_crash_after_the_rollout_was_complete_rolls_nothing_back(
    setup: ClusterSetup, kind: type[Deployment | StatefulSet | DaemonSet]
) -> None:
    stored = await at_good(setup, kind)
    await move_tag(setup.store, "better")
    stored = await setup.roll(stored)
    stored = await setup.roll(await setup.finish(stored))
    crashed = {"readyReplicas": 0, "availableReplicas": 0, "numberAvailable": 0}
    await setup.report(stored, {**complete(stored), **crashed})
    await setup.show(pod(stored, "a", image=image("better"), waits="CrashLoopBackOff", restarts=9))
    setup.clock.now += timedelta(days=2)

    assert image_of(await setup.roll(stored)) == image("better")


@pytest.mark.parametrize("kind", [Deployment, StatefulSet, DaemonSet])
@pytest.mark.parametrize("proof", ["", "readinessProbe", "startupProbe", "minReadySeconds"])
async def test_a_crash_loop_of_what_was_ready_as_soon_as_it_was_started_is_put_back(
    setup: ClusterSetup, kind: type[Deployment | StatefulSet | DaemonSet], proof: str
) -> None:
    document = manifest(kind)
    if proof == "minReadySeconds":
        document["spec"][proof] = 5
    elif proof:
        document["spec"]["template"]["spec"]["containers"][0][proof] = {"tcpSocket": {"port": 80}}
    declared = decode_as(kind, document).with_metadata(
        managed_fields=workload(kind).metadata.managed_fields, generation=1
    )
    await move_tag(setup.store, "good")
    stored = await setup.roll(await setup.store.create(declared))
    await setup.roll(await setup.finish(stored))
    await move_tag(setup.store, "bad")
    stored = await setup.roll(stored)
    stored = await setup.roll(await setup.finish(stored))
    looping = {"image": image("bad"), "waits": "CrashLoopBackOff", "message": "exit status 1"}
    await setup.show(pod(stored, "a", **looping, restarts=3))

    again = await setup.roll(stored)

    assert image_of(again) == image("bad" if proof else "good")
    assert ("RolledBack" in setup.reasons) is not bool(proof)


async def test_what_a_person_changed_besides_is_no_failure_of_the_image(
    setup: ClusterSetup,
) -> None:
    stored = await at_good(setup, Deployment)
    await move_tag(setup.store, "better")
    stored = await setup.roll(stored)
    stored = await setup.roll(await setup.finish(stored))
    meta = stored.spec.template.metadata.model_copy(update={"annotations": {"restarted": "now"}})
    template = stored.spec.template.model_copy(update={"metadata": meta})
    spec = stored.spec.model_copy(update={"template": template})
    stored = await setup.store.update(stored.model_copy(update={"spec": spec}))
    await setup.get_stuck(stored)

    assert image_of(await setup.roll(stored)) == image("better")


async def test_without_anything_good_a_failed_image_stays(setup: ClusterSetup) -> None:
    await move_tag(setup.store, "bad")
    stored = await setup.store.create(workload(Deployment, declared_by="upwell"))
    stored = await setup.roll(stored)
    annotations = {NOTE_ANNOTATION: '{"images": 5, "good": []}'}
    await setup.store.update(
        stored.with_metadata(annotations={**stored.annotations, **annotations})
    )
    await setup.get_stuck(stored)

    assert image_of(await setup.roll(stored)) == image("bad")


async def test_a_held_workload_gets_no_image_and_nothing_back(setup: ClusterSetup) -> None:
    stored = await at_good(setup, Deployment)
    await move_tag(setup.store, "bad")
    stored = await setup.roll(stored)
    held = {**stored.annotations, HOLD_ANNOTATION: "audit"}
    stored = await setup.store.update(stored.with_metadata(annotations=held))
    await setup.get_stuck(stored)

    stays = await setup.roll(stored)

    assert image_of(stays) == image("bad")
    assert setup.reasons[-1] == "Held"
    assert "audit" in setup.cluster.told[-1].message


async def test_a_hold_ends_at_its_time(setup: ClusterSetup) -> None:
    stored = await at_good(setup, Deployment)
    held = {HOLD_ANNOTATION: "", HOLD_UNTIL_ANNOTATION: "2026-05-01T01:00:00Z"}
    stored = await setup.store.update(
        stored.with_metadata(annotations={**stored.annotations, **held})
    )
    await move_tag(setup.store, "better")

    asked_again = (await setup.reconcile(stored.key)).requeue_after
    before = await setup.roll(stored)
    setup.clock.now += timedelta(hours=1)
    after = await setup.roll(stored)

    assert asked_again == 3600
    assert (image_of(before), image_of(after)) == (image("good"), image("better"))


async def test_a_gate_keeps_an_image_back(setup: ClusterSetup) -> None:
    stored = await at_good(setup, Deployment)
    await move_tag(setup.store, "better")
    why = "stands on base, which is in Quarantine base-1"
    setup.bar = RolloutBar(Reason.WAVE_STOPPED, why, frozenset({SLOT}), look_again=2.0)

    result = await setup.reconcile(stored.key)

    assert image_of(await setup.read(stored)) == image("good")
    assert result.requeue_after == 2.0
    assert (setup.reasons[-1], setup.cluster.told[-1].message.startswith(why)) == (
        "WaveStopped",
        True,
    )
    assert setup.reconciler.kept_back.keys() == {stored.key}

    setup.bar = None
    after = await setup.roll(stored)
    assert (image_of(after), setup.reconciler.kept_back) == (image("better"), {})


async def test_what_a_gate_keeps_back_asks_again_when_the_gate_changes(setup: ClusterSetup) -> None:
    stored = await at_good(setup, Deployment)
    await move_tag(setup.store, "better")
    setup.bar = RolloutBar(Reason.WAVE_STOPPED, "in quarantine", frozenset({SLOT}))
    await setup.reconcile(stored.key)

    gate = WaveGate(BuildIndex(ObjectCache(setup.store)), setup.clock)
    watches = gate.watches(lambda: setup.reconciler.kept_back)
    [lifting] = [one for one in watches if one.kind is Quarantine]
    lifted = Quarantine(metadata=ObjectMeta(name="base-1", labels={WAVE_LABEL: "w"}))

    assert list(lifting.to_keys(lifted, None)) == [stored.key]
    assert list(lifting.to_keys(lifted.with_metadata(labels={}), None)) == []


async def test_workloads_of_other_namespaces_are_left_alone(setup: ClusterSetup) -> None:
    await move_tag(setup.store, "good")
    stored = await setup.store.create(workload(Deployment))
    setup.namespace = "of-another-upwell"
    setup.reconciler = setup.restarted()

    await setup.roll(stored)

    assert setup.cluster.writes == 0


async def test_a_namespace_without_a_pod_yet_is_kept_current(setup: ClusterSetup) -> None:
    setup.namespace = "shop"
    setup.reconciler = setup.restarted()
    stored = await setup.store.create(workload(Deployment))
    await move_tag(setup.store, "good")
    assert declared_images(await setup.roll(stored), [SLOT]) == {SLOT: image("good")}


async def test_a_blank_image_is_none_whoever_has_set_it(setup: ClusterSetup) -> None:
    blank = workload(Deployment, "kubectl-patch")
    stored = await setup.store.create(with_images(blank, {SLOT: " "}))
    await move_tag(setup.store, "good")

    rolled = await setup.roll(stored)

    assert image_of(rolled) == image("good")
    assert RolloutNote.of(rolled).good == {}, "nothing ran before that could be put back"


async def test_a_manager_that_serves_git_keeps_a_blank_image(setup: ClusterSetup) -> None:
    blank = workload(Deployment, "argocd-controller")
    stored = await setup.store.create(with_images(blank, {SLOT: " "}))
    await move_tag(setup.store, "good")

    assert image_of(await setup.roll(stored)) == " "


async def test_a_person_who_set_the_image_by_hand_keeps_it(setup: ClusterSetup) -> None:
    await move_tag(setup.store, "good")
    stored = await setup.store.create(workload(Deployment, "kubectl-set"))

    stays = await setup.roll(stored)

    assert image_of(stays) == PLACEHOLDER
    assert setup.cluster.writes == 0
    assert setup.reasons == ["FieldConflict"]
    assert "owned by field manager kubectl-set" in setup.cluster.told[0].message


async def test_an_image_that_a_promotion_has_put_there_is_ours(setup: ClusterSetup) -> None:
    stored = await setup.store.create(workload(Deployment, declared_by="upwell"))
    await move_tag(setup.store, "good")
    assert image_of(await setup.roll(stored)) == image("good")


@pytest.mark.parametrize("manager", ["argocd-controller", "kustomize-controller", "flux"])
async def test_an_image_that_git_sets_is_left_to_git(setup: ClusterSetup, manager: str) -> None:
    await move_tag(setup.store, "good")
    stored = await setup.store.create(workload(Deployment, declared_by=manager))

    stays = await setup.roll(stored)

    assert image_of(stays) == PLACEHOLDER
    assert "let a stage of a Pipeline commit it there" in setup.cluster.told[0].message


@pytest.mark.parametrize(("manager", "taken"), [(APPLIED, "good"), ("deployer-bot", "")])
async def test_only_a_person_who_applies_the_manifest_again_gives_the_image_back(
    setup: ClusterSetup, manager: str, taken: str
) -> None:
    stored = await at_good(setup, Deployment)
    stored = await setup.read(stored)
    path = image_path(stored, SLOT)
    applied = workload(Deployment)
    template = applied.spec.template
    spec = stored.spec.model_copy(update={"template": template})
    entries = (owned_by(manager, TRIGGERS_PATH, path), OWN_NOTE)
    await setup.store.update(
        stored.model_copy(update={"spec": spec}).with_metadata(managed_fields=entries)
    )

    assert image_of(await setup.roll(stored)) == (image(taken) if taken else PLACEHOLDER)


async def test_what_admission_changes_is_left_so(setup: ClusterSetup) -> None:
    setup.cluster.admission = "mirror.test/app:mirrored"
    stored = await setup.store.create(workload(Deployment))
    await move_tag(setup.store, "good")

    changed = await setup.roll(stored)

    assert image_of(changed) == "mirror.test/app:mirrored"
    assert setup.cluster.writes == 1
    assert setup.reasons == ["ImageUpdated", "ChangedAtAdmission"]


@pytest.mark.parametrize(
    "fault",
    [
        AccessDeniedError('User "upwell" cannot patch resource "deployments"'),
        WriteRefusedError('admission webhook "images" denied the request: unsigned'),
    ],
)
async def test_a_refusal_is_told_and_tried_again_later(
    setup: ClusterSetup, fault: ClusterError
) -> None:
    setup.cluster.fault = fault
    stored = await setup.store.create(workload(Deployment))
    await move_tag(setup.store, "good")

    result = await setup.reconcile(stored.key)

    assert result.requeue_after is not None
    assert result.requeue_after <= 10
    assert setup.reasons == [fault.reason]
    assert str(fault) in setup.cluster.told[0].message
    assert image("good") in setup.cluster.told[0].message


async def test_a_refusal_is_told_once_events_may_be_written(setup: ClusterSetup) -> None:
    setup.cluster.fault = WriteRefusedError("unsigned")
    setup.cluster.mute = AccessDeniedError('cannot create resource "events"')
    stored = await setup.store.create(workload(Deployment))
    await move_tag(setup.store, "good")
    await setup.reconcile(stored.key)
    assert setup.reasons == []

    setup.cluster.mute = None
    for _ in range(2):
        await setup.reconcile(stored.key)
    assert setup.reasons == ["Refused"]


async def test_a_busy_cluster_is_asked_again_when_it_says(setup: ClusterSetup) -> None:
    setup.cluster.fault = ClusterUnavailableError("too many requests", retry_after=7)
    stored = await setup.store.create(workload(Deployment))
    await move_tag(setup.store, "good")

    with pytest.raises(ClusterUnavailableError) as raised:
        await setup.reconcile(stored.key)

    assert raised.value.retry_after == 7
    assert setup.reasons == []


async def test_a_workload_that_is_deleted_meanwhile_costs_nothing(setup: ClusterSetup) -> None:
    stored = await setup.store.create(workload(CronJob))
    await move_tag(setup.store, "good")
    await setup.reconcile(ObjectKey("CronJob", "shop", "other"))
    await setup._cache.ready(*NATIVE_WORKLOADS, ImageStream)
    await setup.store.delete(CronJob, stored.namespace, stored.name)

    result = await setup.reconciler.reconcile(stored.key)

    assert result == Result()


async def test_a_workload_gets_images_of_another_namespace_that_its_own_may_have() -> None:
    """The author of the annotation is unknown, and not the administrator."""
    setup = ClusterSetup()
    declared = workload(Deployment)
    trigger = {
        "from": {"kind": "ImageStreamTag", "name": "app:latest", "namespace": NAMESPACE},
        "fieldPath": 'spec.template.spec.containers[?(@.name=="app")].image',
    }
    elsewhere = declared.with_metadata(
        namespace="eve", annotations={TRIGGERS_ANNOTATION: json.dumps([trigger])}
    )
    stored = await setup.store.create(elsewhere)
    await move_tag(setup.store, "new")

    kept = await setup.roll(stored)
    (told,) = setup.cluster.told
    again = await setup.reconcile(stored.key)

    assert declared_images(kept, [SLOT]) == {SLOT: PLACEHOLDER}
    assert told.reason == Reason.MISSING_RIGHT
    assert "get imagestreams in namespace shop is not allowed to group" in told.message
    assert "system:serviceaccounts:eve" in told.message
    assert again.requeue_after == ASK_AGAIN_SECONDS

    setup.reviews.allowed["system:serviceaccounts:eve"] = {"get imagestreams shop"}
    given = await setup.roll(stored)
    assert declared_images(given, [SLOT]) == {SLOT: image("new")}
