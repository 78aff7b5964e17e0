"""Check at start that a bucket has what several writers need, by a few small objects."""

import asyncio
import uuid
from contextlib import suppress

from upwell.registry.s3.client import IfMatch, S3Bucket
from upwell.registry.s3.errors import BucketError, PreconditionError, UnfitBucketError

OWNER = "owner"
"""Key of the note whose images the bucket has."""
_MAX_OWNER_BYTES = 1024
_WRITERS = 8


async def require_fit(bucket: S3Bucket) -> None:
    """Check rights, reading of what was written, conditional writes, and multipart uploads.

    Raises UnfitBucketError for storage that cannot be used, or another BucketError. Leaves nothing.
    """
    key = f"probe/{uuid.uuid4().hex}"
    try:
        await _try(bucket, key)
    except BucketError:
        with suppress(BucketError):  # what failed first is what is told
            await bucket.delete(key)
        raise
    await bucket.delete(key)


async def _try(bucket: S3Bucket, key: str) -> None:
    first = await bucket.put(key, b"1", IfMatch(None))
    _require(await _loses(bucket, key, IfMatch(None)), bucket, "If-None-Match")
    second = await bucket.put(key, b"2", IfMatch(first))
    _require(await _loses(bucket, key, IfMatch(first)), bucket, "If-Match")
    found = await bucket.get(key, 1)
    if found is None or found.raw != b"2" or found.etag != second:
        raise _unfit(bucket, "give what was written last")
    await _require_one_winner(bucket, key, second)
    if key not in {one.key async for one in bucket.objects(key)}:
        raise _unfit(bucket, "list what was written")
    upload = await bucket.begin_upload(key)
    try:
        if upload not in {one.upload async for one in bucket.uploads(key)}:
            raise _unfit(bucket, "list multipart uploads")
    finally:
        await bucket.abort_upload(key, upload)


async def claim(bucket: S3Bucket, owner: str) -> None:
    """Note that the bucket has the images of the server `owner`, all of whose replicas use it.

    Raises UnfitBucketError where another one has noted the same: each would remove what its own
    objects do not name.
    """
    with suppress(PreconditionError):
        await bucket.put(OWNER, owner.encode(), IfMatch(None))
    if (found := await owner_of(bucket)) != owner:
        raise UnfitBucketError(
            f"{bucket.name} has the images of another server ({found!r}; this one is {owner!r}),"
            " and each prunes what its own objects do not name",
            "name another `prefix`; if that server is gone for good, delete the object"
            f" {bucket.location.prefix}{OWNER}",
        )


async def owner_of(bucket: S3Bucket) -> str:
    """Return the server whose images the bucket has; empty: none has claimed it."""
    found = await bucket.get(OWNER, _MAX_OWNER_BYTES)
    return "" if found is None else found.raw.decode(errors="replace")


async def _require_one_winner(bucket: S3Bucket, key: str, etag: str) -> None:
    """Let several write on the same condition at once: one may win."""
    writes = [_wins(bucket, key, etag, b"writer %d" % number) for number in range(_WRITERS)]
    won = sum(await asyncio.gather(*writes))
    _require(won <= 1, bucket, "If-Match of several at once")


async def _wins(bucket: S3Bucket, key: str, etag: str, raw: bytes) -> bool:
    with suppress(PreconditionError):
        await bucket.put(key, raw, IfMatch(etag))
        return True
    return False


async def _loses(bucket: S3Bucket, key: str, condition: IfMatch) -> bool:
    try:
        await bucket.put(key, b"not written", condition)
    except PreconditionError:
        return True
    return False


def _unfit(bucket: S3Bucket, what: str) -> UnfitBucketError:
    return UnfitBucketError(
        f"{bucket.name} does not {what}", "use other storage, a volume, or an external registry"
    )


def _require(is_honoured: bool, bucket: S3Bucket, what: str) -> None:  # noqa: FBT001 - a verdict
    if not is_honoured:
        raise UnfitBucketError(
            f"{bucket.name} does not honour conditional writes ({what}): two replicas would undo"
            " each other's pushes",
            "use storage that does, a volume, or an external registry",
        )
