"""Logs of ended builds that replicas share in a registry, and what each of them reads."""

import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
from tests.support.registry.docker_registry import docker_registry
from tests.support.registry.shared_contents import (
    NAMESPACES,
    elsewhere,
    shared_logs,
    unlisted,
)
from tests.support.registry.unruly_registry import status, unruly_registry
from tests.support.s3.strict_server import bucket_at, strict_s3

from upwell.app.cleanup import remove_old_logs
from upwell.app.registries.replica_logs import RegistryLogs
from upwell.builder.logs.kept import SharedBuildLogs
from upwell.machine.clock import now
from upwell.oci.replica_contents import ReplicaContent
from upwell.registry.attachments.targets import HostedArtifacts
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.replica_contents import ReplicaArtifacts
from upwell.store.memory import MemoryStore

BUILD, LIMIT, MANY = "0b8f2d3e-uid", 1000, 20


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[RegistryLogs]:
    async with shared_logs(tmp_path, "registry") as opened:
        yield opened


@contextmanager
def replica(folder: Path, kept: RegistryLogs) -> Iterator[SharedBuildLogs]:
    """Give the logs of one replica; close those that it still writes."""
    logs = SharedBuildLogs(folder, kept, LIMIT)
    try:
        yield logs
    finally:
        logs.close_all()


async def read(logs: SharedBuildLogs, namespace: str = "a") -> bytes:
    return b"".join([piece async for piece in logs.read(BUILD, namespace)])


async def test_another_replica_reads_the_log_of_an_ended_build(
    kept: RegistryLogs, tmp_path: Path
) -> None:
    two = SharedBuildLogs(tmp_path / "two", kept, LIMIT)
    with replica(tmp_path / "one", kept) as one:
        one.sink(BUILD)(b"the whole log\n" * 20)
        assert await read(two) == b""
        assert await one.keep(BUILD, "a") == 0
        assert await read(two) == b"the whole log\n" * 20
        assert await read(two, "b") == b"", "it is a log of namespace a"


async def test_a_leader_that_was_deposed_takes_no_later_ones_log_away(
    kept: RegistryLogs, tmp_path: Path
) -> None:
    with replica(tmp_path / "one", kept) as one, replica(tmp_path / "two", kept) as two:
        one.sink(BUILD)(b"the beginning\n")
        one.close(BUILD)
        two.sink(BUILD)(b"the whole log\n")
        assert await two.keep(BUILD, "a") == 0
        assert await read(one) == b"the whole log\n"
        assert await one.keep(BUILD, "a", again=True) == 0
        assert await read(SharedBuildLogs(tmp_path / "three", kept, LIMIT)) == b"the whole log\n"


async def test_a_log_that_could_not_be_kept_is_kept_later(tmp_path: Path) -> None:
    time = 1000.0
    async with AsyncExitStack() as stack:
        async with docker_registry(tmp_path) as host:
            pass
        internal, target = await stack.enter_async_context(elsewhere(host))

        async def namespaces() -> tuple[str, ...]:
            return NAMESPACES

        artifacts = ReplicaArtifacts(internal, target, ReplicaContent.LOGS)
        away = RegistryLogs(artifacts, lambda: True, namespaces)
        one = SharedBuildLogs(tmp_path / "one", away, LIMIT, monotonic=lambda: time)
        one.sink(BUILD)(b"the log\n")
        assert await one.keep(BUILD, "a") == 300
        one.close(BUILD)
        time += 100
        assert await one.keep(BUILD, "a", again=True) == 200, "nobody waits for the registry again"
        assert await read(one) == b"the log\n"
        elsewhere_read = await read(SharedBuildLogs(tmp_path / "two", away, LIMIT))
        assert b"cannot be read" in elsewhere_read
        assert b"upwell.logs/a" in elsewhere_read

    async with shared_logs(tmp_path, "registry") as kept:
        again = SharedBuildLogs(tmp_path / "one", kept, LIMIT)
        assert await again.keep(BUILD, "a", again=True) == 0
        assert await read(SharedBuildLogs(tmp_path / "two", kept, LIMIT)) == b"the log\n"


