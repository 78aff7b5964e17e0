"""Bytes of a request on their way into an upload, within a bound of memory for all uploads."""

import asyncio
import uuid
from dataclasses import replace

from upwell.registry.bucket.contents import BucketContents, key_of
from upwell.registry.bucket.upload_state import UploadSession, UploadState, write_state
from upwell.registry.s3.client import IfMatch, S3Bucket
from upwell.registry.s3.errors import BucketUnavailableError

PART_BYTES = 8 * 1024 * 1024
"""Of each part but the last: 10,000 of them, S3's most, are more than the largest blob."""
_SMALL = 256 * 1024
"""Bytes that an upload may hold without a buffer of the shared ones."""
BUFFERS = 24
"""Parts that are in memory at once, of all uploads: 192 MiB."""
_BUFFER_SECONDS = 60.0
_COMMIT_SECONDS = 30.0
"""Seconds after which a part is told to the bucket while its client still sends."""


class UploadWriting:
    """Bytes on their way into an upload: one part is sent while the next one is filled."""

    def __init__(
        self,
        bucket: S3Bucket,
        contents: BucketContents,
        session: UploadSession,
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
            why = f"{BUFFERS} parts of uploads wait to be written: push again later"
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
        self.session.etag = await write_state(self._bucket, self.session.key, state, condition)
        self.session.state = state
        if before.rest and before.rest != state.rest:
            await self._bucket.delete(key_of(before.rest))
