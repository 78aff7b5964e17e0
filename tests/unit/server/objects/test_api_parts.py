import asyncio
from typing import Any

import pytest
from aiohttp import ClientPayloadError
from tests.support.server.api_server import START, Api, ApiAnswer, deployment

from upwell.api.apps import Deployment, RevisionRecord
from upwell.api.builds.build import Build, BuildPhase, BuildStatus
from upwell.api.codec import decode
from upwell.inventory.interface import Package
from upwell.oci import Digest
from upwell.policy.rollouts.history import Phase, with_pinned_images
from upwell.policy.rollouts.pod_template import template_hash
from upwell.policy.rollouts.settings import template_of
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

BUILDS = "/apis/build.openshift.io/v1/namespaces/shop/builds"
CONFIGS = "/apis/build.openshift.io/v1/namespaces/shop/buildconfigs"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
DIGEST = Digest.of(b"an image")


async def make_build(api: Api, phase: BuildPhase) -> Build:
    document = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "Build",
        "metadata": {"name": "b-1", "namespace": "shop"},
    }
    build = await api.store.create(decode(document))
    assert isinstance(build, Build)
    return await api.store.update_status(build.with_status(BuildStatus(phase=phase)))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "one\ntwo\nthree\n"),
        ("?tailLines=2", "two\nthree\n"),
        ("?tailLines=9", "one\ntwo\nthree\n"),
        ("?tailLines=0", ""),
    ],
)
async def test_a_builds_log_is_read_from_its_start_or_its_end(
    api: Api, query: str, expected: str
) -> None:
    build = await make_build(api, BuildPhase.COMPLETE)
    for piece in (b"one\nt", b"wo\n", b"three\n"):
        api.logs.sink(build.uid)(piece)
    answer = await api.get(f"{BUILDS}/b-1/log{query}")
    assert answer.text == expected
    assert answer.headers["Content-Type"].startswith("text/plain")


async def test_the_last_line_may_be_unfinished(api: Api) -> None:
    build = await make_build(api, BuildPhase.COMPLETE)
    api.logs.sink(build.uid)(b"one\ntwo\nthr")
    assert (await api.get(f"{BUILDS}/b-1/log?tailLines=2")).text == "two\nthr"


async def test_a_followed_log_waits_for_the_start_and_ends_with_the_build(api: Api) -> None:
    build = await make_build(api, BuildPhase.NEW)
    async with asyncio.timeout(30), api.stream(f"{BUILDS}/b-1/log?follow=1&tailLines=1") as stream:
        api.logs.sink(build.uid)(b"zero\none\n")
        await api.store.update_status(build.with_status(BuildStatus(phase=BuildPhase.RUNNING)))
        assert await stream.readline() == b"one\n"
        api.logs.sink(build.uid)(b"two\n")
        assert await stream.readline() == b"two\n"
        api.logs.close(build.uid)
        assert await stream.read() == b""


async def test_a_followed_log_of_a_deleted_build_ends(api: Api) -> None:
    build = await make_build(api, BuildPhase.NEW)
    async with asyncio.timeout(30), api.stream(f"{BUILDS}/b-1/log?follow=1") as stream:
        api.logs.close(build.uid)
        await api.store.delete(Build, "shop", "b-1")
        assert await stream.read() == b""


async def test_shutdown_cuts_a_followed_log_so_that_nobody_takes_it_as_whole(api: Api) -> None:
    build = await make_build(api, BuildPhase.RUNNING)
    api.logs.sink(build.uid)(b"one\n")
    async with asyncio.timeout(30), api.stream(f"{BUILDS}/b-1/log?follow=1") as stream:
        assert await stream.readline() == b"one\n"
        api.shutdown.set()
        with pytest.raises(ClientPayloadError):
            await stream.read()


async def test_the_log_of_no_build_is_not_found(api: Api) -> None:
    answer = await api.get(f"{BUILDS}/b-9/log")
    assert (answer.status, answer.json["details"]["name"]) == (404, "b-9")
    await make_build(api, BuildPhase.NEW)
    assert (await api.get(f"{BUILDS}/b-1/log?tailLines=-1")).status == 400


