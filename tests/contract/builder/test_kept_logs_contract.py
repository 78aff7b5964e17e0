"""Contract of where replicas keep logs of builds: bytes in, and the same at any other replica."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.support.registry.docker_registry import docker_registry
from tests.support.registry.shared_contents import NAMESPACES, elsewhere, shared_logs
from tests.support.s3.strict_server import bucket_at, strict_s3

from upwell.app.registries.replica_logs import RegistryLogs
from upwell.builder.logs.interface import KeptLogError, KeptLogs
from upwell.oci.replica_contents import ReplicaContent
from upwell.registry.attachments.targets import HostedArtifacts
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.replica_contents import ReplicaArtifacts

BUILD = "0b8f2d3e-uid"
CONTENT = bytes(range(256)) * 5000
"""Of more than one piece."""

type Packed = Callable[[bytes], Path]


@pytest.fixture(params=["registry", "bucket"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeptLogs]:
    async with shared_logs(tmp_path, request.param) as opened:
        assert isinstance(opened, RegistryLogs)
        yield opened


async def namespaces() -> Collection[str]:
    return NAMESPACES


@pytest.fixture(params=["registry", "bucket"])
async def away(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeptLogs]:
    """Open logs where nothing answers any more."""
    async with AsyncExitStack() as server, AsyncExitStack() as clients:
        if request.param == "bucket":
            s3 = await server.enter_async_context(strict_s3())
            bucket = await clients.enter_async_context(bucket_at(s3.url, tmp_path))
            registry = BucketRegistry(bucket, "registry.internal:5000")
            artifacts = ReplicaArtifacts(registry, HostedArtifacts(registry), ReplicaContent.LOGS)
        else:
            host = await server.enter_async_context(docker_registry(tmp_path))
            internal, target = await clients.enter_async_context(elsewhere(host))
            artifacts = ReplicaArtifacts(internal, target, ReplicaContent.LOGS)
        await server.aclose()
        yield RegistryLogs(artifacts, lambda: True, namespaces)


@pytest.fixture
def packed(tmp_path: Path) -> Packed:
    """Return a function that writes a log's bytes into a file, which it returns."""

    def write(content: bytes) -> Path:
        file = tmp_path / "packed"
        file.write_bytes(content)
        return file

    return write


async def read(kept: KeptLogs, namespace: str = "a", build_id: str = BUILD) -> bytes | None:
    async with kept.open(namespace, build_id) as pieces:
        return None if pieces is None else b"".join([piece async for piece in pieces])


async def test_what_was_put_is_there_as_often_as_wanted(kept: KeptLogs, packed: Packed) -> None:
    for _ in range(2):
        await kept.put("a", BUILD, packed(CONTENT))
        assert await kept.has("a", BUILD)
        assert await read(kept) == await read(kept) == CONTENT


async def test_an_empty_log_is_one(kept: KeptLogs, packed: Packed) -> None:
    await kept.put("a", BUILD, packed(b""))
    assert await kept.has("a", BUILD)
    assert await read(kept) == b""


async def test_a_log_takes_the_place_of_an_earlier_one(kept: KeptLogs, packed: Packed) -> None:
    for content in (b"the beginning", b"the whole log"):
        await kept.put("a", BUILD, packed(content))
    assert await read(kept) == b"the whole log"


async def test_of_another_build_or_namespace_there_is_none(kept: KeptLogs, packed: Packed) -> None:
    assert not await kept.has("a", BUILD)
    assert await read(kept) is None
    await kept.put("a", BUILD, packed(b"the log"))
    for namespace, build_id in (("b", BUILD), ("a", "other-uid")):
        assert not await kept.has(namespace, build_id)
        assert await read(kept, namespace, build_id) is None


async def test_who_stops_reading_leaves_it_to_be_read(kept: KeptLogs, packed: Packed) -> None:
    await kept.put("a", BUILD, packed(CONTENT))
    async with kept.open("a", BUILD) as pieces:
        assert pieces is not None
        assert await anext(pieces)
    assert await read(kept) == CONTENT


async def test_where_nothing_answers_every_call_says_so(away: KeptLogs, packed: Packed) -> None:
    for call in (
        lambda: away.put("a", BUILD, packed(b"the log")),
        lambda: away.has("a", BUILD),
        lambda: read(away),
    ):
        with pytest.raises(KeptLogError, match=r"replicas of the server share logs") as caught:
            await call()
        assert caught.value.retryable
