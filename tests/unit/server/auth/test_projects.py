"""Projects: Namespaces as `oc` sees them, each token its own; and `oc login -u`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.server.api_server import config_map, next_event
from tests.support.server.granted_api import GrantedApi, open_granted_api

from upwell.api.core import Namespace

PROJECTS = "/apis/project.openshift.io/v1/projects"
REQUESTS = "/apis/project.openshift.io/v1/projectrequests"


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        await api.grant("ada", "deployer@shop", "viewer@bank")
        await api.grant("nosy", "viewer@bank")
        yield api


def request(name: str, **metadata: object) -> dict[str, object]:
    """The body of `oc new-project`."""
    return {
        "kind": "ProjectRequest",
        "apiVersion": "project.openshift.io/v1",
        "metadata": {"name": name, **metadata},
        "displayName": "The shop",
    }


async def names(granted: GrantedApi, who: str) -> list[str]:
    answer = await granted.send(who, "GET", PROJECTS)
    assert answer.status == 200, answer.text
    return [item["metadata"]["name"] for item in answer.json["items"]]


async def test_a_project_is_asked_for_and_seen_by_those_who_have_a_role_there(
    granted: GrantedApi,
) -> None:
    assert (await granted.send("ada", "GET", REQUESTS)).json["status"] == "Success"
    made = await granted.send("ada", "POST", REQUESTS, request("shop"))
    assert made.status == 201, made.text
    assert made.json["kind"] == "Project"
    annotations = made.json["metadata"]["annotations"]
    assert annotations["openshift.io/display-name"] == "The shop"
    assert annotations["openshift.io/requester"] == "ada"
    await granted.api.store.create(Namespace().with_metadata(name="other"))

    assert await names(granted, "ada") == ["shop"]
    assert await names(granted, "nosy") == []
    assert {"shop", "other", "default"} <= set(await names(granted, "admin"))
    shown = (await granted.send("ada", "GET", f"{PROJECTS}/shop")).json
    assert shown["status"] == {"phase": "Active"}
    for who, name in (("nosy", "shop"), ("ada", "other"), ("ada", "upwell-system")):
        assert (await granted.send(who, "GET", f"{PROJECTS}/{name}")).status == 403


async def test_who_may_create_nothing_there_gets_none(granted: GrantedApi) -> None:
    for who, name in (("nosy", "bank"), ("ada", "bank"), ("ada", "upwell-system")):
        answer = await granted.send(who, "POST", REQUESTS, request(name))
        assert answer.status == 403, name
    assert (await granted.send("ada", "POST", PROJECTS, {"metadata": {"name": "x"}})).status == 403
    assert (await granted.send("ada", "POST", REQUESTS, request("shop"))).status == 201
    assert (await granted.send("ada", "POST", REQUESTS, request("shop"))).status == 409


async def test_what_a_request_says_beside_its_name_sets_no_policy(granted: GrantedApi) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    body = request("shop", labels=labels, annotations={"upwell.dev/author": "somebody"})
    await granted.send("ada", "POST", REQUESTS, body)
    found = await granted.api.store.get(Namespace, "", "shop")
    assert labels.keys().isdisjoint(found.labels)
    assert "somebody" not in found.annotations.values()


async def test_a_project_is_deleted_by_an_admin_of_it(granted: GrantedApi) -> None:
    await granted.send("ada", "POST", REQUESTS, request("shop"))
    assert (await granted.send("ada", "DELETE", f"{PROJECTS}/shop")).status == 403
    await granted.grant("owner", "admin@shop")
    assert (await granted.send("owner", "DELETE", f"{PROJECTS}/default")).status == 403
    assert (await granted.send("owner", "DELETE", f"{PROJECTS}/shop")).status == 200
    assert "shop" not in await names(granted, "admin")


async def test_a_project_is_terminating_until_all_in_it_has_ended(granted: GrantedApi) -> None:
    await granted.send("admin", "POST", REQUESTS, request("shop"))
    maps = "/api/v1/namespaces/shop/configmaps"
    held = config_map("held")
    held["metadata"]["finalizers"] = ["example.com/backup"]
    assert (await granted.send("admin", "POST", maps, held)).status == 201
    version = (await granted.send("admin", "GET", PROJECTS)).json["metadata"]["resourceVersion"]
    assert (await granted.send("admin", "DELETE", f"{PROJECTS}/shop")).status == 200

    shown = (await granted.send("admin", "GET", f"{PROJECTS}/shop")).json
    assert shown["status"] == {"phase": "Terminating"}
    assert shown["metadata"]["deletionTimestamp"]
    namespace = (await granted.send("admin", "GET", "/api/v1/namespaces/shop")).json
    assert namespace["status"]["phase"] == "Terminating"
    again = await granted.send("admin", "POST", REQUESTS, request("shop"))
    assert (again.status, again.json["reason"]) == (409, "AlreadyExists")
    for tried in (maps, f"{maps}?dryRun=All"):
        refused = await granted.send("admin", "POST", tried, config_map("new"))
        assert (refused.status, refused.json["reason"]) == (403, "Forbidden")
        assert "because it is being terminated" in refused.json["message"]

    path = f"{PROJECTS}?watch=1&resourceVersion={version}&fieldSelector=metadata.name%3Dshop"
    headers = {"Authorization": f"Bearer {granted.admin}"}
    async with granted.api.session.get(granted.api.url + path, headers=headers) as response:
        assert (await next_event(response.content))["type"] == "MODIFIED"
        freed = {"metadata": {"finalizers": None}}
        merge = "application/merge-patch+json"
        changed = await granted.send("admin", "PATCH", f"{maps}/held", freed, content_type=merge)
        assert changed.status == 200, changed.text
        assert (await next_event(response.content))["type"] == "DELETED"
    assert (await granted.send("admin", "POST", REQUESTS, request("shop"))).status == 201


async def test_a_dry_run_makes_none(granted: GrantedApi) -> None:
    answer = await granted.send("ada", "POST", f"{REQUESTS}?dryRun=All", request("shop"))
    assert answer.status == 201
    assert await names(granted, "ada") == []


async def test_a_watch_tells_of_those_that_are_seen(granted: GrantedApi) -> None:
    version = (await granted.send("ada", "GET", PROJECTS)).json["metadata"]["resourceVersion"]
    path = f"{PROJECTS}?watch=1&resourceVersion={version}"
    token = {"Authorization": f"Bearer {granted.tokens['ada']}"}
    url = granted.api.url + path
    async with granted.api.session.get(url, headers=token) as response:
        for name in ("other", "shop"):
            await granted.api.store.create(Namespace().with_metadata(name=name))
        event = await next_event(response.content)
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "shop")
    assert event["object"]["kind"] == "Project"


async def test_a_password_is_answered_with_what_to_do_instead(granted: GrantedApi) -> None:
    """`oc login -u` asks the server that the metadata name, and shows a 401's text."""
    metadata = (await granted.api.send("GET", "/.well-known/oauth-authorization-server")).json
    where = metadata["authorization_endpoint"].removeprefix(granted.api.url)
    asked = await granted.api.send("GET", f"{where}?client_id=openshift-challenging-client")
    assert asked.status == 401
    assert "WWW-Authenticate" not in asked.headers
    assert f"oc login {granted.api.url} --token=TOKEN" in asked.text