async def test_a_build_config_is_instantiated(api: Api) -> None:
    config = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "app"},
        "spec": {"source": {"dockerfile": "FROM base\n"}, "strategy": {"dockerStrategy": {}}},
    }
    assert (await api.send("POST", CONFIGS, config)).status == 201
    started = await api.send("POST", f"{CONFIGS}/app/instantiate", {"kind": "BuildRequest"})
    assert (started.status, started.json["metadata"]["name"]) == (201, "app-1")
    assert started.warnings == ()
    other = {"from": {"kind": "ImageStreamTag", "name": "base:2"}, "color": "red"}
    for path in (f"{CONFIGS}/app/instantiate", f"{BUILDS}/app-1/clone"):
        warned = await api.send("POST", path, other)
        assert warned.status == 201
        assert ["from" in warned.warnings[0], "color" in warned.warnings[1]] == [True, True]
        assert "change the strategy's from" in warned.warnings[0]
    refused = await api.send("POST", f"{CONFIGS}/app/instantiate", {"lastVersion": 99})
    assert (refused.status, refused.json["reason"]) == (422, "Invalid")


def instance(name: str, owner: str = "web", **changes: Any) -> Instance:
    facts: dict[str, Any] = {
        "name": name,
        "owner": Owner("Deployment", "shop", owner),
        "revision": "r1",
        "state": State.RUNNING,
        "ready": True,
        "ready_since": START,
        "started_at": START,
        "address": "10.0.0.2",
        "images": {"web": DIGEST, "side": None},
    }
    return Instance(**(facts | changes))


async def test_the_instances_of_a_workload_are_what_runs(api: Api) -> None:
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    api.runtime.shown = [
        instance("web-2", ready=False, message="probe: 503"),
        instance("web-1"),
        instance("other-1", owner="other"),
    ]
    found = (await api.get(f"{DEPLOYMENTS}/web/instances")).json["items"]
    assert [item["name"] for item in found] == ["web-1", "web-2"]
    assert found[1] == {
        "name": "web-2",
        "revision": "r1",
        "state": "Running",
        "ready": False,
        "address": "10.0.0.2",
        "images": {"web": str(DIGEST), "side": ""},
        "restarts": 0,
        "message": "probe: 503",
        "startedAt": "2024-05-01T12:00:00Z",
    }
    assert (await api.get(f"{DEPLOYMENTS}/none/instances")).status == 404


async def test_one_instances_log_is_plain_and_several_have_names(api: Api) -> None:
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    api.runtime.shown = [instance("web-1"), instance("web-2")]
    api.runtime.log_texts = {
        ("web-1", ""): b"a\nb\n",
        ("web-2", ""): b"c\nd",
        ("web-2", "side"): b"s\n",
    }
    both = await api.get(f"{DEPLOYMENTS}/web/log?tailLines=1")
    assert sorted(both.text.splitlines()) == ["[web-1] b", "[web-2] d"]
    one = await api.get(f"{DEPLOYMENTS}/web/log?instance=web-2&container=side")
    assert one.text == "s\n"
    assert (await api.get(f"{DEPLOYMENTS}/web/log?instance=web-3")).status == 404
    assert (await api.get(f"{DEPLOYMENTS}/web/log?container=none")).status == 400


async def test_followed_logs_of_several_instances_end_with_the_client(api: Api) -> None:
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    api.runtime.shown = [instance("web-1"), instance("web-2")]
    api.runtime.log_texts = {("web-1", ""): b"a\n" * 200, ("web-2", ""): b"c\n" * 200}
    async with asyncio.timeout(30), api.stream(f"{DEPLOYMENTS}/web/log?follow=1") as stream:
        lines = [await stream.readline() for _ in range(400)]
    assert {*lines} == {b"[web-1] a\n", b"[web-2] c\n"}


