"""Admission of what is written past this API: by the same rules, and by the cluster's RBAC."""

import asyncio
import copy
import json
from typing import Any

import pytest
from tests.support.cluster.admission_reviews import Document, patched, review
from tests.support.cluster.fixed_reviews import FixedReviews
from tests.support.server.api_server import ApiClock
from tests.support.server.asgi_requests import post

from upwell.api.apps import Deployment
from upwell.api.codec import decode
from upwell.api.schemas.webhooks import MUTATING, PATHS, VALIDATING
from upwell.cluster.errors import ClusterUnavailableError
from upwell.reconcilers.cluster_access import ClusterRights
from upwell.server.cluster_access.admission import ClusterAdmission
from upwell.server.cluster_access.webhooks import create_admission_app
from upwell.store.kubernetes_errors import StoreForbiddenError
from upwell.store.memory import MemoryStore

OWN = "system:serviceaccount:upwell:upwell"
AUTHOR, GROUPS = "upwell.dev/author", "upwell.dev/author-groups"
ADMISSION = "upwell.dev/admission"
FORCE = "9b3f"
PUSH = "update imagestreams/layers b"


class AskedWebhook:
    """The application that a cluster asks, and the cluster's authorization."""

    def __init__(self) -> None:
        self.reviews = FixedReviews()
        self.force = FORCE
        self.store = MemoryStore(ApiClock())
        rights = ClusterRights(self.reviews)
        admission = ClusterAdmission(rights, OWN, self.admission, "", self.store)
        self.app = create_admission_app(admission)

    async def admission(self) -> str:
        return self.force

    async def ask(self, kind: str, body: bytes) -> Document:
        answer = await post(self.app, PATHS[kind], body)
        assert answer.code == 200, answer.body
        document: Document = json.loads(answer.body)
        assert document["response"]["uid"] == "705ab4f5"
        return document

    async def write(
        self, new: Document, old: Document | None = None, **who: Any
    ) -> tuple[Document, Document]:
        """Return the object that is written, and what the validation has answered."""
        operation = "CREATE" if old is None else "UPDATE"
        mutated = await self.ask(MUTATING, review(operation, new, old, **who))
        stored = patched(new, mutated)
        answer = await self.ask(VALIDATING, review(operation, stored, old, **who))
        return stored, answer["response"]

    async def refusal(self, new: Document | None, old: Document | None = None, **who: Any) -> str:
        """Return the message of both refusals of a write, which are the same."""
        operation = "DELETE" if new is None else "CREATE" if old is None else "UPDATE"
        messages = set()
        for kind in (MUTATING, VALIDATING) if new is not None else (VALIDATING,):
            response = (await self.ask(kind, review(operation, new, old, **who)))["response"]
            assert response["allowed"] is False
            assert "patch" not in response
            messages.add(response["status"]["message"])
        (message,) = messages
        return str(message)


@pytest.fixture
def webhook() -> AskedWebhook:
    return AskedWebhook()


def made(api: str, kind: str, spec: Document, **metadata: Any) -> Document:
    meta = {"name": "app", "namespace": "a", **metadata}
    return {"apiVersion": api, "kind": kind, "metadata": meta, "spec": spec}


def build_config(stream: str = "base", namespace: str = "a", **spec: Any) -> Document:
    base = {"kind": "ImageStreamTag", "name": f"{stream}:1", "namespace": namespace}
    strategy = {"type": "Docker", "dockerStrategy": {"from": base}}
    source = {"type": "Git", "git": {"uri": "https://git.test/app.git"}}
    return made(
        "build.openshift.io/v1", "BuildConfig", {"source": source, "strategy": strategy, **spec}
    )


def pipeline(namespace: str = "b", **stage: Any) -> Document:
    workload = {"kind": "Deployment", "name": "web", "images": {"web": "app"}}
    spec = {
        "components": [{"name": "app", "from": {"kind": "ImageStreamTag", "name": "app:1"}}],
        "stages": [{"name": "live", "namespace": namespace, "workloads": [workload], **stage}],
    }
    return made("upwell.dev/v1alpha1", "Pipeline", spec)


