"""Work on large objects is done in turn, however many requests bring it."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from tests.support.server.api_server import Api, config_map, serving

from upwell.server.auth.request_seats import RequestSeats, SeatError
from upwell.server.http.limits import SeatLimits, ServerLimits
from upwell.server.objects.large_work import LargeWork

MAPS = "/api/v1/namespaces/shop/configmaps"
LARGE = 1024 * 1024
TURNS = SeatLimits(total=1, per_client=1, waiting_per_client=8)


class Meter:
    """Counts what is worked on at one time, until it is let go."""

    def __init__(self) -> None:
        self.now = self.most = self.done = 0
        self.entered = asyncio.Event()
        self._go = threading.Event()
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()

    def work(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self._loop.call_soon_threadsafe(self.entered.set)
        self._go.wait(30)
        with self._lock:
            self.now -= 1
            self.done += 1

    def release(self) -> None:
        self._go.set()


async def one(seats: RequestSeats, meter: Meter, client: str, size: int = LARGE) -> None:
    work = LargeWork(seats, client)
    try:
        await work.computed(meter.work, size)
        await work.computed(lambda: None, size)  # in the same turn
    finally:
        await work.end()


async def test_large_work_is_done_one_at_a_time() -> None:
    seats, meter = RequestSeats(TURNS), Meter()
    waiting = [asyncio.create_task(one(seats, meter, f"client {at % 2}")) for at in range(6)]
    await meter.entered.wait()
    meter.release()
    await asyncio.gather(*waiting)

    assert (meter.most, meter.done) == (1, 6)


async def test_small_work_does_not_wait_for_large_work() -> None:
    seats, meter = RequestSeats(TURNS), Meter()
    large = asyncio.create_task(one(seats, meter, "a"))
    await meter.entered.wait()

    assert await LargeWork(seats, "a").computed(lambda: "done", 1000) == "done"

    meter.release()
    await large


async def test_who_leaves_holds_the_turn_until_the_thread_ends() -> None:
    seats, meter = RequestSeats(TURNS), Meter()
    left = asyncio.create_task(one(seats, meter, "a"))
    await meter.entered.wait()
    left.cancel()
    following = asyncio.create_task(one(seats, meter, "b"))
    await asyncio.wait({following}, timeout=0.05)
    assert meter.most == 1

    meter.release()
    await following
    with pytest.raises(asyncio.CancelledError):
        await left
    assert (meter.most, meter.done) == (1, 2)


async def test_the_queue_of_a_client_has_an_end() -> None:
    seats, meter = RequestSeats(TURNS), Meter()
    waiting = [asyncio.create_task(one(seats, meter, "a")) for _ in range(9)]
    await meter.entered.wait()
    with pytest.raises(SeatError):
        await one(seats, meter, "a")
    other = asyncio.create_task(one(seats, meter, "b"))
    meter.release()
    await asyncio.gather(other, *waiting)


@pytest.fixture
async def narrow() -> AsyncIterator[Api]:
    turns = SeatLimits(total=1, per_client=1, waiting_per_client=1)
    async with serving(ServerLimits(large=turns)) as running:
        yield running


async def test_too_many_large_requests_of_one_client_are_told_to_wait(narrow: Api) -> None:
    body = config_map("large", **{f"k{at}": "x" * 50 for at in range(5_000)})
    bodies = [{**body, "metadata": {**body["metadata"], "name": f"m{at}"}} for at in range(12)]

    answers = await asyncio.gather(*(narrow.send("POST", MAPS, one) for one in bodies))

    statuses = {answer.status for answer in answers}
    assert statuses == {201, 429}
    assert (await narrow.send("POST", MAPS, bodies[0])).status in {201, 409}


@pytest.fixture
async def without_turns() -> AsyncIterator[Api]:
    none = SeatLimits(total=0, per_client=1, waiting_per_client=0)
    async with serving(ServerLimits(large=none)) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", MAPS),
        ("PUT", f"{MAPS}/one"),
        ("DELETE", f"{MAPS}/one"),
        ("DELETE", MAPS),
        ("DELETE", "/api/v1/namespaces/shop/pods/one"),
        ("DELETE", "/api/v1/namespaces/shop/pods"),
        ("POST", "/api/v1/namespaces/shop/pods/one/eviction"),
        ("PUT", "/api/v1/namespaces/shop/replicationcontrollers/one-1"),
        ("POST", "/apis/project.openshift.io/v1/projectrequests"),
        ("POST", "/apis/project.openshift.io/v1/projects"),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
        ("POST", "/apis/template.openshift.io/v1/namespaces/shop/processedtemplates"),
        ("POST", "/apis/image.openshift.io/v1/namespaces/shop/imagestreamimports"),
        ("POST", "/apis/image.openshift.io/v1/namespaces/shop/imagestreammappings"),
        ("POST", "/apis/image.openshift.io/v1/namespaces/shop/imagestreamtags"),
        ("POST", "/apis/build.openshift.io/v1/namespaces/shop/buildconfigs/one/instantiate"),
        ("POST", "/apis/apps.openshift.io/v1/namespaces/shop/deploymentconfigs/one/instantiate"),
        ("POST", "/apis/apps.openshift.io/v1/namespaces/shop/deploymentconfigs/one/rollback"),
    ],
)
async def test_every_large_body_waits_for_its_turn(
    without_turns: Api, method: str, path: str
) -> None:
    large = {"metadata": {"name": "one", "annotations": {"a": "x" * 100_000}}}
    assert (await without_turns.send(method, path, large)).status == 429
    assert (await without_turns.send(method, path, {"metadata": {"name": "one"}})).status != 429


@pytest.mark.parametrize("path", [MAPS, "/apis/apps/v1/namespaces/shop/deployments"])
async def test_a_small_body_of_thousands_of_values_is_large_work(
    without_turns: Api, path: str
) -> None:
    body = {"metadata": {"name": "one"}, "spec": {"paused": [1] * 5_000}}
    assert (await without_turns.send("POST", path, body)).status == 429