async def test_a_workload_without_instances_says_why_it_has_no_log(api: Api) -> None:
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    path = f"{DEPLOYMENTS}/web"
    fresh = await api.get(f"{path}/log")
    why = "Secret 'dbpass' does not exist"
    condition = {"type": "Progressing", "status": "False", "reason": "SecretNotFound"}
    await api.send(
        "PATCH",
        f"{path}/status",
        {"status": {"conditions": [{**condition, "message": why}]}},
        "application/merge-patch+json",
    )
    waits = await api.get(f"{path}/log")
    entered = await api.send("POST", f"{path}/exec", {"command": ["id"]})
    await api.send("PATCH", path, {"spec": {"replicas": 0}}, "application/merge-patch+json")
    none = await api.get(f"{path}/log")

    assert {one.status for one in (fresh, waits, entered, none)} == {400}
    assert fresh.json["message"] == (
        "Deployment shop/web has no instance, so no log: it has not been started yet"
    )
    assert waits.json["message"].endswith(f"no log: {why}")
    assert entered.json["message"].startswith(f"no instance of Deployment shop/web runs: {why}")
    assert none.json["message"].endswith("spec.replicas is 0")


async def test_a_workload_is_scaled_apart_from_its_spec(api: Api) -> None:
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    path = f"{DEPLOYMENTS}/web/scale"
    scale = (await api.get(path)).json
    assert (scale["apiVersion"], scale["spec"]) == ("autoscaling/v1", {"replicas": 2})
    assert scale["status"] == {"replicas": 0, "selector": "app=web"}
    merge = "application/merge-patch+json"
    patched = await api.send("PATCH", path, {"spec": {"replicas": 5}}, merge)
    assert patched.json["spec"] == {"replicas": 5}
    stale = await api.send("PUT", path, scale)
    assert stale.status == 409
    wrong = await api.send("PATCH", path, {"spec": {"replicas": -1}}, merge)
    assert wrong.status == 422
    assert (await api.get(f"{DEPLOYMENTS}/web")).json["spec"]["replicas"] == 5


