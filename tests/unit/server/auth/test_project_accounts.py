"""ServiceAccounts that every namespace has: seen at once, stored by the first write to them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import Api, next_event, serving
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

from upwell.api.core import Namespace, ServiceAccount
from upwell.api.meta import ObjectMeta
from upwell.server.http.limits import ServerLimits

ACCOUNTS = "/api/v1/namespaces/shop/serviceaccounts"
ALL = "/api/v1/serviceaccounts"
DEFAULT = f"{ACCOUNTS}/default"
NAMES = ["builder", "default", "deployer"]
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
LINK = {"imagePullSecrets": [{"name": "pull"}]}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(ServerLimits()) as served:
        await served.store.create(Namespace(metadata=ObjectMeta(name="shop")))
        yield served


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as served:
        yield served


async def shown(api: Api, path: str = ACCOUNTS) -> list[dict[str, Any]]:
    answer = await api.send("GET", path)
    assert answer.status == 200, answer.text
    items: list[dict[str, Any]] = answer.json["items"]
    return items


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


async def stored(api: Api) -> list[str]:
    return [one.name for one in (await api.store.list(ServiceAccount)).items]


async def test_each_namespace_has_them_and_nothing_is_stored(api: Api) -> None:
    assert names(await shown(api)) == NAMES
    places = {
        (one["metadata"]["namespace"], one["metadata"]["name"]) for one in await shown(api, ALL)
    }
    assert places == {(space, name) for space in ("default", "shop") for name in NAMES}
    one = await api.send("GET", DEFAULT)
    assert one.status == 200
    assert one.json == next(item for item in await shown(api) if item == one.json)
    assert one.json["metadata"]["uid"]
    assert one.json["metadata"]["creationTimestamp"]
    assert names(await shown(api, f"{ACCOUNTS}?fieldSelector=metadata.name%3Ddefault")) == [
        "default"
    ]
    assert await shown(api, f"{ACCOUNTS}?labelSelector=app%3Dweb") == []
    assert await stored(api) == []


async def test_many_are_listed_in_pages_with_those_that_are_stored_in_their_place(api: Api) -> None:
    kept = [("shop", "robot"), ("shop", "builder"), ("default", "a"), ("zoo", "keeper")]
    for namespace, name in kept:
        await api.store.create(ServiceAccount(metadata=ObjectMeta(name=name, namespace=namespace)))
    expected = [("default", name) for name in ("a", *NAMES)]
    expected += [("shop", name) for name in (*NAMES, "robot")] + [("zoo", "keeper")]
    found, token = list[tuple[str, str]](), ""
    while True:
        answer = await api.send("GET", f"{ALL}?limit=2&continue={token}")
        assert answer.status == 200, answer.text
        found += [
            (one["metadata"]["namespace"], one["metadata"]["name"]) for one in answer.json["items"]
        ]
        token = answer.json["metadata"].get("continue", "")
        if not token:
            break
        assert answer.json["metadata"]["remainingItemCount"] == len(expected) - len(found)
    assert found == expected


async def test_no_others_are_there(api: Api) -> None:
    assert (await api.send("GET", f"{ACCOUNTS}/robot")).status == 404
    assert (await api.send("GET", "/api/v1/namespaces/none/serviceaccounts/default")).status == 404
    assert await shown(api, "/api/v1/namespaces/none/serviceaccounts") == []


async def test_the_first_replacement_stores_it_as_oc_links_a_secret(api: Api) -> None:
    read = (await api.send("GET", DEFAULT)).json
    answer = await api.send("PUT", DEFAULT, read | LINK)
    assert answer.status == 200, answer.text
    assert answer.json["imagePullSecrets"] == [{"name": "pull"}]
    assert await stored(api) == ["default"]
    assert names(await shown(api)) == NAMES
    assert (await api.send("GET", DEFAULT)).json == answer.json
    again = await api.send("PUT", DEFAULT, read | {"imagePullSecrets": []})
    assert again.status == 409  # what it has read is not what is there


async def test_every_way_of_writing_stores_it(api: Api) -> None:
    merged = await api.send("PATCH", DEFAULT, LINK, MERGE)
    assert merged.status == 200, merged.text
    document = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder"}}
    applied = await api.send("PATCH", f"{ACCOUNTS}/builder?fieldManager=me", document | LINK, APPLY)
    assert applied.status in {200, 201}, applied.text
    made = await api.send("POST", ACCOUNTS, {"metadata": {"name": "deployer"}} | LINK)
    assert made.status == 201, made.text
    assert await stored(api) == NAMES
    assert all(item["imagePullSecrets"] == [{"name": "pull"}] for item in await shown(api))


async def test_what_changes_nothing_stores_nothing(api: Api) -> None:
    assert (await api.send("PATCH", DEFAULT, {}, MERGE)).status == 200
    tried = await api.send("PATCH", f"{DEFAULT}?dryRun=All", LINK, MERGE)
    assert tried.status == 200, tried.text
    assert tried.json["imagePullSecrets"] == [{"name": "pull"}]
    assert (await api.send("PATCH", DEFAULT, {"metadata": {"name": "other"}}, MERGE)).status != 200
    assert await stored(api) == []


async def test_one_that_is_deleted_is_there_again_without_its_links(api: Api) -> None:
    first = await api.send("DELETE", DEFAULT)
    assert first.status == 200, first.text
    # Clients wait until that uid is gone.
    assert first.json["details"]["uid"] != (await api.send("GET", DEFAULT)).json["metadata"]["uid"]
    linked = (await api.send("PATCH", DEFAULT, LINK, MERGE)).json
    assert (await api.send("DELETE", DEFAULT)).status == 200
    again = (await api.send("GET", DEFAULT)).json
    assert "imagePullSecrets" not in again
    assert again["metadata"]["uid"] != linked["metadata"]["uid"]
    stale = await api.send("PUT", DEFAULT, linked)
    assert stale.status == 409
    assert await stored(api) == []


async def test_a_watch_tells_of_them_as_of_others(api: Api) -> None:
    version = (await api.send("GET", ALL)).json["metadata"]["resourceVersion"]
    bank = "/api/v1/namespaces/bank/serviceaccounts"
    events: list[dict[str, Any]] = []
    async with api.stream(f"{ALL}?watch=true&resourceVersion={version}") as stream:

        async def told(number: int) -> list[tuple[str, str]]:
            now = [await next_event(stream) for _ in range(number)]
            events.extend(now)
            return [(one["type"], one["object"]["metadata"]["name"]) for one in now]

        await api.send("POST", "/api/v1/namespaces", {"metadata": {"name": "bank"}})
        assert await told(3) == [("ADDED", name) for name in NAMES]
        await api.send("PATCH", f"{bank}/default", LINK, MERGE)
        assert await told(1) == [("MODIFIED", "default")]
        await api.send("DELETE", f"{bank}/default")
        assert await told(2) == [("DELETED", "default"), ("ADDED", "default")]
        await api.send("POST", bank, {"metadata": {"name": "robot"}})
        await api.send("PATCH", f"{bank}/builder", LINK, MERGE)
        assert await told(2) == [("ADDED", "robot"), ("MODIFIED", "builder")]
        await api.send("DELETE", "/api/v1/namespaces/bank")
        gone = [("DELETED", name) for name in (*NAMES, "robot")]
        assert sorted(await told(4)) == gone
    versions = [int(one["object"]["metadata"]["resourceVersion"]) for one in events]
    assert versions == sorted(versions)


async def test_a_client_that_was_cut_off_goes_on_behind_any_event(api: Api) -> None:
    version = (await api.send("GET", ALL)).json["metadata"]["resourceVersion"]
    for name in ("bank", "vendor"):
        await api.send("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        path = f"/api/v1/namespaces/{name}/serviceaccounts"
        await api.send("PATCH", f"{path}/default", LINK, MERGE)
        await api.send("DELETE", f"{path}/default")
        await api.send("PATCH", f"{path}/builder", LINK, MERGE)
    await api.send("DELETE", "/api/v1/namespaces/bank")
    await api.send("POST", ACCOUNTS, {"metadata": {"name": "last"}})
    events = await watched_until(api, version, "last")
    expected = {("vendor", name) for name in NAMES} | {("shop", "last")}
    assert known_after(events) == expected
    for at, event in enumerate(events[:-1], start=1):
        rest = await watched_until(api, event["object"]["metadata"]["resourceVersion"], "last")
        assert known_after([*events[:at], *rest]) == expected, at


async def watched_until(api: Api, since: str, name: str) -> list[dict[str, Any]]:
    """Return the events of a watch up to that of one account."""
    events: list[dict[str, Any]] = []
    async with api.stream(f"{ALL}?watch=true&resourceVersion={since}") as stream:
        while not events or events[-1]["object"]["metadata"]["name"] != name:
            events.append(await next_event(stream))
    return events


def known_after(events: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return the accounts that a client knows."""
    known: set[tuple[str, str]] = set()
    for event in events:
        metadata = event["object"]["metadata"]
        change = known.discard if event["type"] == "DELETED" else known.add
        change((metadata["namespace"], metadata["name"]))
    return known


