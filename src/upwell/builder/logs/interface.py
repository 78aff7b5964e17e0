"""The port of kept logs: where replicas of a server find the logs of builds that have ended."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol


class KeptLogError(Exception):
    """A log could not be read from, or written to, where replicas share it.

    `retryable`: the cause may pass by itself.
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class KeptLogs(Protocol):
    """Place for logs by namespace and build id, compressed by gzip, that all replicas see.

    Every method raises KeptLogError when it cannot be asked, or refuses; callers limit the time.
    """

    async def put(self, namespace: str, build_id: str, file: Path) -> None:
        """Store the content of `file` as the log, in place of an earlier one of the build."""
        ...

    async def has(self, namespace: str, build_id: str) -> bool:
        """Return True if there is a log of the build."""
        ...

    def open(
        self, namespace: str, build_id: str
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes] | None]:
        """Stream the bytes that were stored, while the block lasts; None: there are none."""
        ...