async def test_whoever_scales_hears_what_is_wrong_with_that_many(api: Api) -> None:
    written = deployment("db")
    written["spec"]["replicas"] = 1
    pod = written["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "pg"}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    await api.send("POST", DEPLOYMENTS, written)

    merge = "application/merge-patch+json"
    change = {"spec": {"replicas": 2}}
    scaled = await api.send("PATCH", f"{DEPLOYMENTS}/db/scale", change, merge)

    assert scaled.json["spec"] == change["spec"]
    assert [one for one in scaled.warnings if "2 replicas write persistentVolumeClaim pg" in one]


OC = "oc/4.22.0 (linux/amd64) kubernetes/1a6edb8"


async def test_idling_stops_nothing_as_no_request_would_wake_it(api: Api) -> None:
    """`oc idle` marks a Service, then writes the Scale that it read, without its version."""
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    path = f"{DEPLOYMENTS}/web/scale"
    scale = (await api.get(path)).json
    del scale["metadata"]["resourceVersion"]
    scale["spec"]["replicas"] = 0

    refused = await api.send("PUT", path, scale, User_Agent=OC)
    assert refused.status == 403, refused.text
    assert "`oc scale deployment/web --replicas=0` stops it" in refused.json["message"]
    assert (await api.get(path)).json["spec"] == {"replicas": 2}

    scale["spec"]["replicas"] = 1
    assert (await api.send("PUT", path, scale, User_Agent=OC)).status == 200
    scale["spec"]["replicas"] = 0
    assert (await api.send("PUT", path, scale, User_Agent="fabric8/6")).status == 200
    own = {"metadata": {"name": "web"}, "spec": {"replicas": 0}}
    assert (await api.send("PUT", path, own, User_Agent=OC)).status == 200
    read = (await api.get(path)).json
    assert (await api.send("PUT", path, read, User_Agent=OC)).status == 200


@pytest.mark.parametrize("kind", ["Service", "DeploymentConfig"])
async def test_nothing_is_marked_as_idled_but_by_its_first_manifest(api: Api, kind: str) -> None:
    template = deployment("web")["spec"]["template"]
    group, spec = {
        "Service": ("api/v1", {"ports": [{"port": 80}]}),
        "DeploymentConfig": ("apis/apps.openshift.io/v1", {"replicas": 1, "template": template}),
    }[kind]
    place = f"/{group}/namespaces/shop/{kind.lower()}s"
    mark = {"idling.alpha.openshift.io/idled-at": "2026-11-29T21:00:00Z"}
    for name, annotations in (("web", {}), ("old", mark)):
        metadata = {"name": name, "annotations": annotations}
        answer = await api.send("POST", place, {"metadata": metadata, "spec": spec})
        assert answer.status == 201, answer.text

    for name, changed in (("web", mark), ("old", {next(iter(mark)): "2026-11-29T22:00:00Z"})):
        patch = {"metadata": {"annotations": changed}, "spec": {}}
        strategic = "application/strategic-merge-patch+json"
        refused = await api.send("PATCH", f"{place}/{name}", patch, strategic)
        assert refused.status == 422, refused.text
        assert "metadata.annotations[idling.alpha.openshift.io/idled-at]" in refused.text
        assert "`oc scale --replicas=0` stops one" in refused.text
    kept = {"metadata": {"labels": {"a": "b"}}}
    merge = "application/merge-patch+json"
    assert (await api.send("PATCH", f"{place}/old", kept, merge)).status == 200


async def rolled_out(api: Api, *images: str, phase: Phase = Phase.COMPLETE) -> None:
    """Make `web` a Deployment that has served these images; the last rollout is in `phase`."""
    await api.send("POST", DEPLOYMENTS, deployment("web", image=images[-1]))
    found = await api.store.get(Deployment, "shop", "web")
    records = [
        RevisionRecord(
            revision=number,
            hash=template_hash(template),
            template=template,
            created=START,
            phase=phase if number == len(images) else Phase.COMPLETE,
        )
        for number, image in enumerate(images, 1)
        for template in [with_pinned_images(template_of(found), {"web": image})]
    ]
    status = found.status.model_copy(update={"revisions": tuple(reversed(records))})
    await api.store.update_status(found.with_status(status))


def image_in(answer: ApiAnswer) -> str:
    image = answer.json["spec"]["template"]["spec"]["containers"][0]["image"]
    assert isinstance(image, str)
    return image


async def test_a_rollback_names_its_revision_or_takes_the_one_before(api: Api) -> None:
    await rolled_out(api, "app:1", "app:2", "app:3")
    named = await api.send("POST", f"{DEPLOYMENTS}/web/rollback", {"toRevision": 1})
    assert (named.status, named.json["kind"], image_in(named)) == (200, "Deployment", "app:1")
    before = await api.send("POST", f"{DEPLOYMENTS}/web/rollback")
    assert image_in(before) == "app:3"


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        (7, "Deployment shop/web: no revision 7; known revisions: 2, 1"),
        (2, "Deployment shop/web: revision 2 is what the template says already"),
    ],
)
async def test_a_refused_rollback_is_invalid_and_says_why(
    api: Api, revision: object, message: str
) -> None:
    await rolled_out(api, "app:1", "app:2")
    answer = await api.send("POST", f"{DEPLOYMENTS}/web/rollback", {"toRevision": revision})
    assert answer.status == 422
    assert answer.json == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "Invalid",
        "details": {},
        "code": 422,
    }


async def test_an_images_packages_are_listed(api: Api) -> None:
    api.behind.inventory.indexed[DIGEST] = [Package("libc6", "2.31", "amd64", "glibc")]
    path = "/apis/image.openshift.io/v1/images"
    answer = await api.get(f"{path}/{DIGEST}/packages")
    libc = {"name": "libc6", "version": "2.31", "architecture": "amd64", "source": "glibc"}
    assert answer.json == {"digest": str(DIGEST), "packages": [libc]}
    assert (await api.get(f"{path}/{Digest.of(b'other')}/packages")).status == 404
    assert (await api.get(f"{path}/latest/packages")).status == 400