async def test_a_watch_begins_with_what_is_there(api: Api) -> None:
    events = await watched(api, f"{ACCOUNTS}?watch=true", len(NAMES))
    assert [(one["type"], one["object"]["metadata"]["name"]) for one in events] == [
        ("ADDED", name) for name in NAMES
    ]


async def watched(api: Api, path: str, number: int) -> list[dict[str, Any]]:
    """Return the first events of a watch."""
    async with api.stream(path) as stream:
        return [await next_event(stream) for _ in range(number)]


async def test_a_write_takes_the_rights_and_the_quota_that_it_takes_elsewhere(
    granted: GrantedApi,
) -> None:
    await granted.api.store.create(Namespace(metadata=ObjectMeta(name="shop")))
    await granted.grant("viewer", "viewer@shop")
    await granted.grant("deployer", "deployer@shop")
    path = path_of("serviceaccounts", "shop", "default")
    assert (await granted.send("viewer", "GET", path)).status == 200
    assert (await granted.send("viewer", "PATCH", path, LINK, content_type=MERGE)).status == 403
    grants = {"metadata": {"annotations": {"upwell.dev/grants": "builder@shop"}}}
    assert (await granted.send("deployer", "PATCH", path, grants, content_type=MERGE)).status == 403
    linked = await granted.send("deployer", "PATCH", path, LINK, content_type=MERGE)
    assert linked.status == 200, linked.text
    assert (await granted.send("deployer", "PATCH", path, grants, content_type=MERGE)).status == 403