@pytest.mark.parametrize(
    ("code", "told", "step"),
    [
        (403, "log of a build cannot be kept", "let the server's login pull from and push to"),
        (413, "log of a build cannot be kept", "take larger bodies"),
        (500, "log of a build not kept yet", "HTTP 500"),
    ],
)
async def test_a_refusal_that_lasts_is_told_as_one_and_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: int, told: str, step: str
) -> None:
    async def namespaces() -> tuple[str, ...]:
        return NAMESPACES

    async with unruly_registry() as registry, elsewhere(registry.address) as (internal, target):
        registry.misbehave = status(code)
        artifacts = ReplicaArtifacts(internal, target, ReplicaContent.LOGS)
        refusing = RegistryLogs(artifacts, lambda: True, namespaces)
        with replica(tmp_path / "one", refusing) as one:
            one.sink(BUILD)(b"the log\n")
            assert await one.keep(BUILD, "a") == 300
    (record,) = [one for one in caplog.records if one.getMessage().startswith("log of a build")]
    assert record.getMessage() == told
    assert step in vars(record)["why"]


async def test_a_log_that_unpacks_to_more_than_one_may_have_is_cut(
    kept: RegistryLogs, tmp_path: Path
) -> None:
    bomb = tmp_path / "bomb"
    bomb.write_bytes(gzip.compress(bytes(50 * 1024 * 1024)))
    await kept.put("a", BUILD, bomb)
    assert len(await read(SharedBuildLogs(tmp_path / "one", kept, LIMIT))) == LIMIT + 1024
    bomb.write_bytes(b"no gzip at all")
    await kept.put("a", BUILD, bomb)
    assert b"damaged" in await read(SharedBuildLogs(tmp_path / "one", kept, LIMIT))


async def test_logs_of_builds_that_are_gone_are_removed(kept: RegistryLogs, tmp_path: Path) -> None:
    with replica(tmp_path / "one", kept) as one:
        one.sink(BUILD)(b"the log\n")
        await one.keep(BUILD, "a")
    assert list(await kept.stored("a")) == [BUILD]
    await remove_old_logs(MemoryStore(now), kept)
    assert list(await kept.stored("a")) == []
    assert not await kept.has("a", BUILD)


async def test_logs_go_several_at_a_time(tmp_path: Path) -> None:
    async with strict_s3() as s3, bucket_at(s3.url, tmp_path) as bucket:
        shared = BucketRegistry(bucket, "registry.internal:5000")
        artifacts = ReplicaArtifacts(shared, HostedArtifacts(shared), ReplicaContent.LOGS)

        async def namespaces() -> tuple[str, ...]:
            return ("a",)

        kept = RegistryLogs(artifacts, lambda: True, namespaces)
        file = tmp_path / "log.gz"
        for number in range(MANY):
            file.write_bytes(f"log {number}".encode())
            await kept.put("a", f"build-{number}", file)
        index = "PUT /images/ours/repositories/upwell.logs/a/_index"
        before = s3.requests.count(index)
        await remove_old_logs(MemoryStore(now), kept)
        assert list(await kept.stored("a")) == []
        assert 1 < s3.requests.count(index) - before <= MANY / 2, "those at once share a write"


async def test_a_namespace_that_cannot_be_listed_keeps_no_other_from_being_cleaned(
    kept: RegistryLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replica(tmp_path / "one", kept) as one:
        one.sink(BUILD)(b"the log\n")
        await one.keep(BUILD, "b")
    monkeypatch.setattr(ReplicaArtifacts, "tags", unlisted(ReplicaArtifacts.tags, "a"))
    await remove_old_logs(MemoryStore(now), kept)
    assert not await kept.has("b", BUILD)