async def test_a_webhook_answers_how_many_tags_follow_what_was_pushed(api: Api) -> None:
    stream = {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": "debian", "namespace": "shop"},
        "spec": {
            "tags": [
                {"name": name, "from": {"kind": "DockerImage", "name": f"vendor.test/{image}"}}
                for name, image in (("11", "vendor/debian:11"), ("12", "vendor/debian:12"))
            ]
        },
    }
    await api.behind.cache.wait_for(await api.store.create(decode(stream)))
    target = {"repository": "vendor/debian", "tag": "11", "digest": str(DIGEST)}
    event = {"action": "push", "target": target, "request": {"host": "127.0.0.1:5000"}}
    envelope = "application/vnd.docker.distribution.events.v1+json"
    answer = await api.send("POST", "/webhooks/registry", {"events": [event]}, envelope)
    assert (answer.status, answer.json) == (202, {"pushed": 1, "noted": 1})
    bad = await api.send("POST", "/webhooks/registry", b"nonsense")
    assert (bad.status, bad.json["reason"]) == (400, "BadRequest")
    large = await api.send("POST", "/webhooks/registry", b" " * 1_100_000)
    assert large.status == 413


async def test_a_command_runs_in_an_instance_that_is_ready(api: Api) -> None:
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    path = f"{DEPLOYMENTS}/web/exec"
    none = await api.send("POST", path, {"command": ["id"]})
    assert none.status == 400
    assert none.json["message"].startswith("no instance of Deployment shop/web runs: ")
    api.runtime.shown = [instance("web-1", ready=False), instance("web-2")]

    done = await api.send("POST", path, {"command": ["id", "-u"]})
    assert done.json == {"instance": "web-2", "exitCode": 3, "output": "web-2: id -u\n"}
    named = await api.send("POST", path, {"command": ["id"], "instance": "web-1"})
    assert named.json["instance"] == "web-1"
    gone = await api.send("POST", path, {"command": ["id"], "container": "gone"})
    assert (gone.status, gone.json["message"]) == (
        400,
        "no container 'gone' in web-2: web, side",
    )
    wrong: object
    for wrong in ({}, {"command": []}, {"command": "id"}, {"command": [1]}):
        assert (await api.send("POST", path, wrong)).status == 422


async def test_a_rollout_is_cancelled_and_retried(api: Api) -> None:
    await rolled_out(api, "app:1", "app:2", phase=Phase.PROGRESSING)
    cancelled = await api.send("POST", f"{DEPLOYMENTS}/web/rollout", {"verb": "cancel"})
    assert cancelled.json["status"]["revisions"][0]["phase"] == "Failed"
    retried = await api.send("POST", f"{DEPLOYMENTS}/web/rollout", {"verb": "retry"})
    assert retried.json["status"]["revisions"][0]["phase"] == "Progressing"


async def test_a_deployment_config_is_rolled_out_anew(api: Api) -> None:
    configs = "/apis/apps.openshift.io/v1/namespaces/shop/deploymentconfigs"
    config = {
        "apiVersion": "apps.openshift.io/v1",
        "kind": "DeploymentConfig",
        "metadata": {"name": "db"},
        "spec": {
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "db", "image": "db:1"}]},
            }
        },
    }
    assert (await api.send("POST", configs, config)).status == 201
    latest = await api.send("POST", f"{configs}/db/rollout", {"verb": "latest", "again": True})
    asked = await api.send("POST", f"{configs}/db/instantiate", {"latest": True})
    for answer, status in ((latest, 200), (asked, 201)):
        assert answer.status == status, answer.text
        assert answer.json["status"]["requested"]["template"]


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        (
            "latest",
            (
                "Deployment shop/web follows no tag that has an image;"
                " `upwell rollout restart deployment/web -n shop` replaces its instances"
            ),
        ),
        ("cancel", "Deployment shop/web: no rollout is in progress: there has been none"),
        ("undo", "'undo' is none of latest, cancel and retry"),
    ],
)
async def test_a_refused_verb_is_invalid_and_says_why(api: Api, verb: str, message: str) -> None:
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    answer = await api.send("POST", f"{DEPLOYMENTS}/web/rollout", {"verb": verb})
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    assert answer.json["message"] == message
