"""Jobs over HTTP: their selector and labels, whichever way a client writes them."""

from typing import Any

import pytest
from tests.support.server.api_server import START, Api
from tests.support.workload.waiting import eventually

from upwell.api.apps import Job
from upwell.policy.rollouts.report import missing_images
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

JOBS = "/apis/batch/v1/namespaces/shop/jobs"
APPLY = "application/apply-patch+yaml"


def job(**spec: Any) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "x.test/a:1"}]}
    template = {"metadata": {"labels": {"app": "a"}}, "spec": pod}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "load", "labels": {"app": "a"}},
        "spec": {"template": template, **spec},
    }


@pytest.mark.parametrize("way", ["POST", "PATCH"])
async def test_a_manifest_without_selector_may_be_sent_again(api: Api, way: str) -> None:
    async def send() -> Any:
        if way == "PATCH":
            return await api.send("PATCH", f"{JOBS}/load?fieldManager=me", job(), APPLY)
        return await api.send("POST", JOBS, job())

    created = await send()
    assert created.status == 201, created.text
    uid = created.json["metadata"]["uid"]
    assert created.json["spec"]["selector"]["matchLabels"] == {
        "batch.kubernetes.io/controller-uid": uid
    }
    if way == "PATCH":
        again = await send()
    else:
        again = await api.send("PUT", f"{JOBS}/load", job())
    assert again.status == 200, again.text
    assert again.json["spec"] == created.json["spec"]
    assert again.json["metadata"]["generation"] == 1

    read = again.json | {"spec": again.json["spec"] | {"parallelism": 3}}
    assert (await api.send("PUT", f"{JOBS}/load", read)).status == 200


async def test_the_selector_cannot_be_changed(api: Api) -> None:
    await api.send("POST", JOBS, job())
    changed = job(manualSelector=True, selector={"matchLabels": {"app": "a"}})
    answer = await api.send("PUT", f"{JOBS}/load", changed)
    assert answer.status == 422
    assert "spec.selector" in answer.json["message"]


async def test_a_selector_of_its_author_is_known(api: Api) -> None:
    wanted = job(manualSelector=True, selector={"matchLabels": {"app": "a"}})
    answer = await api.send("POST", JOBS, wanted)
    assert answer.status == 201, answer.text
    assert answer.warnings == ()
    assert answer.json["spec"]["selector"] == {"matchLabels": {"app": "a"}}


async def test_a_job_without_its_image_shows_the_pod_that_waits_for_it(api: Api) -> None:
    await api.send("POST", JOBS, job())
    stored = await api.store.get(Job, "shop", "load")
    missing = missing_images("ManifestUnknown", "no manifest x.test/a:1", stored.generation)
    status = stored.status.model_copy(update={"conditions": (missing,)})
    await api.store.update_status(stored.with_status(status))

    async def awaited() -> list[dict[str, Any]]:
        found = await api.get("/api/v1/namespaces/shop/pods?labelSelector=job-name%3Dload")
        listed: list[dict[str, Any]] = found.json["items"]
        return listed

    (pod,) = await eventually(awaited, bool)
    (container,) = pod["status"]["containerStatuses"]
    why = {"reason": "ImagePullBackOff", "message": "no manifest x.test/a:1"}
    assert container["state"] == {"waiting": why}


async def test_pods_are_found_that_were_started_without_labels(api: Api) -> None:
    await api.send("POST", JOBS, job())
    started = Instance(
        name="upwell-shop-job-load-1-0",
        owner=Owner("Job", "shop", "load"),
        revision="1",
        state=State.RUNNING,
        ready=True,
        ready_since=START,
        started_at=START,
        address="10.0.0.7",
        images={},
        labels={"app": "a"},
    )
    api.runtime.shown = [started]
    found = await api.send("GET", "/api/v1/namespaces/shop/pods?labelSelector=job-name%3Dload")
    assert [one["metadata"]["name"] for one in found.json["items"]] == [started.name]
