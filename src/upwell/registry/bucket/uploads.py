"""Uploads in progress: any replica goes on with one, from what another has told the bucket.

The bytes of an upload become parts of a multipart upload, and what is too little for a part a
content of its own, which is put in front of what comes next. Where that is all, it is the blob.
"""

import asyncio
import contextlib
import hashlib
import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from upwell.oci import Digest
from upwell.registry.bucket.contents import BucketContents, key_of
from upwell.registry.bucket.usage import BucketUsage
from upwell.registry.errors import DigestMismatchError, RegistryError
from upwell.registry.hosting import (
    ContentTooLargeError,
    QuotaExceededError,
    StorageError,
    StorageQuota,
    UploadBusyError,
    UploadOffsetError,
    UploadUnknownError,
)
from upwell.registry.s3.client import IfMatch, S3Bucket
from upwell.registry.s3.errors import (
    BucketAnswerError,
    BucketUnavailableError,
    PreconditionError,
    UploadGoneError,
)

ROOT = "uploads/"
PART_BYTES = 8 * 1024 * 1024
"""Of each part but the last: 10,000 of them, S3's most, are more than the largest blob."""
_SMALL = 256 * 1024
"""Bytes that an upload may hold without a buffer of the shared ones."""
_BUFFERS = 24
"""Parts that are in memory at once, of all uploads: 192 MiB."""
_BUFFER_SECONDS = 60.0
_COMMIT_SECONDS = 30.0
"""Seconds after which a part is told to the bucket while its client still sends."""
_MAX_SESSION_BYTES = 4 * 1024 * 1024
_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class UploadState:
    """State of an upload, as the bucket has it."""

    algorithm: str
    offset: int = 0
    multipart: str = ""
    """Id of the multipart upload; empty: none was begun."""
    content: str = ""
    """ID of the content that it will be."""
    parts: tuple[str, ...] = ()
    """ETags."""
    rest: str = ""
    """ID of the content with the last bytes, which are no part yet; empty: there are none."""
    rest_size: int = 0

    @property
    def is_whole(self) -> bool:
        """True if all bytes are one content, which is or will be linked: none may follow."""
        return bool(self.content) and not self.multipart

    @property
    def contents(self) -> set[str]:
        """IDs that must stay while the upload goes on."""
        return {self.content, self.rest} - {""}


@dataclass(slots=True, eq=False)
class _Session:
    key: str
    repository: str
    state: UploadState
    etag: str
    hasher: "hashlib._Hash | None" = field(default=None, repr=False)
    """Hash of all bytes so far; None: some went through another process."""


