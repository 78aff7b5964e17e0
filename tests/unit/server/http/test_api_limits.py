import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from tests.support.server.api_server import Api, config_map, serving

from upwell.server.asgi.serving import serve
from upwell.server.asgi.tls import generated, server_context
from upwell.server.http.limits import ServerLimits
from upwell.server.http.streaming import paced

MAPS = "/api/v1/namespaces/shop/configmaps"


async def test_a_body_above_the_limit_is_refused(api: Api) -> None:
    answer = await api.send("POST", MAPS, config_map("one", a="x" * (3 * 1024 * 1024)))
    assert (answer.status, answer.json["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_body_that_comes_too_slowly_is_refused(api: Api) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"kind":'
        await asyncio.Event().wait()

    headers = {"Content-Type": "application/json"}
    post = api.session.post(api.url + MAPS, data=slowly(), headers=headers)
    async with asyncio.timeout(30), post as response:
        assert response.status == 408


async def test_headers_above_the_limit_are_refused(api: Api) -> None:
    headers = {f"X-{n}": "x" * 4000 for n in range(20)}
    async with api.session.get(api.url + "/livez", headers=headers) as response:
        assert response.status == 431
        assert (await response.json())["kind"] == "Status"


async def test_a_form_of_a_web_page_is_not_an_object(api: Api) -> None:
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}'
    answer = await api.send("POST", MAPS, body, "text/plain")
    assert answer.status == 415


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-origin", 201)])
async def test_a_page_of_another_site_changes_nothing(api: Api, site: str, status: int) -> None:
    answer = await api.send("POST", MAPS, config_map("one"), Sec_Fetch_Site=site)
    assert answer.status == status
    assert (await api.get(MAPS, Sec_Fetch_Site=site)).status == 200


async def test_without_a_runtime_the_instances_are_unavailable() -> None:
    async with serving(ServerLimits(), with_runtime=False) as api:
        path = "/apis/apps/v1/namespaces/shop/daemonsets"
        await api.send("POST", path, daemon_set())
        answer = await api.get(f"{path}/x/instances")
        assert (answer.status, answer.json["reason"]) == (503, "ServiceUnavailable")


def daemon_set() -> dict[str, object]:
    labels = {"app": "x"}
    pod = {"containers": [{"name": "a", "image": "a:1"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "x"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


async def test_each_request_is_one_line_without_its_query(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="upwell.server.auth.middleware"):
        await api.get(f"{MAPS}?fieldSelector=metadata.name%3Dtoken")
    (record,) = [r for r in caplog.records if r.name == "upwell.server.auth.middleware"]
    facts = vars(record)
    assert (record.message, facts["method"], facts["status"]) == ("request", "GET", 200)
    assert facts["path"] == MAPS
    assert "token" not in str(facts)


async def test_a_paced_source_is_closed_when_it_is_left() -> None:
    closed = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    items = paced(source(), asyncio.Event(), tick=0.001, seconds=None)
    assert [await anext(items), await anext(items)] == [1, None]
    await items.aclose()
    assert closed.is_set()


async def test_a_paced_source_that_never_rests_ends_all_the_same() -> None:
    async def source() -> AsyncIterator[int]:
        while True:
            yield 1

    stop = asyncio.Event()
    seen = 0
    async for _ in paced(source(), stop, tick=None, seconds=None):
        seen += 1
        if seen == 3:
            stop.set()
    assert seen == 3


async def test_a_paced_source_that_fails_says_so() -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        [item async for item in paced(source(), asyncio.Event(), tick=None, seconds=None)]


def listening() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    return server_context(generated(tmp_path, ["127.0.0.1"], datetime.now(UTC)))


async def test_the_server_serves_until_shutdown_and_ends_what_is_open(
    tls: ssl.SSLContext,
) -> None:
    shutdown, listener = asyncio.Event(), listening()

    async def endless(request: Request) -> Response:
        del request
        pulse = paced(aiter_of_nothing(), shutdown, tick=0.01, seconds=None)
        return StreamingResponse("." async for _ in pulse)

    app = Starlette(routes=[Route("/", endless)])
    running = asyncio.create_task(serve(app, listener, shutdown, tls=tls, plain=True))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    assert await response.content.read(1) == b"."
                    shutdown.set()
                    await response.content.read()
                    break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.01)
        await running


async def aiter_of_nothing() -> AsyncIterator[None]:
    await asyncio.Event().wait()
    yield None


async def test_cancelling_the_server_shuts_it_down(tls: ssl.SSLContext) -> None:
    shutdown = asyncio.Event()
    running = asyncio.create_task(serve(Starlette(), listening(), shutdown, tls=tls, plain=True))
    await asyncio.sleep(0)
    running.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await running
    assert shutdown.is_set()