async def test_it_has_no_token_until_somebody_asks_for_one_and_that_may_do_nothing(
    granted: GrantedApi,
) -> None:
    await granted.api.store.create(Namespace(metadata=ObjectMeta(name="shop")))
    await granted.grant("deployer", "deployer@shop")
    await granted.grant("viewer", "viewer@shop")
    path = path_of("serviceaccounts", "shop", "builder", "token")
    assert (await granted.send("viewer", "POST", path, {"spec": {}})).status == 403
    tried = await granted.send("deployer", "POST", f"{path}?dryRun=All", {"spec": {}})
    assert (tried.status, tried.json["status"].get("token", "")) == (201, "")
    assert await stored(granted.api) == []
    made = await granted.send("deployer", "POST", path, {"spec": {}})
    assert made.status == 201, made.text
    granted.tokens["builder"] = made.json["status"]["token"]
    assert await stored(granted.api) == ["builder"]
    account = path_of("serviceaccounts", "shop", "builder")
    assert (await granted.send("builder", "GET", account)).status == 403
    # It ends with what was stored, and the view has nothing of it.
    assert (await granted.send("deployer", "DELETE", account)).status == 200
    assert (await granted.send("deployer", "GET", account)).status == 200
    assert (await granted.send("builder", "GET", account)).status == 401