class BucketUploads:
    """Uploads of all repositories of a bucket. Methods raise what HostedRegistry says."""

    def __init__(
        self, bucket: S3Bucket, contents: BucketContents, limit: int, usage: BucketUsage
    ) -> None:
        self._bucket = bucket
        self._contents = contents
        self._limit = limit
        self._usage = usage
        self._known: dict[str, _Session] = {}
        self._busy: set[str] = set()
        self._buffers = asyncio.Semaphore(_BUFFERS)

    async def start(
        self, repository: str, algorithm: str, owner: str, quota: StorageQuota | None
    ) -> str:
        """Create an empty upload and return its name."""
        upload = uuid.uuid4().hex
        key = _key(repository, upload)
        self._usage.begin(repository, key, owner)
        try:
            await self._usage.grow(repository, key, 0, quota)
            state = UploadState(algorithm)
            etag = await _written(self._bucket, key, state, IfMatch(None))
        except BaseException:
            self._usage.end(key)
            raise
        self._known[key] = _Session(key, repository, state, etag, hashlib.new(algorithm))
        return upload

    async def offset(self, repository: str, upload: str) -> int:
        """Return how many bytes have arrived."""
        return (await self._session(repository, upload, fresh=True)).state.offset

    async def append(
        self,
        repository: str,
        upload: str,
        body: AsyncIterator[bytes],
        start: int | None,
        quota: StorageQuota | None,
    ) -> int:
        """Write `body` at the end; see HostedRegistry.append."""
        with self._exclusive(repository, upload):
            session = await self._session(repository, upload)
            if start is not None and start != session.state.offset:
                session = await self._session(repository, upload, fresh=True)
            if start is not None and start != session.state.offset:
                raise UploadOffsetError(repository, upload, session.state.offset)
            writing = _Writing(self._bucket, self._contents, session, self._buffers)
            try:
                await self._receive(writing, body, quota)
            except PreconditionError:
                # Another replica has gone on with it; what was written here counts for nothing.
                self._known.pop(session.key, None)
                session = await self._session(repository, upload, fresh=True)
                raise UploadOffsetError(repository, upload, session.state.offset) from None
            except (StorageError, ContentTooLargeError, QuotaExceededError):
                await self._drop(session)
                raise
            except BaseException:
                self._known.pop(session.key, None)  # its hash is of more than was committed
                raise
            finally:
                await writing.close()
            return session.state.offset

    async def _receive(
        self, writing: "_Writing", body: AsyncIterator[bytes], quota: StorageQuota | None
    ) -> None:
        session = writing.session
        received = session.state.offset
        failure: Exception | None = None
        try:
            async for piece in body:
                _require_open(session, piece)
                received += len(piece)
                self._require_room(session.repository, received)
                await self._usage.grow(session.repository, session.key, received, quota)
                await writing.add(piece)
        except RegistryError:
            raise
        except Exception as error:  # noqa: BLE001 - raised below, after what came before it is kept
            failure = error
        await writing.finish()
        if failure is not None:
            raise failure

    def _require_room(self, repository: str, size: int) -> None:
        if size > self._limit:
            raise ContentTooLargeError(repository, self._limit)

    async def finish(self, repository: str, upload: str, digest: Digest) -> tuple[str, int]:
        """Make an upload content; return its ID and size. `end` it when it is linked.

        Raises DigestMismatchError, dropping the upload, and UploadBusyError where another replica
        has gone on with it.
        """
        with self._exclusive(repository, upload):
            session = await self._session(repository, upload, fresh=True)
            try:
                content = await self._completed(session)
                state = session.state
                if session.hasher is not None and state.algorithm == digest.algorithm:
                    actual = Digest(digest.algorithm, session.hasher.hexdigest())
                else:
                    actual = await self._contents.digest(content, state.offset, digest.algorithm)
            except UploadGoneError:
                await self._drop(session)
                raise UploadUnknownError(repository, upload) from None
            if actual != digest:
                await self._drop(session)
                raise DigestMismatchError(repository, digest, actual)
            if not state.multipart and not state.is_whole:
                await self._make_whole(session, content, upload)
            return content, state.offset

    async def _make_whole(self, session: _Session, content: str, upload: str) -> None:
        """Tell the bucket that the last bytes are all there are: whoever finds them keeps them."""
        state = replace(session.state, content=content, rest="", rest_size=0)
        try:
            condition = IfMatch(session.etag)
            session.etag = await _written(self._bucket, session.key, state, condition)
        except PreconditionError:
            self._known.pop(session.key, None)
            raise UploadBusyError(session.repository, upload) from None
        session.state = state

    async def end(self, repository: str, upload: str) -> None:
        """Forget an upload that is linked; its content stays."""
        key = _key(repository, upload)
        session = self._known.pop(key, None)
        self._usage.end(key)
        await self._bucket.delete(key)
        if session is not None and session.state.multipart and session.state.rest:
            await self._bucket.delete(key_of(session.state.rest))

    async def cancel(self, repository: str, upload: str) -> None:
        """Drop an upload and its bytes."""
        with self._exclusive(repository, upload):
            await self._drop(await self._session(repository, upload, fresh=True))

    async def expire(self, before: float) -> int:
        """Drop the uploads that nothing was written to since `before` (epoch); return how many."""
        expired = 0
        kept = set[str]()
        async for one in self._bucket.objects(ROOT):
            if one.key in self._busy:
                continue
            if one.changed >= before:
                kept.add(one.key)
                continue
            session = await self._found(one.key, one.key)
            if session is not None and session.etag == one.etag:
                await self._drop(session)
                expired += 1
        for key in [key for key in self._known if key not in kept and key not in self._busy]:
            if await self._bucket.size(key) is None:  # another replica has ended it
                self._known.pop(key, None)
                self._usage.end(key)
        live = {state.multipart for state in await self.states()}
        async for begun in self._bucket.uploads("contents/"):
            if begun.upload not in live and begun.begun < before:
                await self._bucket.abort_upload(begun.key, begun.upload)
        return expired

    async def states(self) -> Sequence[UploadState]:
        """Return what is known of all uploads."""
        found = []
        async for one in self._bucket.objects(ROOT):
            session = await self._found(one.key, one.key)
            if session is not None:
                found.append(session.state)
        return found

    async def _completed(self, session: _Session) -> str:
        """Return the ID of the content that all bytes are, complete in the bucket."""
        state = session.state
        if not state.multipart:
            return state.content or state.rest or await self._contents.write(b"")
        key = key_of(state.content)
        if await self._bucket.size(key) == state.offset:  # completed before a crash
            return state.content
        parts = list(state.parts)
        if state.rest:
            raw = await self._contents.read_exactly(state.rest, state.rest_size)
            parts.append(await self._bucket.put_part(key, state.multipart, len(parts) + 1, raw))
        gone: UploadGoneError | None = None
        try:
            await self._bucket.complete_upload(key, state.multipart, parts)
        except UploadGoneError as error:
            gone = error  # unless the answer to the first try was lost
        if await self._bucket.size(key) != state.offset:
            if gone is not None:
                raise gone
            raise BucketAnswerError(self._bucket.name, "an object is not as long as its parts")
        return state.content

    async def _drop(self, session: _Session) -> None:
        """Remove an upload and its bytes; whatever cannot be removed now is collected later."""
        self._known.pop(session.key, None)
        self._usage.end(session.key)
        with contextlib.suppress(StorageError):
            await self._bucket.delete(session.key)
            state = session.state
            if state.multipart:
                await self._bucket.abort_upload(key_of(state.content), state.multipart)
                if state.rest:
                    await self._bucket.delete(key_of(state.rest))
            # Else the last bytes may be a blob by now, of another replica: they are collected.

    async def _session(self, repository: str, upload: str, *, fresh: bool = False) -> _Session:
        key = _key(repository, upload)
        known = self._known.get(key)
        if known is not None and not fresh:
            return known
        if _NAME.fullmatch(upload) is None:
            raise UploadUnknownError(repository, upload)
        found = await self._found(key, repository, known.etag if known is not None else "")
        if found is None:
            self._known.pop(key, None)
            self._usage.end(key)
            raise UploadUnknownError(repository, upload)
        if known is not None and found.etag == known.etag:
            return known
        self._known[key] = found
        return found

    async def _found(self, key: str, repository: str, known: str = "") -> _Session | None:
        found = await self._bucket.get(key, _MAX_SESSION_BYTES, known)
        if found is None:
            return None
        if known and found.etag == known:
            return _Session(key, repository, UploadState(""), known)
        return _Session(key, repository, _decode(found.raw, self._bucket.name), found.etag)

    @contextlib.contextmanager
    def _exclusive(self, repository: str, upload: str) -> Iterator[None]:
        key = _key(repository, upload)
        if key in self._busy:
            raise UploadBusyError(repository, upload)
        self._busy.add(key)
        try:
            yield
        finally:
            self._busy.discard(key)


