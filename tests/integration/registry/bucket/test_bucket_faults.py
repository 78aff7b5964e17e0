"""A bucket that is away, refuses, lies, or is not fit: what is said, and that nothing is harmed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from tests.support.registry.embedded_server import serving_registry
from tests.support.registry.hosted_images import CONFIG, body, image, push, push_blob
from tests.support.s3.strict_server import (
    SECRET,
    StrictS3,
    bucket_at,
    credentials_file,
    document,
    error,
    strict_s3,
)

from upwell.app.cleanup import follow_bucket
from upwell.machine.components import Components
from upwell.oci import Digest
from upwell.registry.bucket import uploads
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.errors import DigestMismatchError, RegistryError
from upwell.registry.hosting import StorageError
from upwell.registry.s3.client import S3Bucket
from upwell.registry.s3.errors import (
    BucketAnswerError,
    BucketCredentialsError,
    BucketRefusedError,
    BucketUnavailableError,
    UnfitBucketError,
)
from upwell.registry.s3.requests import S3Timeouts

HOST, APP = "registry.internal:5000", "team/app"
IMPATIENT = S3Timeouts(connect=0.5, request=0.5, idle=0.3, body=5, backoff=0.001)

FOREIGN_KEYS = (
    "<ListBucketResult><Contents><Key>theirs</Key><Size>1</Size><LastModified>"
    "2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>"
)


@dataclass
class FaultyBucket:
    s3: StrictS3
    bucket: S3Bucket
    folder: Path

    @property
    def registry(self) -> BucketRegistry:
        return BucketRegistry(self.bucket, HOST)

    def answer(self, make: Callable[[], web.StreamResponse], wanted: str = "") -> None:
        """Have requests whose method and path contain `wanted` answered so."""

        async def fault(request: web.BaseRequest) -> web.StreamResponse | None:
            return make() if wanted in f"{request.method} {request.path_qs}" else None

        self.s3.fault = fault


@pytest.fixture
async def faulty(tmp_path: Path) -> AsyncIterator[FaultyBucket]:
    async with strict_s3() as s3, bucket_at(s3.url, tmp_path, timeouts=IMPATIENT) as bucket:
        yield FaultyBucket(s3, bucket, tmp_path)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "AccessDenied", "s3:PutObject"),
        (403, "InvalidAccessKeyId", "renew the file of credentials"),
        (403, "SignatureDoesNotMatch", "secret key"),
        (403, "RequestTimeTooSkewed", "clocks of this machine and of the endpoint differ"),
        (404, "NoSuchBucket", "create it"),
        (400, "AuthorizationHeaderMalformed", "region"),
        (301, "PermanentRedirect", "endpoint"),
    ],
)
async def test_a_refusal_says_what_to_do_and_quotes_no_stranger(
    faulty: FaultyBucket, status: int, code: str, said: str
) -> None:
    faulty.answer(lambda: error(status, code))
    with pytest.raises(BucketRefusedError) as caught:
        await faulty.registry.recover()
    assert code in str(caught.value)
    assert said in str(caught.value)
    assert "stranger" not in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_storage_without_conditional_writes_is_refused(faulty: FaultyBucket) -> None:
    faulty.s3.honours_conditions = False
    with pytest.raises(UnfitBucketError, match="does not honour conditional writes"):
        await faulty.registry.recover()
    assert faulty.s3.objects == {}


async def test_another_server_is_refused_and_replicas_are_not(faulty: FaultyBucket) -> None:
    for _ in range(2):
        await BucketRegistry(faulty.bucket, HOST, owner="server one").recover()
    with pytest.raises(UnfitBucketError, match=r"another server \('server one'"):
        await BucketRegistry(faulty.bucket, HOST, owner="server two").recover()
    await BucketRegistry(faulty.bucket, HOST, owner="server one").recover()


async def test_a_probe_leaves_nothing(faulty: FaultyBucket) -> None:
    await faulty.registry.recover()
    assert (faulty.s3.objects, faulty.s3.uploads) == ({}, {})


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_busy_endpoint_is_asked_again_and_not_for_ever(
    faulty: FaultyBucket, status: int
) -> None:
    digest = await push(faulty.registry, APP)
    left = 2

    def busy_twice() -> web.StreamResponse | None:
        nonlocal left
        left -= 1
        return error(status, "SlowDown") if left >= 0 else None

    async def fault(_: web.BaseRequest) -> web.StreamResponse | None:
        return busy_twice()

    faulty.s3.fault = fault
    assert (await faulty.registry.find_manifest(APP, "v1")).digest == digest
    faulty.answer(lambda: error(status, "SlowDown"))
    faulty.s3.requests.clear()
    with pytest.raises(BucketUnavailableError, match=str(status)) as caught:
        await faulty.registry.find_manifest(APP, "v1")
    assert caught.value.retryable
    assert len(faulty.s3.requests) == 4


async def test_an_endpoint_that_hangs_is_given_up(faulty: FaultyBucket) -> None:
    async def hang(_: web.BaseRequest) -> web.StreamResponse | None:
        await faulty.s3.ended.wait()
        return None

    faulty.s3.fault = hang
    with pytest.raises(BucketUnavailableError, match="does not answer in time"):
        await faulty.registry.find_manifest(APP, "v1")
    assert len(faulty.s3.requests) == 2, "a second one for a connection that was dead"


async def test_a_push_into_a_bucket_that_hangs_is_given_up(faulty: FaultyBucket) -> None:
    registry = faulty.registry
    upload = await registry.start_upload(APP)

    async def hang(_: web.BaseRequest) -> web.StreamResponse | None:
        await faulty.s3.ended.wait()
        return None

    faulty.s3.fault = hang
    before = len(faulty.s3.requests)
    with pytest.raises(BucketUnavailableError, match="does not answer in time"):
        await registry.append(APP, upload, body(b"content"))
    # Those of the bytes, and of the removal of what had arrived, which has ten seconds.
    assert len(faulty.s3.requests) - before <= 2 + 2


async def test_the_removal_of_a_push_that_failed_has_a_time_of_its_own(
    faulty: FaultyBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_DROP_SECONDS", 0.05)
    registry = faulty.registry
    upload = await registry.start_upload(APP)

    async def refuse_bytes_and_hang_then(request: web.BaseRequest) -> web.StreamResponse | None:
        if request.method == "DELETE":
            await faulty.s3.ended.wait()
        return error(403, "AccessDenied")

    faulty.s3.fault = refuse_bytes_and_hang_then
    before = len(faulty.s3.requests)
    with pytest.raises(BucketRefusedError):
        await registry.append(APP, upload, body(b"content"))
    removals = [one for one in faulty.s3.requests[before:] if one.startswith("DELETE")]
    assert len(removals) == 1, "it is not tried again"


async def test_an_endpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with bucket_at("http://127.0.0.1:9", tmp_path) as bucket:
        with pytest.raises(BucketUnavailableError, match=r"127\.0\.0\.1:9"):
            await BucketRegistry(bucket, HOST).recover()


@pytest.mark.parametrize(
    "text",
    [
        "no XML",
        "",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<Other/>",
        '<!DOCTYPE a [<!ENTITY b "bb">]><ListBucketResult>&b;</ListBucketResult>',
        "<a>" * 10_000,
        "<ListBucketResult><Contents><Key>ours/x</Key><Size>-1</Size></Contents></ListBucketResult>",
        f"<ListBucketResult>{'x' * (9 * 1024 * 1024)}</ListBucketResult>",
        FOREIGN_KEYS,
    ],
    ids=["text", "empty", "no token", "other", "entities", "deep", "size", "large", "foreign keys"],
)
async def test_a_listing_that_is_none_is_not_believed(faulty: FaultyBucket, text: str) -> None:
    faulty.answer(lambda: document(text), "list-type")
    with pytest.raises(BucketAnswerError):
        await faulty.registry.repositories()


async def test_an_endless_listing_ends(faulty: FaultyBucket) -> None:
    same = (
        "<ListBucketResult><IsTruncated>true</IsTruncated>"
        "<NextContinuationToken>again</NextContinuationToken></ListBucketResult>"
    )
    faulty.answer(lambda: document(same), "list-type")
    with pytest.raises(BucketAnswerError, match="next page"):
        await faulty.registry.repositories()


async def test_listings_of_several_pages_are_whole(faulty: FaultyBucket) -> None:
    faulty.s3.page = 2
    names = [f"team/app{number}" for number in range(5)]
    for name in names:
        await push(faulty.registry, name)
    assert await faulty.registry.repositories() == names


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"version":2}', b"\xff" * 100])
async def test_an_index_that_is_none_is_neither_believed_nor_written_over(
    faulty: FaultyBucket, raw: bytes
) -> None:
    await push(faulty.registry, APP)
    key = next(key for key in faulty.s3.objects if key.endswith("/_index"))
    faulty.s3.objects[key].raw, faulty.s3.objects[key].etag = raw, '"other"'
    for registry in (faulty.registry,):
        with pytest.raises(BucketAnswerError):
            await registry.find_manifest(APP, "v1")
        with pytest.raises(BucketAnswerError):
            await push(registry, APP, "v2", "other")
        with pytest.raises(BucketAnswerError):
            await registry.collect_garbage()
    assert faulty.s3.objects[key].raw == raw


async def read(registry: BucketRegistry, digest: Digest, size: int) -> bytes:
    async with registry.read_blob(APP, digest, range(size)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_a_body_that_breaks_off_is_no_content(faulty: FaultyBucket) -> None:
    raw = bytes(600_000)
    await push_blob(faulty.registry, APP, raw)

    async def short(request: web.BaseRequest) -> web.StreamResponse | None:
        if "contents/" not in request.path:
            return None
        answer = web.StreamResponse(status=206, headers={"Content-Length": str(len(raw))})
        await answer.prepare(request)
        await answer.write(raw[:1000])
        request.transport.close()  # type: ignore[union-attr]
        return answer

    faulty.s3.fault = short
    registry = faulty.registry
    with pytest.raises(StorageError):
        await read(registry, Digest.of(raw), len(raw))
    faulty.s3.fault = None
    assert await registry.blob_size(APP, Digest.of(raw)) == len(raw)  # it is not damaged


@pytest.mark.parametrize("size", [1_000, 600_000])
async def test_what_one_answer_spoils_is_not_damaged(faulty: FaultyBucket, size: int) -> None:
    registry, raw = faulty.registry, b"x" * size
    digest = await push_blob(registry, APP, raw)
    reader, answers = faulty.registry, list[str]()

    async def spoil_one(request: web.BaseRequest) -> web.StreamResponse | None:
        if request.method != "GET" or "contents/" not in request.path or answers:
            return None
        answers.append(request.path)
        status = 206 if "Range" in request.headers else 200
        return web.Response(status=status, body=b"y" * size)

    faulty.s3.fault = spoil_one
    with contextlib.suppress(DigestMismatchError):  # what was sent is not taken back
        assert await read(reader, digest, size) == raw

    assert answers
    assert reader.damage() == {}
    assert await read(reader, digest, size) == raw


async def test_renewed_credentials_are_used_at_once(faulty: FaultyBucket) -> None:
    digest = await push(faulty.registry, APP)
    faulty.s3.keys = {"RENEWED"}
    with pytest.raises(BucketRefusedError, match="InvalidAccessKeyId"):
        await faulty.registry.find_manifest(APP, "v1")
    credentials_file(faulty.folder, "RENEWED", token="of a session")
    assert (await faulty.registry.find_manifest(APP, "v1")).digest == digest


@pytest.mark.parametrize(
    "text", [None, "", "[default]\n", "secret without a section", "[default]\naws_access_key_id=a"]
)
async def test_credentials_that_cannot_be_used_are_not_quoted(
    faulty: FaultyBucket, text: str | None
) -> None:
    path = faulty.folder / "credentials"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(BucketCredentialsError) as caught:
        await faulty.registry.recover()
    assert str(path) in str(caught.value)
    assert "without a section" not in str(caught.value)


async def test_a_bucket_that_is_deleted_is_named_and_no_upload_is_begun(
    faulty: FaultyBucket,
) -> None:
    faulty.answer(lambda: error(404, "NoSuchBucket"))
    for ask in (
        lambda: faulty.registry.find_manifest(APP, "v1"),
        lambda: faulty.registry.start_upload(APP),
        faulty.registry.repositories,
    ):
        with pytest.raises(BucketRefusedError, match="NoSuchBucket"):
            await ask()


async def test_a_bucket_that_fails_is_told_as_a_component_until_it_is_back(
    faulty: FaultyBucket,
) -> None:
    components = Components(lambda: datetime.now(UTC))
    faulty.answer(lambda: error(403, "AccessDenied"))

    async def until_it(fails: bool) -> str:  # noqa: FBT001 - what is waited for
        async with asyncio.timeout(60):
            while True:
                for state in components.states():
                    if state.reported and state.faulty == fails:
                        return state.message
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow_bucket(faulty.registry, components, pause=0.01))
        assert "s3:ListBucket" in await until_it(fails=True)
        faulty.s3.fault = None
        await until_it(fails=False)
        following.cancel()


async def test_what_fails_in_mid_push_is_an_error_of_the_port(faulty: FaultyBucket) -> None:
    faulty.answer(lambda: error(403, "AccessDenied"), "PUT /images/ours/contents")
    with pytest.raises(RegistryError, match="AccessDenied"):
        await push_blob(faulty.registry, APP, CONFIG)
    assert not any("contents" in key for key in faulty.s3.objects)


async def test_a_bucket_that_is_away_is_503_to_clients_and_back(faulty: FaultyBucket) -> None:
    async with (
        serving_registry(lambda host: BucketRegistry(faulty.bucket, host)) as registry,
        aiohttp.ClientSession() as session,
    ):
        digest = await push(registry, APP)
        there = f"http://{registry.host}/v2/{APP}"
        faulty.answer(lambda: error(503, "SlowDown"))
        asked = (
            ("GET", f"{there}/manifests/v1"),
            ("HEAD", f"{there}/blobs/{Digest.of(b'new')}"),
            ("POST", f"{there}/blobs/uploads/"),
        )
        for method, url in asked:
            async with session.request(method, url) as answer:
                assert (method, answer.status) == (method, 503)
                if method != "HEAD":
                    found = (await answer.json())["errors"][0]
                    assert (found["code"], "503" in found["message"]) == ("UNAVAILABLE", True)
        faulty.s3.fault = None
        async with session.get(f"{there}/manifests/v1") as answer:
            assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, str(digest))


async def test_an_index_that_is_full_is_told_and_stays_as_it_was(
    faulty: FaultyBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        serving_registry(lambda host: BucketRegistry(faulty.bucket, host)) as registry,
        aiohttp.ClientSession() as session,
    ):
        digest = await push(registry, APP)
        stored = faulty.s3.objects[f"ours/repositories/{APP}/_index"].raw
        monkeypatch.setattr("upwell.registry.bucket.indexes.MAX_INDEX_BYTES", len(stored))
        there = f"http://{registry.host}/v2/{APP}/manifests"
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        async with session.put(f"{there}/v2", data=image(), headers=kind) as answer:
            assert answer.status == 507
            assert "upwell prune --confirm" in (await answer.json())["errors"][0]["message"]
        assert await registry.pushed_tags(APP) == [("v1", digest)]
        assert faulty.s3.objects[f"ours/repositories/{APP}/_index"].raw == stored
        await registry.untag(APP, "v1")  # what makes it smaller is done
        assert await registry.pushed_tags(APP) == []
