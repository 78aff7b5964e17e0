"""Content that has no more bytes than the manifest that names it says."""

from collections.abc import AsyncIterator

from upwell.oci import Descriptor
from upwell.registry.errors import InvalidAnswerError


async def announced(
    chunks: AsyncIterator[bytes], blob: Descriptor, name: str
) -> AsyncIterator[bytes]:
    """Yield a blob as it comes from the registry of `name`, which may go on for ever.

    Raises InvalidAnswerError as soon as it is more than was announced; a digest tells at the end.
    """
    left = blob.size
    async for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            why = f"blob {blob.digest.short} has more than the {blob.size} bytes of its manifest"
            raise InvalidAnswerError(name, why)
        yield chunk
