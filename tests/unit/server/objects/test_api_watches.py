import asyncio
from typing import Any

from tests.support.server.api_server import Api, config_map, next_event

MAPS = "/api/v1/namespaces/shop/configmaps"
MERGE = "application/merge-patch+json"


def secret(name: str) -> dict[str, Any]:
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name, "namespace": "shop"}}


async def label(api: Api, name: str, value: str) -> None:
    patch = {"metadata": {"labels": {"tier": value}}}
    answer = await api.send("PATCH", f"{MAPS}/{name}", patch, MERGE)
    assert answer.status == 200, answer.text


async def status_of(api: Api, path: str) -> int:
    async with api.session.get(api.url + path) as response:
        return response.status


async def test_a_watch_tells_what_is_there_and_what_happens(api: Api) -> None:
    await api.send("POST", MAPS, config_map("one"))
    async with api.stream(f"{MAPS}?watch=1") as stream:
        event = await next_event(stream)
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "one")
        await label(api, "one", "web")
        event = await next_event(stream)
        assert event["object"]["metadata"]["labels"] == {"tier": "web"}
        assert event["type"] == "MODIFIED"
        await api.send("DELETE", f"{MAPS}/one")
        assert (await next_event(stream))["type"] == "DELETED"


async def test_a_watch_goes_on_where_a_list_ended(api: Api) -> None:
    await api.send("POST", MAPS, config_map("before"))
    version = (await api.get(MAPS)).json["metadata"]["resourceVersion"]
    await api.send("POST", MAPS, config_map("between"))
    async with api.stream(f"{MAPS}?watch=true&resourceVersion={version}") as stream:
        event = await next_event(stream)
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "between")
        await api.send("POST", MAPS, config_map("after"))
        assert (await next_event(stream))["object"]["metadata"]["name"] == "after"


async def test_an_object_that_stops_matching_is_deleted_for_the_watcher(api: Api) -> None:
    await api.send("POST", MAPS, config_map("one"))
    async with api.stream(f"{MAPS}?watch=1&labelSelector=tier%3Dweb") as stream:
        await label(api, "one", "web")
        assert (await next_event(stream))["type"] == "ADDED"
        await label(api, "one", "db")
        assert (await next_event(stream))["type"] == "DELETED"
        await label(api, "one", "cache")
        await label(api, "one", "web")
        assert (await next_event(stream))["type"] == "ADDED"


async def test_an_object_that_stopped_matching_before_the_resume_is_deleted(api: Api) -> None:
    await api.send("POST", MAPS, config_map("one"))
    await label(api, "one", "web")
    version = (await api.get(MAPS)).json["metadata"]["resourceVersion"]
    await label(api, "one", "db")
    path = f"{MAPS}?watch=1&labelSelector=tier%3Dweb&resourceVersion={version}"
    async with api.stream(path) as stream:
        assert (await next_event(stream))["type"] == "DELETED"


async def test_bookmarks_carry_a_version_to_resume_from(api: Api) -> None:
    created = await api.send("POST", MAPS, config_map("one"))
    version = created.json["metadata"]["resourceVersion"]
    async with api.stream(f"{MAPS}?watch=1&allowWatchBookmarks=true") as stream:
        assert (await next_event(stream))["type"] == "ADDED"
        bookmark = await next_event(stream)
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["kind"] == "ConfigMap"
        assert int(bookmark["object"]["metadata"]["resourceVersion"]) >= int(version)


async def test_bookmarks_follow_what_happens_to_other_kinds(api: Api) -> None:
    """Else who resumes a quiet watch is behind what the store keeps, and lists all anew."""
    async with api.stream(f"{MAPS}?watch=1&allowWatchBookmarks=true") as stream:
        await api.send("POST", MAPS, config_map("one"))
        while (event := await next_event(stream))["type"] == "BOOKMARK":
            pass  # on a busy machine, one was due before
        assert event["type"] == "ADDED"
        other = await api.send("POST", "/api/v1/namespaces/shop/secrets", secret("other"))
        newest = int(other.json["metadata"]["resourceVersion"])
        async with asyncio.timeout(60):
            while True:
                bookmark = await next_event(stream)
                assert bookmark["type"] == "BOOKMARK"
                if int(bookmark["object"]["metadata"]["resourceVersion"]) >= newest:
                    break


async def test_the_end_of_the_initial_events_is_marked_for_who_asks(api: Api) -> None:
    await api.send("POST", MAPS, config_map("one"))
    query = "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersion=0"
    async with api.stream(f"{MAPS}?{query}") as stream:
        assert (await next_event(stream))["type"] == "ADDED"
        mark = await next_event(stream)
        annotations = mark["object"]["metadata"]["annotations"]
        assert annotations == {"k8s.io/initial-events-end": "true"}


async def test_a_forgotten_version_is_an_error_event_with_410(api: Api) -> None:
    async with api.stream(f"{MAPS}?watch=1&resourceVersion=nonsense") as stream:
        event = await next_event(stream)
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert event["object"]["reason"] == "Expired"
        assert await stream.read() == b""


async def test_a_watch_ends_when_it_asked_to(api: Api) -> None:
    async with asyncio.timeout(30), api.stream(f"{MAPS}?watch=1&timeoutSeconds=1") as stream:
        assert await stream.read() == b""


async def test_a_watched_table_has_a_row_for_each_event(api: Api) -> None:
    await api.send("POST", MAPS, config_map("one"))
    headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    async with api.session.get(f"{api.url}{MAPS}?watch=1", headers=headers) as response:
        event = await next_event(response.content)
        assert event["object"]["kind"] == "Table"
        assert event["object"]["rows"][0]["cells"][0] == "one"


async def test_more_watches_than_allowed_are_refused_until_one_ends(api: Api) -> None:
    async with api.stream(f"{MAPS}?watch=1"):
        async with api.stream(f"{MAPS}?watch=1"):
            refused = await api.get(f"{MAPS}?watch=1")
            assert (refused.status, refused.json["reason"]) == (429, "TooManyRequests")
            assert refused.headers["Retry-After"] == "1"
        async with asyncio.timeout(30):
            while await status_of(api, f"{MAPS}?watch=1") == 429:
                continue


async def test_shutdown_ends_every_watch(api: Api) -> None:
    async with api.stream(f"{MAPS}?watch=1") as stream:
        api.shutdown.set()
        async with asyncio.timeout(30):
            assert await stream.read() == b""
    assert (await api.get("/readyz")).status == 503
    assert (await api.get("/livez")).status == 200