class _Writing:
    """Bytes on their way into an upload: one part is sent while the next one is filled."""

    def __init__(
        self,
        bucket: S3Bucket,
        contents: BucketContents,
        session: _Session,
        buffers: asyncio.Semaphore,
    ) -> None:
        self.session = session
        self._bucket = bucket
        self._contents = contents
        self._buffers = buffers
        self._held = 0
        """Buffers of the shared ones."""
        self._pieces: list[bytes] = []
        self._size = 0
        self._taken_up = not session.state.rest
        """True once the rest of the requests before is among the pieces."""
        self._sending: asyncio.Task[None] | None = None
        self._state = session.state
        self._now = asyncio.get_running_loop().time
        self._committed = self._now()

    async def add(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if not piece:
            return
        if not self._taken_up:
            self._taken_up = True
            state = self.session.state
            self._put(await self._contents.read_exactly(state.rest, state.rest_size))
        if self.session.hasher is not None:
            self.session.hasher.update(piece)
        self._put(piece)
        self._state = replace(self._state, offset=self._state.offset + len(piece))
        if self._size > _SMALL and not self._held:
            await self._take_buffer()
        while self._size >= PART_BYTES:
            await self._send_part()

    async def finish(self) -> None:
        """Write what is left, and tell the bucket how far the upload is."""
        await self._settle()
        if self._state.offset != self.session.state.offset:
            await self._commit()

    async def close(self) -> None:
        """Give back the memory."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
            if not self._sending.cancelled():
                self._sending.exception()  # seen: it is not what the request failed for
            self._sending = None
        while self._held:
            self._held -= 1
            self._buffers.release()

    def _put(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)

    async def _take_buffer(self) -> None:
        try:
            async with asyncio.timeout(_BUFFER_SECONDS):
                await self._buffers.acquire()
        except TimeoutError:
            why = f"{_BUFFERS} parts of uploads wait to be written: push again later"
            raise BucketUnavailableError(self._bucket.name, why) from None
        self._held += 1

    async def _send_part(self) -> None:
        joined = b"".join(self._pieces)
        part, left = joined[:PART_BYTES], joined[PART_BYTES:]
        self._pieces, self._size = [left] if left else [], len(left)
        await self._settle()
        if len(self._state.parts) == 1 or self._now() > self._committed + _COMMIT_SECONDS:
            await self._commit_parts()
        self._sending = asyncio.create_task(self._send(part))

    async def _send(self, part: bytes) -> None:
        if not self._state.multipart:
            content = uuid.uuid4().hex
            multipart = await self._bucket.begin_upload(key_of(content))
            self._state = replace(self._state, multipart=multipart, content=content)
        number = len(self._state.parts) + 1
        key = key_of(self._state.content)
        etag = await self._bucket.put_part(key, self._state.multipart, number, part)
        self._state = replace(self._state, parts=(*self._state.parts, etag))

    async def _settle(self) -> None:
        if self._sending is not None:
            sending, self._sending = self._sending, None
            await asyncio.shield(sending)

    async def _commit_parts(self) -> None:
        """Tell the bucket of the parts so far, in the middle of a body."""
        self._committed = self._now()
        offset = len(self._state.parts) * PART_BYTES
        await self._write(replace(self._state, offset=offset, rest="", rest_size=0))

    async def _commit(self) -> None:
        raw = b"".join(self._pieces)
        rest = await self._contents.write(raw) if raw else ""
        await self._write(replace(self._state, rest=rest, rest_size=len(raw)))

    async def _write(self, state: UploadState) -> None:
        before = self.session.state
        condition = IfMatch(self.session.etag)
        self.session.etag = await _written(self._bucket, self.session.key, state, condition)
        self.session.state = state
        if before.rest and before.rest != state.rest:
            await self._bucket.delete(key_of(before.rest))


def _require_open(session: _Session, piece: bytes) -> None:
    if piece and session.state.is_whole:
        raise UploadUnknownError(session.repository, session.key.rpartition("/")[2])


async def _written(bucket: S3Bucket, key: str, state: UploadState, condition: IfMatch) -> str:
    """Write the state of an upload, and return its ETag; raises PreconditionError."""
    raw = _encode(state)
    try:
        return await bucket.put(key, raw, condition)
    except PreconditionError:
        found = await bucket.get(key, _MAX_SESSION_BYTES)
        if found is None or found.raw != raw:  # else the answer to the first try was lost
            raise
        return found.etag


def _key(repository: str, upload: str) -> str:
    # No repository name has a plus sign, so two never share a folder.
    return f"{ROOT}{repository.replace('/', '+')}/{upload}"


def _encode(state: UploadState) -> bytes:
    document = {
        "algorithm": state.algorithm,
        "offset": state.offset,
        "multipart": state.multipart,
        "content": state.content,
        "parts": state.parts,
        "rest": [state.rest, state.rest_size],
        "write": uuid.uuid4().hex,  # no two writes have one ETag
    }
    return json.dumps(document).encode()


def _decode(raw: bytes, name: str) -> UploadState:
    try:
        found: Any = json.loads(raw)
        rest, size = found["rest"]
        return UploadState(
            str(found["algorithm"]),
            int(found["offset"]),
            str(found["multipart"]),
            str(found["content"]),
            tuple(map(str, found["parts"])),
            str(rest),
            int(size),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BucketAnswerError(name, "it has no state of an upload") from error
