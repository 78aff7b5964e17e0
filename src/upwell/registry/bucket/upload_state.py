"""State of an upload, as the bucket has it, and as this process knows it."""

import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from upwell.registry.s3.client import IfMatch, S3Bucket
from upwell.registry.s3.errors import BucketAnswerError, PreconditionError

if TYPE_CHECKING:
    import hashlib

ROOT = "uploads/"
MAX_STATE_BYTES = 4 * 1024 * 1024


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
class UploadSession:
    """Upload as this process has seen it last."""

    key: str
    repository: str
    state: UploadState
    etag: str
    hasher: "hashlib._Hash | None" = field(default=None, repr=False)
    """Hash of all bytes so far; None: some went through another process."""


async def write_state(bucket: S3Bucket, key: str, state: UploadState, condition: IfMatch) -> str:
    """Write the state of an upload, and return its ETag; raises PreconditionError."""
    raw = encode_state(state)
    try:
        return await bucket.put(key, raw, condition)
    except PreconditionError:
        found = await bucket.get(key, MAX_STATE_BYTES)
        if found is None or found.raw != raw:  # else the answer to the first try was lost
            raise
        return found.etag


def upload_key(repository: str, upload: str) -> str:
    """Return the key of an upload."""
    # No repository name has a plus sign, so two never share a folder.
    return f"{ROOT}{repository.replace('/', '+')}/{upload}"


def encode_state(state: UploadState) -> bytes:
    """Return a document of a state, unlike that of any other write."""
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


def decode_state(raw: bytes, name: str) -> UploadState:
    """Return the state that a document has; raises BucketAnswerError."""
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
