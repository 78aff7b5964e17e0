"""Builds that `oc` starts, tries and cancels, by the requests that it sends."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.server.api_server import Api, serving

from upwell.api.builds.build import Build, BuildPhase, BuildStatus
from upwell.server.http.limits import ServerLimits
from upwell.uploads.files import FileInputs

type Document = dict[str, Any]

BUILDS = "/apis/build.openshift.io/v1/namespaces/shop/builds"
CONFIGS = "/apis/build.openshift.io/v1/namespaces/shop/buildconfigs"
MERGE = "application/merge-patch+json"
START = {
    "kind": "BuildRequest",
    "apiVersion": "build.openshift.io/v1",
    "metadata": {"name": "app"},
    "dockerStrategyOptions": {},
    "sourceStrategyOptions": {},
    "triggeredBy": [{"message": "Manually triggered"}],
}
"""The body of `oc start-build app`."""


@pytest.fixture
async def api(tmp_path: Any) -> AsyncIterator[Api]:
    inputs = FileInputs(tmp_path / "inputs", limit_bytes=1000)
    async with serving(ServerLimits(), inputs=inputs) as running:
        config = {
            "apiVersion": "build.openshift.io/v1",
            "kind": "BuildConfig",
            "metadata": {"name": "app"},
            "spec": {
                "source": {"git": {"uri": "https://git.test/app"}},
                "strategy": {"dockerStrategy": {}},
            },
        }
        created = await running.send("POST", CONFIGS, config)
        assert created.status == 201, created.text
        yield running


async def names(api: Api) -> list[str]:
    return [one.name for one in (await api.store.list(Build)).items]


async def started(api: Api, phase: BuildPhase = BuildPhase.NEW) -> Build:
    answer = await api.send("POST", f"{CONFIGS}/app/instantiate", START)
    assert answer.status == 201, answer.text
    build = await api.store.get(Build, "shop", "app-1")
    if phase is not BuildPhase.NEW:
        build = await api.store.update_status(build.with_status(BuildStatus(phase=phase)))
    return build


def as_oc_writes(document: Document) -> Document:
    """Return a Build as `oc cancel-build` writes it, with the fields that it knows."""
    spec: Document = {"output": {}, "resources": {}, "postCommit": {}, "nodeSelector": None}
    spec |= {name: document["spec"][name] for name in ("source", "strategy", "triggeredBy")}
    status = {"phase": document["status"]["phase"], "cancelled": True, "output": {}}
    return {**document, "spec": spec, "status": status}


async def test_options_that_ask_for_nothing_are_no_obstacle(api: Api) -> None:
    build = await started(api)
    assert build.name == "app-1"
    wanted = {**START, "sourceStrategyOptions": {"incremental": True}}
    refused = await api.send("POST", f"{CONFIGS}/app/instantiate", wanted)
    assert (refused.status, "incremental needs sourceStrategy" in refused.text) == (422, True)


async def test_a_build_that_waits_says_so(api: Api) -> None:
    """`oc cancel-build --state=new` and `oc get builds` look for the phase."""
    await started(api)
    assert (await api.get(f"{BUILDS}/app-1")).json["status"] == {"phase": "New"}
    table = await api.send("GET", BUILDS, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert "New" in table.json["rows"][0]["cells"]


@pytest.mark.parametrize("phase", [BuildPhase.NEW, BuildPhase.RUNNING])
async def test_a_build_is_cancelled_by_its_status(api: Api, phase: BuildPhase) -> None:
    build = await started(api, phase)
    document = (await api.get(f"{BUILDS}/app-1")).json
    document["status"]["cancelled"] = True
    document["spec"].pop("forced")  # `oc` knows no fields but OpenShift's
    answer = await api.send("PUT", f"{BUILDS}/app-1", document)
    assert (answer.status, answer.json["status"]["cancelled"]) == (200, True)
    after = await api.store.get(Build, "shop", "app-1")
    assert after.status.cancelled is True
    assert after.status.phase is phase  # its reconciler ends it
    assert after.spec == build.spec


async def test_a_patch_cancels_too_but_not_what_has_ended(api: Api) -> None:
    patch = {"status": {"cancelled": True}}
    await started(api, BuildPhase.COMPLETE)
    answer = await api.send("PATCH", f"{BUILDS}/app-1", patch, MERGE)
    assert (answer.status, "cancelled" in answer.json["status"]) == (200, False)
    build = await api.store.get(Build, "shop", "app-1")
    await api.store.update_status(build.with_status(BuildStatus(phase=BuildPhase.PENDING)))
    for dry, expected in (("?dryRun=All", None), ("", True)):
        answer = await api.send("PATCH", f"{BUILDS}/app-1{dry}", patch, MERGE)
        assert answer.json["status"]["cancelled"] is True
        assert (await api.store.get(Build, "shop", "app-1")).status.cancelled is expected


async def test_who_read_an_older_build_reads_it_again(api: Api) -> None:
    await started(api)
    document = (await api.get(f"{BUILDS}/app-1")).json
    build = await api.store.get(Build, "shop", "app-1")
    await api.store.update_status(build.with_status(BuildStatus(phase=BuildPhase.RUNNING)))
    document["status"]["cancelled"] = True
    assert (await api.send("PUT", f"{BUILDS}/app-1", document)).status == 409


async def test_a_build_that_has_ended_meanwhile_is_told_as_such(api: Api) -> None:
    """`oc` reads the Build, waits, and puts it: a conflict has it read again, and then it hears."""
    await started(api, BuildPhase.RUNNING)
    document = as_oc_writes((await api.get(f"{BUILDS}/app-1")).json)
    build = await api.store.get(Build, "shop", "app-1")
    await api.store.update_status(build.with_status(BuildStatus(phase=BuildPhase.COMPLETE)))
    assert (await api.send("PUT", f"{BUILDS}/app-1", document)).status == 409
    document = as_oc_writes((await api.get(f"{BUILDS}/app-1")).json)
    answer = await api.send("PUT", f"{BUILDS}/app-1", document)
    assert answer.status == 422
    assert answer.json["message"].endswith(
        "status.cancelled: Invalid value: true: the build has ended as Complete: there is nothing"
        " to cancel"
    )


async def test_a_build_keeps_the_fields_that_its_client_does_not_know(api: Api) -> None:
    build = await started(api, BuildPhase.COMPLETE)
    document = as_oc_writes((await api.get(f"{BUILDS}/app-1")).json)
    del document["status"]
    document["metadata"]["labels"]["team"] = "shop"
    document["spec"]["output"]["pushSecret"] = {"name": "login"}
    answer = await api.send("PUT", f"{BUILDS}/app-1", document)
    assert (answer.status, answer.json["metadata"]["labels"]["team"]) == (200, "shop"), answer.text
    after = (await api.store.get(Build, "shop", "app-1")).spec
    assert after.output.push_secret is not None
    assert after.model_copy(update={"output": build.spec.output}) == build.spec
    assert after.forced is True


@pytest.mark.parametrize(
    "change",
    [
        {"forced": False},
        {"imageInputs": [{"from": {"kind": "ImageStreamTag", "name": "a:1"}, "image": "a"}]},
        {"triggeredBy": []},
        {"triggeredBy": [{"message": "Manually triggered"}, {"message": "again"}]},
        {"resources": {"limits": {"cpu": "1"}}},
        {"nodeSelector": {"disk": "ssd"}},
        {"strategy": {"type": "Docker", "dockerStrategy": {"noCache": True}}},
    ],
)
async def test_the_spec_of_a_build_is_immutable(api: Api, change: Document) -> None:
    await started(api)
    document = as_oc_writes((await api.get(f"{BUILDS}/app-1")).json)
    del document["status"]
    document["spec"] |= change
    answer = await api.send("PUT", f"{BUILDS}/app-1", document)
    assert (answer.status, "spec is immutable" in answer.text) == (422, True)


async def test_other_writes_of_a_build_change_what_they_did(api: Api) -> None:
    await started(api)
    labelled = {"metadata": {"labels": {"team": "shop"}}}
    answer = await api.send("PATCH", f"{BUILDS}/app-1", labelled, MERGE)
    assert (answer.status, answer.json["metadata"]["labels"]["team"]) == (200, "shop")


async def test_a_dry_run_starts_no_build(api: Api) -> None:
    for path in (f"{CONFIGS}/app/instantiate", f"{CONFIGS}/app/instantiatebinary"):
        answer = await api.send("POST", f"{path}?dryRun=All", START)
        assert (answer.status, answer.json["metadata"]["name"]) == (201, "app-1")
        assert answer.json["status"] == {"phase": "New"}
    assert await names(api) == []
    await started(api)
    answer = await api.send("POST", f"{BUILDS}/app-1/clone?dryRun=All", START)
    assert (answer.status, answer.json["metadata"]["name"]) == (201, "app-2")
    assert await names(api) == ["app-1"]


@pytest.mark.parametrize(
    "part",
    [
        "/apis/upwell.dev/v1alpha1/namespaces/shop/promotions/p/approve",
        "/apis/upwell.dev/v1alpha1/namespaces/shop/releases/r/verify",
        "/apis/apps/v1/namespaces/shop/deployments/web/exec",
    ],
)
async def test_what_acts_at_once_is_not_tried(api: Api, part: str) -> None:
    answer = await api.send("POST", f"{part}?dryRun=All", {})
    assert (answer.status, "acts at once" in answer.json["message"]) == (400, True)
