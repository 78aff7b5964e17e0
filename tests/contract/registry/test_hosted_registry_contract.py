"""Contract of the registry that we serve: its content, its tags, and what pruning takes away."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.registry.hosted_images import CONFIG, body, image, index, push, push_blob
from tests.support.registry.memory import RegistryInMemory
from tests.support.registry.origins import StreamInMemory
from tests.support.s3.moto import MotoServer, moto_s3
from tests.support.s3.strict_server import bucket_at, strict_s3

from upwell.oci import Digest, MediaType, Reference
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import (
    BlobUnknownError,
    DigestMismatchError,
    ManifestUnknownError,
    RepositoryUnknownError,
)
from upwell.registry.hosted.limits import StorageLimits
from upwell.registry.hosting import (
    HostedRegistry,
    ManifestContentUnknownError,
    ManifestInvalidError,
    ManifestPush,
    ServedRegistry,
    UploadOffsetError,
    UploadUnknownError,
)
from upwell.registry.interface import PrunableRegistry, PushEvent
from upwell.registry.pull_through import PullThroughRegistry

HOST, APP = "registry.internal:5000", "team/app"
BLOB, MISSING = Digest.of(CONFIG), Digest.of(b"missing")

SPARSE_INDEXES = StorageLimits(sparse_indexes=True)

type Hosting = ServedRegistry

KINDS: dict[str, Callable[[Path], Hosting]] = {
    "embedded": lambda folder: EmbeddedRegistry(folder, HOST),
    "pull-through": lambda folder: PullThroughRegistry(
        EmbeddedRegistry(folder, HOST), RegistryInMemory(), StreamInMemory()
    ),
}


SPARSE: dict[str, Callable[[Path], Hosting]] = {
    "embedded": lambda folder: EmbeddedRegistry(folder, HOST, limits=SPARSE_INDEXES),
    "pull-through": lambda folder: PullThroughRegistry(
        EmbeddedRegistry(folder, HOST, limits=SPARSE_INDEXES), RegistryInMemory(), StreamInMemory()
    ),
}


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoServer]:
    with moto_s3() as server:
        yield server


@pytest.fixture(params=[*KINDS, "bucket", "bucket of moto"])
async def hosting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hosting]:
    async with AsyncExitStack() as stack:
        if request.param in KINDS:
            registry = KINDS[request.param](tmp_path)
        else:
            if request.param == "bucket":
                url = (await stack.enter_async_context(strict_s3())).url
            else:
                url = request.getfixturevalue("moto").url
            prefix = f"{tmp_path.name}/"
            bucket = await stack.enter_async_context(bucket_at(url, tmp_path, prefix=prefix))
            registry = BucketRegistry(bucket, HOST)
        await registry.recover()
        yield registry


@pytest.fixture
def hosted(hosting: Hosting) -> HostedRegistry:
    return hosting


@pytest.fixture
def prunable(hosting: Hosting) -> PrunableRegistry:
    return hosting


def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def yesterday() -> datetime:
    return datetime.now(UTC) - timedelta(days=1)


async def push_manifest(hosted: HostedRegistry, raw: bytes, tag: str | None = None) -> Digest:
    kind = MediaType.OCI_INDEX if b'"manifests"' in raw else MediaType.OCI_MANIFEST
    return (await hosted.put_manifest(ManifestPush(APP, raw, kind, tag))).digest


async def test_a_manifest_is_found_by_tag_and_by_digest(hosted: HostedRegistry) -> None:
    digest = await push(hosted, APP)

    found = await hosted.find_manifest(APP, "v1")
    assert (found.digest, found.size) == (digest, len(image()))
    assert found.media_type == MediaType.OCI_MANIFEST
    assert await hosted.find_manifest(APP, digest) == found
    assert await hosted.read_manifest(APP, digest) == image()
    assert (await hosted.resolve(Reference.parse(f"{HOST}/{APP}:v1"))).digest == digest


async def test_what_is_not_there_is_named(hosted: HostedRegistry) -> None:
    await push(hosted, APP)

    for repository, target in ((APP, "v2"), (APP, MISSING), ("team/none", "v1")):
        with pytest.raises(ManifestUnknownError):
            await hosted.find_manifest(repository, target)
    with pytest.raises(ManifestUnknownError):
        await hosted.read_manifest(APP, MISSING)
    with pytest.raises(RepositoryUnknownError, match="team/none"):
        await hosted.tag_names("team/none")
    with pytest.raises(BlobUnknownError):
        await hosted.blob_size(APP, MISSING)
    with pytest.raises(BlobUnknownError):
        async with hosted.read_blob(APP, MISSING, range(1)):
            pass


async def test_a_manifest_needs_its_content_unless_it_is_sparse(hosted: HostedRegistry) -> None:
    wanted = ManifestPush(APP, image(), MediaType.OCI_MANIFEST, "v1")
    for accept in (hosted.check_manifest, hosted.put_manifest):
        with pytest.raises(ManifestContentUnknownError) as caught:
            await accept(wanted)
        assert caught.value.missing == (BLOB,)

    sparse = ManifestPush(APP, image(), MediaType.OCI_MANIFEST, "v1", sparse=True)
    await hosted.check_manifest(sparse)
    with pytest.raises(ManifestUnknownError):
        await hosted.find_manifest(APP, "v1")
    assert (await hosted.put_manifest(sparse)).digest == Digest.of(image())


@pytest.mark.parametrize("kind", SPARSE)
async def test_an_index_needs_no_images_where_sparse_ones_are_taken(
    kind: str, tmp_path: Path
) -> None:
    hosted = SPARSE[kind](tmp_path)
    await hosted.recover()
    await push(hosted, APP)
    raw = index(image(), image("elsewhere"))
    pushed = ManifestPush(APP, raw, f"{MediaType.OCI_INDEX}; charset=utf-8", "all")

    assert (await hosted.put_manifest(pushed)).digest == Digest.of(raw)
    with pytest.raises(ManifestUnknownError):
        await hosted.find_manifest(APP, Digest.of(image("elsewhere")))
    with pytest.raises(ManifestContentUnknownError):  # an image has all of its layers
        await hosted.put_manifest(ManifestPush("team/new", image(), MediaType.OCI_MANIFEST, "v1"))
    again = SPARSE[kind](tmp_path)
    await again.recover()
    assert await again.read_manifest(APP, Digest.of(raw)) == raw
    (found,) = await again.survey()
    assert found.tags["all"].digest == Digest.of(raw)


async def test_a_wrong_manifest_is_refused(hosted: HostedRegistry) -> None:
    await push(hosted, APP)
    with pytest.raises(ManifestInvalidError):
        await hosted.put_manifest(ManifestPush(APP, b"[]", MediaType.OCI_MANIFEST, "v2"))
    with pytest.raises(DigestMismatchError):
        await hosted.put_manifest(
            ManifestPush(APP, image(), MediaType.OCI_MANIFEST, digest=MISSING)
        )
    assert await hosted.tag_names(APP) == ["v1"]


async def test_a_referrer_is_listed_with_its_subject(hosted: HostedRegistry) -> None:
    subject = await push(hosted, APP)
    named = {"mediaType": MediaType.OCI_MANIFEST, "digest": str(subject), "size": len(image())}
    raw = json.dumps({**json.loads(image()), "artifactType": "a/b", "subject": named}).encode()
    referrer = await push_manifest(hosted, raw)

    [found] = await hosted.referrers(APP, subject)
    assert (found.digest, found.subject, found.artifact_type) == (referrer, subject, "a/b")
    assert await hosted.referrers(APP, MISSING) == []
    assert await hosted.referrers("team/none", subject) == []


async def test_a_blob_is_read_in_part_and_only_where_it_was_pushed(hosted: HostedRegistry) -> None:
    await push_blob(hosted, APP, CONFIG)
    await push(hosted, "team/other")
    await hosted.delete_blob("team/other", BLOB)

    assert await hosted.blob_size(APP, BLOB) == len(CONFIG)
    async with hosted.read_blob(APP, BLOB, range(2, 6)) as chunks:
        assert b"".join([chunk async for chunk in chunks]) == CONFIG[2:6]
    with pytest.raises(BlobUnknownError):
        await hosted.blob_size("team/other", BLOB)
    with pytest.raises(BlobUnknownError):
        await hosted.delete_blob("team/other", BLOB)


async def test_a_blob_is_mounted_from_where_it_is(hosted: HostedRegistry) -> None:
    await push_blob(hosted, APP, CONFIG)

    assert await hosted.mount_blob("team/other", BLOB, APP)
    assert await hosted.blob_size("team/other", BLOB) == len(CONFIG)
    assert not await hosted.mount_blob("team/other", MISSING, APP)
    assert not await hosted.mount_blob("team/other", BLOB, "team/none")


async def test_an_upload_goes_on_where_it_stands(hosted: HostedRegistry) -> None:
    upload = await hosted.start_upload(APP)
    assert await hosted.append(APP, upload, body(CONFIG[:5]), 0) == 5
    assert await hosted.upload_offset(APP, upload) == 5
    with pytest.raises(UploadOffsetError) as caught:
        await hosted.append(APP, upload, body(CONFIG), 0)
    assert caught.value.offset == 5
    assert await hosted.append(APP, upload, body(CONFIG[5:])) == len(CONFIG)
    await hosted.finish_upload(APP, upload, BLOB)

    assert await hosted.blob_size(APP, BLOB) == len(CONFIG)
    with pytest.raises(UploadUnknownError):
        await hosted.upload_offset(APP, upload)


async def test_an_upload_is_dropped_when_it_is_wrong_or_cancelled(hosted: HostedRegistry) -> None:
    wrong, cancelled = [await hosted.start_upload(APP) for _ in range(2)]
    await hosted.append(APP, wrong, body(CONFIG))
    with pytest.raises(DigestMismatchError):
        await hosted.finish_upload(APP, wrong, MISSING)
    await hosted.cancel_upload(APP, cancelled)

    for upload in (wrong, cancelled, "never-was"):
        with pytest.raises(UploadUnknownError):
            await hosted.cancel_upload(APP, upload)
    with pytest.raises(BlobUnknownError):
        await hosted.blob_size(APP, BLOB)


async def test_a_tag_is_set_moved_and_removed(hosting: Hosting, hosted: HostedRegistry) -> None:
    old, new = await push(hosting, APP, "v1", "old"), await push(hosting, APP, None, "new")

    await hosted.tag(APP, "v1", new)
    assert await hosted.tag_digest(APP, "v1") == new
    assert await hosting.tag_names(APP) == ["v1"]
    await hosted.untag(APP, "v1")
    assert await hosted.tag_digest(APP, "v1") is None
    assert await hosted.has_manifest(APP, new)
    assert await hosted.has_manifest(APP, old)
    with pytest.raises(ManifestUnknownError):
        await hosted.tag(APP, "v1", MISSING)
    with pytest.raises(ManifestUnknownError):
        await hosted.untag(APP, "v1")


async def test_a_manifest_is_deleted_with_its_tags(
    hosting: Hosting, hosted: HostedRegistry
) -> None:
    digest, other = await push(hosting, APP, "v1"), await push(hosting, APP, "v2", "other")
    await hosted.tag(APP, "latest", digest)

    await hosted.delete_manifest(APP, digest)
    assert not await hosted.has_manifest(APP, digest)
    assert [await hosted.tag_digest(APP, tag) for tag in ("v1", "latest")] == [None, None]
    assert await hosted.tag_digest(APP, "v2") == other
    with pytest.raises(ManifestUnknownError):
        await hosted.delete_manifest(APP, digest)


async def test_repositories_with_a_manifest_are_listed_in_order(
    hosting: Hosting, hosted: HostedRegistry
) -> None:
    assert hosted.host == HOST
    assert list(await hosted.repositories()) == []
    for repository in ("team/b", "team/a"):
        await push(hosting, repository)
    await push_blob(hosting, "team/blobs", CONFIG)

    assert list(await hosted.repositories()) == ["team/a", "team/b"]
    assert not await hosted.has_manifest("team/none", MISSING)
    assert await hosted.tag_digest("team/none", "v1") is None


async def test_a_push_of_a_tag_is_told(hosting: Hosting, hosted: HostedRegistry) -> None:
    told: asyncio.Queue[PushEvent] = asyncio.Queue()
    hosted.subscribe(told.put_nowait)
    await push(hosting, APP, None, "untagged")
    digest = await push(hosting, APP, "v1")

    async with asyncio.timeout(60):
        event = await told.get()
    assert event == PushEvent(APP, "v1", digest, MediaType.OCI_MANIFEST, "alice")
    assert told.empty()


async def test_a_survey_tells_tags_and_content(
    hosting: Hosting, prunable: PrunableRegistry
) -> None:
    assert list(await prunable.survey()) == []
    child = await push(hosting, APP, None, "child")
    parent = await push_manifest(hosting, index(image("child")), "v1")

    [found] = await prunable.survey()
    assert found.name == APP
    assert {tag: one.digest for tag, one in found.tags.items()} == {"v1": parent}
    by_digest = {one.digest: one for one in found.manifests}
    assert by_digest.keys() == {child, parent}
    assert by_digest[parent].children == {child}
    assert by_digest[child].blobs == {BLOB: len(CONFIG)}
    assert all(yesterday() < one.created < tomorrow() for one in found.manifests)


async def test_a_tag_expires_while_it_names_what_was_seen(
    hosting: Hosting, prunable: PrunableRegistry
) -> None:
    old, new = await push(hosting, APP, "v1", "old"), await push(hosting, APP, "v1", "new")

    assert not await prunable.expire_tag(APP, "v1", old)
    assert await hosting.tag_digest(APP, "v1") == new
    assert await prunable.expire_tag(APP, "v1", new)
    assert await hosting.tag_digest(APP, "v1") is None
    assert await hosting.has_manifest(APP, new)
    assert not await prunable.expire_tag("team/none", "v1", new)


async def test_a_manifest_that_is_named_or_young_stays(
    hosting: Hosting, prunable: PrunableRegistry
) -> None:
    child, alone = await push(hosting, APP, None, "child"), await push(hosting, APP, None, "alone")
    parent = await push_manifest(hosting, index(image("child")), "v1")

    assert not await prunable.expire_manifest(APP, alone, yesterday())
    for named in (child, parent):
        assert not await prunable.expire_manifest(APP, named, tomorrow())
    assert await prunable.expire_manifest(APP, alone, tomorrow())
    assert not await hosting.has_manifest(APP, alone)
    assert await hosting.has_manifest(APP, child)
    assert not await prunable.expire_manifest(APP, alone, tomorrow())


async def test_blobs_that_nothing_names_are_collected_when_they_are_old(
    hosting: Hosting, prunable: PrunableRegistry
) -> None:
    await push(hosting, APP)
    unused = await push_blob(hosting, APP, b"unused")

    await prunable.collect(yesterday())
    assert await hosting.blob_size(APP, unused) == len(b"unused")
    await prunable.collect(tomorrow())
    assert await hosting.blob_size(APP, BLOB) == len(CONFIG)
    with pytest.raises(BlobUnknownError):
        await hosting.blob_size(APP, unused)
