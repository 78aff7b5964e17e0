"""The embedded registry in process: the port, events, recovery from files, garbage collection."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.registry.hosted_images import CONFIG, body, image, index, push, push_blob

from upwell.oci import Digest, Index, Manifest, MediaType, Reference
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.embedded.contents import Allowance, Contents
from upwell.registry.embedded.files import run_whole, storing
from upwell.registry.embedded.integrity import Integrity
from upwell.registry.embedded.usage import StorageUsage
from upwell.registry.errors import (
    BlobUnknownError,
    InvalidAnswerError,
    ManifestUnknownError,
    RepositoryUnknownError,
)
from upwell.registry.hosted.limits import StorageLimits
from upwell.registry.hosting import (
    ContentTooLargeError,
    HostedRegistry,
    ManifestPush,
    StorageError,
    StorageFullError,
    UploadUnknownError,
)
from upwell.registry.interface import PushEvent

HOST = "registry.internal:5000"
DAY = 24 * 3600.0


class ProbedClock:
    """Wall time that runs ahead of the files' times by `ahead` seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ahead = 0.0

    def __call__(self) -> float:
        probe = self._path / "probe"
        probe.touch()
        return probe.stat().st_mtime + self.ahead


@pytest.fixture
def clock(tmp_path: Path) -> ProbedClock:
    return ProbedClock(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
async def registry(root: Path, clock: ProbedClock) -> EmbeddedRegistry:
    registry = EmbeddedRegistry(root, HOST, limits=StorageLimits(blob_bytes=100_000), clock=clock)
    await registry.recover()
    return registry


def reference(rest: str) -> Reference:
    return Reference.parse(f"{HOST}/{rest}")


def files(root: Path, kind: str) -> list[Path]:
    return [path for path in (root / kind).rglob("*") if path.is_file()]


async def test_an_image_is_read_through_the_port(registry: HostedRegistry) -> None:
    digest = await push(registry, "team/app")
    app = reference("team/app:v1")

    found = await registry.resolve(app)
    manifest = await registry.manifest(app)
    async with registry.open_blob(app, Digest.of(CONFIG)) as chunks:
        streamed = b"".join([chunk async for chunk in chunks])

    assert (found.digest, found.size) == (digest, len(image()))
    assert isinstance(manifest, Manifest)
    assert manifest.raw == image()
    assert streamed == await registry.blob(app, Digest.of(CONFIG), len(CONFIG)) == CONFIG
    assert await registry.tags(app) == ["v1"]


async def test_what_is_not_there_is_an_error_of_the_port(registry: HostedRegistry) -> None:
    await push(registry, "team/app")
    absent = Digest.of(b"absent")

    for wrong in (
        reference("team/app:other"),
        reference("team/none:v1"),
        reference("team/app").with_digest(absent),
        Reference.parse("docker.io/team/app:v1"),  # another registry's image
    ):
        with pytest.raises(ManifestUnknownError):
            await registry.resolve(wrong)
    with pytest.raises(BlobUnknownError):
        await registry.blob(reference("team/app"), absent, 100)
    with pytest.raises(BlobUnknownError):
        await registry.blob(reference("team/none"), Digest.of(CONFIG), 100)
    with pytest.raises(InvalidAnswerError):
        await registry.blob(reference("team/app"), Digest.of(CONFIG), 3)
    for wrong in (reference("team/none"), Reference.parse("docker.io/team/app")):
        with pytest.raises(RepositoryUnknownError):
            await registry.tags(wrong)


async def test_each_tag_set_is_an_event(registry: HostedRegistry) -> None:
    events: list[PushEvent] = []
    registry.subscribe(events.append)

    digest = await push(registry, "team/app")
    await push(registry, "team/app", tag=None, mark="untagged")
    await registry.tag("team/app", "stable", digest)
    await registry.untag("team/app", "v1")

    media_type = str(MediaType.OCI_MANIFEST)
    assert events == [
        PushEvent("team/app", "v1", digest, media_type, "alice"),
        PushEvent("team/app", "stable", digest, media_type, "upwell"),
    ]


async def test_the_tag_is_readable_when_its_event_comes(root: Path) -> None:
    seen: list[str] = []
    registry = EmbeddedRegistry(
        root, HOST, [lambda event: seen.extend(p.name for p in root.rglob(event.tag))]
    )

    await push(registry, "team/app")

    assert seen == ["v1"]


async def test_tags_move_and_go(registry: HostedRegistry) -> None:
    first = await push(registry, "team/app")
    second = await push(registry, "team/app", mark="second")
    assert await registry.tag_digest("team/app", "v1") == second

    await registry.tag("team/app", "v1", first)
    assert await registry.tag_digest("team/app", "v1") == first
    await registry.untag("team/app", "v1")
    assert await registry.tag_digest("team/app", "v1") is None
    assert await registry.tag_digest("team/none", "v1") is None
    assert await registry.has_manifest("team/app", first)

    with pytest.raises(ManifestUnknownError):
        await registry.untag("team/app", "v1")
    with pytest.raises(ManifestUnknownError):
        await registry.tag("team/app", "v1", Digest.of(b"absent"))
    with pytest.raises(ManifestUnknownError):
        await registry.tag("team/none", "v1", first)


async def test_a_deleted_manifest_is_gone_with_its_tags(
    registry: HostedRegistry, root: Path
) -> None:
    digest = await push(registry, "team/app")
    await push(registry, "team/other")

    await registry.delete_manifest("team/app", digest)

    assert not await registry.has_manifest("team/app", digest)
    assert await registry.tag_digest("team/app", "v1") is None
    assert await registry.repositories() == ["team/other"]
    assert await registry.has_manifest("team/other", digest)
    with pytest.raises(ManifestUnknownError):
        await registry.delete_manifest("team/app", digest)
    await registry.delete_manifest("team/other", digest)
    assert digest.hex not in {path.name for path in files(root, "blobs")}


async def test_an_index_without_a_media_type_is_known_for_what_it_is(
    registry: HostedRegistry, root: Path
) -> None:
    await push(registry, "team/app", tag=None)
    raw = index(image())
    await registry.put_manifest(ManifestPush("team/app", raw, str(MediaType.OCI_INDEX), "all"))

    for each in (registry, EmbeddedRegistry(root, HOST)):
        found = await each.manifest(reference("team/app:all"))
        assert isinstance(found, Index)
        assert found.raw == raw


async def test_a_new_process_reads_everything_back(registry: HostedRegistry, root: Path) -> None:
    digest = await push(registry, "team/app")
    upload = await registry.start_upload("team/app")
    await registry.append("team/app", upload, body(b"012"))

    again = EmbeddedRegistry(root, HOST)
    await again.recover()

    assert await again.repositories() == ["team/app"]
    assert await again.tag_digest("team/app", "v1") == digest
    assert await again.append("team/app", upload, body(b"34"), start=3) == 5
    await again.finish_upload("team/app", upload, Digest.of(b"01234"))
    assert await again.blob(reference("team/app"), Digest.of(b"01234"), 5) == b"01234"


async def test_half_written_files_of_a_killed_process_are_removed(root: Path) -> None:
    (root / "temporary").mkdir(parents=True)
    (root / "temporary" / "half").write_bytes(b"{")

    await EmbeddedRegistry(root, HOST).recover()

    assert files(root, "temporary") == []


async def test_what_the_disk_changed_is_not_served_as_the_truth(
    registry: HostedRegistry, root: Path
) -> None:
    digest = await push(registry, "team/app")
    for changed in (digest, Digest.of(CONFIG)):
        (root / "blobs" / "sha256" / changed.hex[:2] / changed.hex).write_bytes(b"damaged")

    with pytest.raises(BlobUnknownError):
        await registry.blob(reference("team/app"), Digest.of(CONFIG), 100)
    again = EmbeddedRegistry(root, HOST)
    assert not await again.has_manifest("team/app", digest)
    assert await again.tag_digest("team/app", "v1") is None


@pytest.mark.parametrize("damage", [b"", b"\xff\x00", b"sha256:0"])
async def test_a_damaged_tag_names_nothing_and_hides_no_other(
    registry: HostedRegistry, root: Path, damage: bytes
) -> None:
    await push(registry, "team/app")
    tags = root / "repositories" / "team" / "app" / "_tags"
    (tags / "v2").write_bytes(damage)

    again = EmbeddedRegistry(root, HOST)
    assert await again.tag_digest("team/app", "v1") is not None
    assert await again.tag_digest("team/app", "v2") is None


async def test_a_body_over_the_limit_drops_the_upload(registry: HostedRegistry, root: Path) -> None:
    upload = await registry.start_upload("team/app")

    with pytest.raises(ContentTooLargeError):
        await registry.append("team/app", upload, body(b"0" * 60_000, b"0" * 60_000))

    with pytest.raises(UploadUnknownError):
        await registry.upload_offset("team/app", upload)
    assert files(root, "uploads") == []


async def test_what_arrived_before_a_failure_is_kept(registry: HostedRegistry) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"01234"
        raise ConnectionError("gone")

    upload = await registry.start_upload("team/app")

    # A ConnectionError is an OSError, but of the client, not of our disk.
    with pytest.raises(ConnectionError):
        await registry.append("team/app", upload, failing())

    assert await registry.upload_offset("team/app", upload) == 5


@pytest.mark.parametrize("name", ["", "..", "../../blobs", "0" * 31, "0" * 32, "\0" * 32])
async def test_a_made_up_upload_is_unknown(registry: HostedRegistry, name: str) -> None:
    with pytest.raises(UploadUnknownError):
        await registry.upload_offset("team/app", name)


async def test_garbage_collection_removes_only_what_is_old_and_unused(
    root: Path, clock: ProbedClock
) -> None:
    registry = EmbeddedRegistry(root, HOST, clock=clock)
    await push(registry, "team/app")
    unused = await push_blob(registry, "team/app", b"unused")
    alone = await push_blob(registry, "only/blobs", b"alone")
    upload = await registry.start_upload("team/app")
    orphan = root / "blobs" / "sha256" / "00" / ("0" * 64)
    orphan.parent.mkdir(exist_ok=True)
    orphan.touch()

    young = await registry.collect_garbage()
    clock.ahead = DAY + 60
    old = await registry.collect_garbage()

    assert (young.uploads, young.blobs, young.contents) == (0, 0, 0)
    assert (old.uploads, old.blobs, old.contents) == (1, 2, 1)
    for repository, digest in (("team/app", unused), ("only/blobs", alone)):
        with pytest.raises(BlobUnknownError):
            await registry.blob_size(repository, digest)
    with pytest.raises(UploadUnknownError):
        await registry.upload_offset("team/app", upload)
    assert await registry.blob_size("team/app", Digest.of(CONFIG)) == len(CONFIG)
    assert not orphan.exists()


def test_content_with_too_many_links_gets_another_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = StorageUsage(tmp_path, tmp_path / "uploads")
    contents = Contents(tmp_path / "blobs", tmp_path / "repositories", usage, Integrity())
    digest = Digest.of(CONFIG)
    links = [tmp_path / name / digest.hex for name in "abc"]
    real = os.link
    full = set[int]()

    def link(source: Path, target: Path, **options: bool) -> None:
        if source.stat().st_ino in full:  # as ext4 does after 65,000 links
            raise OSError(errno.EMLINK, "too many links")
        real(source, target, **options)

    monkeypatch.setattr(os, "link", link)
    for at, name in enumerate(links):
        fresh = tmp_path / "fresh"
        fresh.write_bytes(CONFIG)
        contents.adopt(fresh, digest, name)
        assert not fresh.exists()
        if at == 0:
            full.add(name.stat().st_ino)

    assert [name.read_bytes() for name in links] == [CONFIG] * 3
    assert len({name.stat().st_ino for name in links}) == 2
    assert not contents.share(links[0], tmp_path / "d" / digest.hex, Allowance("d/app"))


async def test_a_cancelled_change_is_still_whole() -> None:
    entered, leave = threading.Event(), threading.Event()
    done: list[str] = []

    def change() -> None:
        entered.set()
        leave.wait(10)
        done.append("changed")

    task = asyncio.create_task(run_whole(change))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    asyncio.get_running_loop().call_later(0.01, leave.set)

    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["changed"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, StorageFullError), (errno.EDQUOT, StorageFullError), (errno.EIO, StorageError)],
)
def test_a_failure_of_the_disk_is_named(number: int, expected: type[StorageError]) -> None:
    with pytest.raises(StorageError) as caught, storing("team/app"):
        raise OSError(number, "failed")

    assert type(caught.value) is expected
    assert caught.value.retryable
    assert "team/app" in str(caught.value)


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def test_no_blob_is_taken_while_space_is_short(root: Path) -> None:
    pressure = [""]
    registry = EmbeddedRegistry(root, HOST, pressure=lambda: pressure[0])
    begun = await registry.start_upload("team/app")
    pressure[0] = "/data has 3 MiB free: free space"

    with pytest.raises(StorageFullError, match="3 MiB free: free space"):
        await registry.start_upload("team/app")
    with pytest.raises(StorageFullError):
        await registry.append("team/app", begun, pieces(b"content"))

    pressure[0] = ""
    assert await registry.append("team/app", begun, pieces(b"content")) == len(b"content")


async def test_idle_uploads_go_first_when_space_is_short(
    registry: EmbeddedRegistry, clock: ProbedClock
) -> None:
    idle = await registry.start_upload("team/app")
    clock.ahead = 30
    assert await registry.drop_idle_uploads() == 0

    clock.ahead = 70
    assert await registry.drop_idle_uploads() == 1
    with pytest.raises(UploadUnknownError):
        await registry.upload_offset("team/app", idle)


async def test_an_endless_blob_ends_where_space_gets_short(root: Path) -> None:
    taken: list[int] = []
    registry = EmbeddedRegistry(
        root, HOST, pressure=lambda: "/data has 3 MiB free" if len(taken) > 5 else ""
    )

    async def endless() -> AsyncIterator[bytes]:
        while True:
            taken.append(1)
            yield bytes(256 * 1024)

    upload = await registry.start_upload("team/app")
    with pytest.raises(StorageFullError, match="3 MiB free"):
        await registry.append("team/app", upload, endless())
    assert await registry.storage_used("team") == 0
    assert not list((root / "uploads").glob("*/*"))