async def test_a_workload_that_another_pipeline_has_is_refused_with_its_path(
    webhook: AskedWebhook,
) -> None:
    first, _ = await webhook.write(pipeline("a"))
    await webhook.store.create(decode(first))
    second = pipeline("a")
    second["metadata"]["name"] = "bad"
    refused = await webhook.refusal(second)
    assert "spec.stages[0].workloads[0]: Deployment a/web belongs to stage live of" in refused
    assert "Pipeline a/app: take it out of that stage first" in refused

    changed = copy.deepcopy(first)
    changed["spec"]["stages"][0]["soakSeconds"] = 5
    _, answer = await webhook.write(changed, first)
    assert answer["allowed"], "it is its own"


async def test_workloads_that_the_server_may_not_read_refuse_no_pipeline(
    webhook: AskedWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await webhook.write(pipeline("a"))
    await webhook.store.create(decode(first))
    read = webhook.store.list

    async def limited(kind: type[Any], *rest: Any) -> Any:
        if kind is Deployment:
            raise StoreForbiddenError("deployments is forbidden")
        return await read(kind, *rest)

    monkeypatch.setattr(webhook.store, "list", limited)
    other = pipeline("a", workloads=[{"kind": "Deployment", "name": "api"}])
    other["metadata"]["name"] = "other"
    _, answer = await webhook.write(other)
    assert answer["allowed"]


async def test_bodies_that_do_not_end_keep_no_other_address_waiting(webhook: AskedWebhook) -> None:
    path, never = PATHS[VALIDATING], asyncio.Event()
    hanging = [
        asyncio.create_task(post(webhook.app, path, b"", peer="10.0.0.9", held=never))
        for _ in range(60)
    ]
    await asyncio.sleep(0)

    assert await webhook.refusal(build_config(namespace="b"))

    assert not any(one.done() for one in hanging)
    for one in hanging:
        one.cancel()
    await asyncio.wait(hanging)


async def test_of_too_many_slow_bodies_the_oldest_gives_way(webhook: AskedWebhook) -> None:
    path, never = PATHS[VALIDATING], asyncio.Event()
    hanging = [
        asyncio.create_task(post(webhook.app, path, b"", peer=f"10.0.0.{number}", held=never))
        for number in range(70)
    ]
    await asyncio.wait(hanging[:6], timeout=10)
    assert await webhook.refusal(build_config(namespace="b"))
    assert {one.result().code for one in hanging[:6]} == {503}
    assert not any(one.done() for one in hanging[10:])
    for one in hanging[6:]:
        one.cancel()
    await asyncio.wait(hanging)


async def test_an_object_gets_its_author_whatever_it_says(webhook: AskedWebhook) -> None:
    forged = build_config()
    forged["metadata"]["annotations"] = {
        AUTHOR: "system:admin",
        GROUPS: "system:masters",
        ADMISSION: FORCE,
        "upwell.dev/made-of": "1234",
        "upwell.dev/content-authors": "root",
        "note": "mine",
    }
    stored, answer = await webhook.write(forged, groups=("team", "system:authenticated"))
    assert stored["metadata"]["annotations"] == {
        AUTHOR: "system:cluster-user:ann",
        GROUPS: "team\nsystem:authenticated",
        ADMISSION: FORCE,
        "note": "mine",
    }
    assert answer["allowed"]
    assert stored["spec"] == forged["spec"], "defaults are not written"


async def test_an_author_that_was_changed_after_the_mutation_is_refused(
    webhook: AskedWebhook,
) -> None:
    stored, _ = await webhook.write(build_config())
    stored["metadata"]["annotations"][AUTHOR] = "system:cluster-user:root"
    answer = await webhook.ask(VALIDATING, review("CREATE", stored))
    assert answer["response"]["allowed"] is False
    assert "another upwell.dev/author" in answer["response"]["status"]["message"]


async def test_an_author_cannot_be_changed_by_an_annotation_alone(webhook: AskedWebhook) -> None:
    old, _ = await webhook.write(build_config())
    new = copy.deepcopy(old)
    new["metadata"]["annotations"][AUTHOR] = "system:admin"
    stored, answer = await webhook.write(new, old, user="eve")
    assert stored["metadata"]["annotations"][AUTHOR] == "system:cluster-user:ann"
    assert answer["allowed"]


@pytest.mark.parametrize(
    ("wanted", "right"),
    [
        (build_config(namespace="b"), "get imagestreams b"),
        (
            build_config(
                output={"to": {"kind": "ImageStreamTag", "name": "x:1", "namespace": "b"}}
            ),
            PUSH,
        ),
        (pipeline(), "patch deployments b"),
        (
            build_config(
                triggers=[{"type": "GitHub", "github": {"secretReference": {"name": "s"}}}]
            ),
            "get secrets a",
        ),
    ],
    ids=["stream", "output", "stage", "secret"],
)
async def test_what_is_named_takes_the_right_of_the_cluster(
    webhook: AskedWebhook, wanted: Document, right: str
) -> None:
    why = await webhook.refusal(wanted)
    assert "user ann may not write" in why
    assert "is not allowed to user ann by this cluster's RBAC" in why

    webhook.reviews.allowed["team"] = {right}
    stored, answer = await webhook.write(wanted, groups=("team",))
    assert answer["allowed"]
    assert stored["metadata"]["annotations"][AUTHOR] == "system:cluster-user:ann"


async def test_a_status_is_upwells_alone(webhook: AskedWebhook) -> None:
    old = pipeline("a")
    new = {**old, "status": {"stages": [{"name": "live", "approvedBy": ["ann"]}]}}
    asked = review("UPDATE", new, old, part="status", groups=("system:masters",))
    answer = await webhook.ask(VALIDATING, asked)
    assert answer["response"]["allowed"] is False
    assert "Upwell alone" in answer["response"]["status"]["message"]
    own = await webhook.ask(VALIDATING, review("UPDATE", new, old, part="status", user=OWN))
    assert own["response"]["allowed"]


async def test_what_upwell_writes_passes_unchanged(webhook: AskedWebhook) -> None:
    wanted = pipeline()
    wanted["metadata"]["annotations"] = {AUTHOR: "ci", ADMISSION: FORCE}
    stored, answer = await webhook.write(wanted, user=OWN)
    assert stored == wanted
    assert answer["allowed"]
    assert webhook.reviews.asked == []


async def test_faults_are_told_all_at_once(webhook: AskedWebhook) -> None:
    wrong = pipeline("a")
    wrong["spec"]["stages"][0] |= {"name": "LIVE!", "soakSeconds": -1}
    why = await webhook.refusal(wrong)
    assert "spec.stages[0].name" in why


async def test_warnings_are_passed_on(webhook: AskedWebhook) -> None:
    wanted = build_config(nonsense=1)
    _, answer = await webhook.write(wanted)
    assert answer["allowed"]
    assert any("nonsense" in one for one in answer["warnings"])


async def test_an_approval_is_lowered_by_whoever_may_override_it(webhook: AskedWebhook) -> None:
    old = pipeline("a", approval={"required": 1})
    new = pipeline("a")
    assert "create pipelines/override" in await webhook.refusal(new, old)
    assert "create pipelines/override" in await webhook.refusal(None, old)
    webhook.reviews.allowed["ann"] = {"create pipelines/override a"}
    _, answer = await webhook.write(new, old)
    assert answer["allowed"]


async def test_a_wave_is_made_by_upwell_or_whoever_may_approve_and_override(
    webhook: AskedWebhook,
) -> None:
    """One that is written in advance would stand in for the approval of a change to come."""
    digest = f"sha256:{64 * '0'}"
    spec = {"image": "vendor.test/debian:11", "digest": digest, "approval": "auto"}
    wave = made("upwell.dev/v1alpha1", "Wave", spec)
    del wave["metadata"]["namespace"]
    assert "create waves/approve" in await webhook.refusal(wave)
    webhook.reviews.allowed["ann"] = {"create waves/approve", "create waves/override"}
    _, answer = await webhook.write(wave)
    assert answer["allowed"]
    webhook.reviews.allowed.clear()
    _, answer = await webhook.write(wave, user=OWN)
    assert answer["allowed"]


async def test_an_owner_alone_takes_the_right_too_as_its_deletion_is_the_control_planes(
    webhook: AskedWebhook,
) -> None:
    old, _ = await webhook.write(pipeline("a", approval={"required": 1}))
    new = copy.deepcopy(old)
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "mine", "uid": "mine-1"}
    new["metadata"]["ownerReferences"] = [owner]
    assert "it gets an owner, whose deletion removes it" in await webhook.refusal(new, old)
    _, answer = await webhook.write(old, new)
    assert answer["allowed"], "an owner fewer lowers nothing"


