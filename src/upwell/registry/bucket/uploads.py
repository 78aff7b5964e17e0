"""Uploads in progress: any replica goes on with one, from what another has told the bucket.

The bytes of an upload become parts of a multipart upload, and what is too little for a part a
content of its own, which is put in front of what comes next. Where that is all, it is the blob.
"""

import asyncio
import contextlib
import hashlib
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace

from upwell.oci import Digest
from upwell.registry.bucket.contents import BucketContents, key_of
from upwell.registry.bucket.upload_state import (
    MAX_STATE_BYTES,
    ROOT,
    UploadSession,
    UploadState,
    decode_state,
    upload_key,
    write_state,
)
from upwell.registry.bucket.upload_writing import BUFFERS, UploadWriting
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
    PreconditionError,
    UploadGoneError,
)

_NAME = re.compile(r"[0-9a-f]{32}")
_DROP_SECONDS = 10.0
"""For the removal of an upload that failed: whoever waits for its answer waits for this as well."""


class BucketUploads:
    """Uploads of all repositories of a bucket. Methods raise what HostedRegistry says."""

    def __init__(
        self, bucket: S3Bucket, contents: BucketContents, limit: int, usage: BucketUsage
    ) -> None:
        self._bucket = bucket
        self._contents = contents
        self._limit = limit
        self._usage = usage
        usage.find_uploads = self.of_namespace
        self._known: dict[str, UploadSession] = {}
        self._busy: set[str] = set()
        self._buffers = asyncio.Semaphore(BUFFERS)

    async def start(
        self, repository: str, algorithm: str, owner: str, quota: StorageQuota | None
    ) -> str:
        """Create an empty upload and return its name."""
        upload = uuid.uuid4().hex
        key = upload_key(repository, upload)
        self._usage.begin(repository, key, owner)
        try:
            await self._usage.grow(repository, key, 0, quota)
            state = UploadState(algorithm)
            etag = await write_state(self._bucket, key, state, IfMatch(None))
        except BaseException:
            self._usage.end(key)
            raise
        self._known[key] = UploadSession(key, repository, state, etag, hashlib.new(algorithm))
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
            writing = UploadWriting(self._bucket, self._contents, session, self._buffers)
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
        self, writing: UploadWriting, body: AsyncIterator[bytes], quota: StorageQuota | None
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

    async def _make_whole(self, session: UploadSession, content: str, upload: str) -> None:
        """Tell the bucket that the last bytes are all there are: whoever finds them keeps them."""
        state = replace(session.state, content=content, rest="", rest_size=0)
        try:
            condition = IfMatch(session.etag)
            session.etag = await write_state(self._bucket, session.key, state, condition)
        except PreconditionError:
            self._known.pop(session.key, None)
            raise UploadBusyError(session.repository, upload) from None
        session.state = state

    async def end(self, repository: str, upload: str) -> None:
        """Forget an upload that is linked; its content stays."""
        key = upload_key(repository, upload)
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
        return list((await self._states(ROOT)).values())

    async def of_namespace(self, namespace: str) -> Mapping[str, UploadState]:
        """Return the uploads of a namespace, of every replica, by their keys."""
        return await self._states(upload_key(f"{namespace}/", "").rstrip("/"))

    async def _states(self, prefix: str) -> Mapping[str, UploadState]:
        found = {}
        async for one in self._bucket.objects(prefix):
            session = await self._found(one.key, one.key)
            if session is not None:
                found[one.key] = session.state
        return found

    async def _completed(self, session: UploadSession) -> str:
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

    async def _drop(self, session: UploadSession) -> None:
        """Remove an upload and its bytes; whatever cannot be removed now is collected later."""
        self._known.pop(session.key, None)
        self._usage.end(session.key)
        with contextlib.suppress(StorageError, TimeoutError):
            async with asyncio.timeout(_DROP_SECONDS):
                await self._bucket.delete(session.key)
                state = session.state
                if state.multipart:
                    await self._bucket.abort_upload(key_of(state.content), state.multipart)
                    if state.rest:
                        await self._bucket.delete(key_of(state.rest))
                # Else the last bytes may be a blob by now, of another replica: they are collected.

    async def _session(self, repository: str, upload: str, *, fresh: bool = False) -> UploadSession:
        key = upload_key(repository, upload)
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

    async def _found(self, key: str, repository: str, known: str = "") -> UploadSession | None:
        found = await self._bucket.get(key, MAX_STATE_BYTES, known)
        if found is None:
            return None
        if known and found.etag == known:
            return UploadSession(key, repository, UploadState(""), known)
        return UploadSession(
            key, repository, decode_state(found.raw, self._bucket.name), found.etag
        )

    @contextlib.contextmanager
    def _exclusive(self, repository: str, upload: str) -> Iterator[None]:
        key = upload_key(repository, upload)
        if key in self._busy:
            raise UploadBusyError(repository, upload)
        self._busy.add(key)
        try:
            yield
        finally:
            self._busy.discard(key)


def _require_open(session: UploadSession, piece: bytes) -> None:
    if piece and session.state.is_whole:
        raise UploadUnknownError(session.repository, session.key.rpartition("/")[2])
