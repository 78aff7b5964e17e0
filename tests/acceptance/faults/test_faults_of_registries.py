"""An upstream registry that is away, lies or refuses: the last good digest stays in force."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import yaml
from tests.support.installation.applications import INTERVAL
from tests.support.installation.installation import Installation, installation, until
from tests.support.registry.unruly_registry import (
    REPOSITORY,
    Answer,
    FaultyRegistry,
    endless,
    garbage,
    held_until,
    listening,
    other_content,
    status,
    unruly_registry,
)

from upwell.api.conditions import find
from upwell.api.image import ImageStream, NamedTagEventList
from upwell.api.meta import Condition
from upwell.store.interface import ApiClient

pytestmark = pytest.mark.asyncio(loop_scope="module")

RETRY_AFTER = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made() -> AsyncIterator[Installation]:
    async with installation() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(made: Installation) -> AsyncIterator[ApiClient]:
    async with made.client() as connected:
        yield connected


@pytest_asyncio.fixture(loop_scope="module")
async def registry(made: Installation) -> AsyncIterator[FaultyRegistry]:
    async with unruly_registry(made.spare_port()) as running:
        yield running


class FollowedStream:
    """An ImageStream that follows the registry's only tag."""

    def __init__(self, client: ApiClient, registry: FaultyRegistry) -> None:
        self._client = client
        self._name = f"from-{registry.port}"
        self._source = f"{registry.address}/{REPOSITORY}:1"

    async def apply(self, made: Installation, *, scheduled: bool = True) -> None:
        document = {
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": {
                "name": self._name,
                "annotations": {"upwell.dev/import-interval": INTERVAL},
            },
            "spec": {
                "tags": [
                    {
                        "name": "1",
                        "from": {"kind": "DockerImage", "name": self._source},
                        "importPolicy": {"scheduled": scheduled, "insecure": True},
                    }
                ]
            },
        }
        await made.apply(self._client, yaml.safe_dump(document))

    async def history(self) -> NamedTagEventList | None:
        return (await self._client.get(ImageStream, "default", self._name)).status.tag("1")

    async def digests(self) -> list[str]:
        history = await self.history()
        return [event.image for event in history.items] if history else []

    async def fault(self) -> Condition | None:
        history = await self.history()
        return find(history.conditions, "ImportSuccess") if history else None

    async def reason(self) -> str:
        fault = await self.fault()
        return fault.reason if fault else ""


@pytest.mark.parametrize(
    ("misbehave", "reason"),
    [
        pytest.param(status(401), "Unauthorized", id="401"),
        pytest.param(status(429, Retry_After=str(RETRY_AFTER)), "RateLimited", id="429 with time"),
        pytest.param(status(429), "RateLimited", id="429 without"),
        pytest.param(status(500), "Unavailable", id="500"),
        pytest.param(status(503, Retry_After=str(RETRY_AFTER)), "Unavailable", id="503 with time"),
        pytest.param(garbage, "InvalidAnswer", id="garbage"),
        pytest.param(other_content, "DigestMismatch", id="wrong digest"),
        pytest.param(endless, "InvalidAnswer", id="endless body"),
    ],
)
async def test_the_last_good_digest_stays_until_the_registry_is_well_again(
    made: Installation,
    client: ApiClient,
    registry: FaultyRegistry,
    misbehave: Answer,
    reason: str,
) -> None:
    stream = FollowedStream(client, registry)
    first = registry.publish()
    await stream.apply(made)
    await until(stream.digests, [first].__eq__)

    registry.misbehave = misbehave
    second = registry.publish()
    await until(stream.reason, reason.__eq__)
    fault, history = await stream.fault(), await stream.history()
    assert fault is not None
    assert fault.status == "False"
    assert "tried again at" in fault.message
    assert history is not None
    assert history.import_state is not None
    assert history.import_state.next_check_time is not None
    assert [event.image for event in history.items] == [first]

    registry.misbehave = None
    await until(stream.digests, [second, first].__eq__)
    assert await stream.fault() is None


@pytest.mark.parametrize("code", [429, 503])
async def test_nothing_is_asked_before_the_time_that_the_registry_stated(
    made: Installation, client: ApiClient, registry: FaultyRegistry, code: int
) -> None:
    registry.misbehave = status(code, Retry_After=str(RETRY_AFTER))
    registry.publish()
    streams = [FollowedStream(client, registry)]
    await streams[0].apply(made)

    async def refusals() -> list[float]:
        return [one.at for one in registry.asked]

    first, second, *_ = await until(refusals, lambda times: len(times) > 1)
    assert second - first >= RETRY_AFTER


async def test_a_manifest_is_fetched_once_and_only_when_its_digest_is_new(
    made: Installation, client: ApiClient, registry: FaultyRegistry
) -> None:
    stream = FollowedStream(client, registry)
    digests = [registry.publish()]
    await stream.apply(made)
    await until(stream.digests, digests.__eq__)
    digests.insert(0, registry.publish())
    await until(stream.digests, digests.__eq__)
    heads = registry.count("HEAD", "1")

    async def more() -> int:
        return registry.count("HEAD", "1") - heads

    await until(more, lambda count: count >= 2)
    assert registry.asked[0].method == "HEAD"
    assert registry.count("GET", "1") == 0
    assert [registry.count("GET", digest) for digest in digests] == [1, 1]


async def test_a_registry_that_is_down_is_asked_again_until_it_is_back(
    made: Installation, client: ApiClient
) -> None:
    registry = FaultyRegistry(made.spare_port())
    stream = FollowedStream(client, registry)
    await stream.apply(made)
    await until(stream.reason, "Unavailable".__eq__)

    digest = registry.publish()
    async with listening(registry):
        await until(stream.digests, [digest].__eq__)
    await until(stream.reason, "Unavailable".__eq__)
    assert await stream.digests() == [digest]


async def test_a_slow_registry_keeps_no_other_waiting(
    made: Installation, client: ApiClient, registry: FaultyRegistry
) -> None:
    released = asyncio.Event()
    registry.misbehave = held_until(released)
    digest = registry.publish()
    slow = FollowedStream(client, registry)
    await slow.apply(made)
    async with unruly_registry(made.spare_port()) as quick_one:
        quick = FollowedStream(client, quick_one)
        expected = quick_one.publish()
        await quick.apply(made)
        await until(quick.digests, [expected].__eq__)
        assert await slow.digests() == []
    released.set()
    await until(slow.digests, [digest].__eq__)


@pytest.mark.parametrize("scheduled", [True, False], ids=["scheduled", "once"])
async def test_a_tag_that_does_not_exist_yet_is_imported_when_it_does(
    made: Installation, client: ApiClient, registry: FaultyRegistry, *, scheduled: bool
) -> None:
    stream = FollowedStream(client, registry)
    await stream.apply(made, scheduled=scheduled)
    await until(stream.reason, "ManifestUnknown".__eq__)
    assert await stream.digests() == []

    digest = registry.publish()
    await until(stream.digests, [digest].__eq__)
    assert await stream.fault() is None