async def test_the_control_plane_deletes_what_is_in_a_deleted_namespace(
    webhook: AskedWebhook,
) -> None:
    old = pipeline("a", approval={"required": 1})
    name = "system:serviceaccount:kube-system:namespace-controller"
    groups = ("system:serviceaccounts", "system:serviceaccounts:kube-system")
    answer = await webhook.ask(VALIDATING, review("DELETE", None, old, user=name, groups=groups))
    assert answer["response"]["allowed"]


async def test_finalizers_are_nobodys_declaration(webhook: AskedWebhook) -> None:
    """An object of before the admission can be deleted, however wrong it is."""
    old = pipeline()
    old["spec"]["stages"][0]["name"] = "LIVE!"
    new = copy.deepcopy(old)
    new["metadata"]["finalizers"] = []
    stored, answer = await webhook.write(new, old, user="garbage")
    assert stored == new
    assert answer["allowed"]
    assert webhook.reviews.asked == []


async def test_what_upwell_alone_writes_is_no_users(webhook: AskedWebhook) -> None:
    operator = {
        "apiVersion": "config.openshift.io/v1",
        "kind": "ClusterOperator",
        "metadata": {"name": "router"},
    }
    assert "Upwell alone writes clusteroperators" in await webhook.refusal(operator)


async def test_images_keep_the_names_that_a_cluster_gives_them(webhook: AskedWebhook) -> None:
    image: Document = {
        "apiVersion": "image.openshift.io/v1",
        "kind": "Image",
        "metadata": {"name": f"sha256-{'0' * 64}"},
        "dockerImageReference": f"registry.test/app@sha256:{'0' * 64}",
    }
    stored, answer = await webhook.write(image)
    assert answer["allowed"], answer
    assert stored["metadata"]["name"] == image["metadata"]["name"]


async def test_a_cluster_that_cannot_be_asked_lets_nothing_in(webhook: AskedWebhook) -> None:
    webhook.reviews.fault = ClusterUnavailableError("away")
    assert "cannot ask the cluster" in await webhook.refusal(pipeline())


async def test_without_an_admission_in_force_no_author_is_marked(webhook: AskedWebhook) -> None:
    webhook.force = ""
    stored, answer = await webhook.write(build_config())
    assert answer["allowed"]
    assert ADMISSION not in stored["metadata"]["annotations"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}',
        b'{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {}}',
        json.dumps({"a": [[]] * 50_000}).encode(),
        b"[" * 100_000,
    ],
    ids=["empty", "list", "nothing", "no-request", "old-version", "many-values", "deep"],
)
async def test_what_is_no_review_is_refused(webhook: AskedWebhook, body: bytes) -> None:
    answer = await post(webhook.app, PATHS[VALIDATING], body)
    assert answer.code in {400, 413}


async def test_a_body_is_bounded(webhook: AskedWebhook) -> None:
    answer = await post(webhook.app, PATHS[MUTATING], b" " * (8 * 1024 * 1024 + 1))
    assert answer.code == 413
