"""Uploads that replicas on a cluster share: they lie in the registry that builds push to."""

import asyncio
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from upwell.api.meta import format_time
from upwell.app.registries.replica_files import ListNamespaces, file_content, refusal_at
from upwell.oci import Descriptor, Digest
from upwell.registry.errors import RegistryError
from upwell.registry.replica_contents import ReplicaArtifact, ReplicaArtifacts, is_missing
from upwell.uploads.files import on_disk
from upwell.uploads.interface import (
    InputMissingError,
    InputTooLargeError,
    SharedContent,
    SharedContentError,
)

_TAG = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})\.(?P<size>[0-9]{1,15})\.(?P<saved>[0-9]{1,11})")
_MEDIA_TYPE = "application/octet-stream"
_CREATED = "org.opencontainers.image.created"


class RegistryContents:
    """Implements SharedContents by artifacts whose tags say digest, size and time.

    So one list of tags is enough to count and to clean up. `leads` says whether this replica does
    the latter, of what `namespaces` names.
    """

    def __init__(
        self, artifacts: ReplicaArtifacts, leads: Callable[[], bool], namespaces: ListNamespaces
    ) -> None:
        self._artifacts = artifacts
        self._leads = leads
        self._namespaces = namespaces

    async def put(self, namespace: str, content: SharedContent, file: Path) -> None:
        """Store the content of a file."""
        with self._explaining(namespace, "keep the upload"):
            async with file_content(file) as opened:
                await self._artifacts.put(namespace, _artifact(content), opened)

    async def contents(self, namespace: str) -> Collection[SharedContent]:
        """List what the tags say; others that somebody has set there are passed over."""
        with self._explaining(namespace, "list uploads"):
            tags = await self._artifacts.tags(namespace)
        found = [_TAG.fullmatch(tag) for tag in tags]
        return [
            SharedContent(Digest("sha256", one["hex"]), int(one["size"]), int(one["saved"]))
            for one in found
            if one is not None
        ]

    async def cleaned_namespaces(self) -> Collection[str]:
        """List the namespaces that may share something; none where this replica leads not."""
        if not self._leads():
            return ()
        with self._explaining("", "list uploads"):
            return await self._namespaces()

    async def fetch(self, namespace: str, digest: Digest, file: Path, limit_bytes: int) -> None:
        """Write content to a new file.

        What no tag names counts as removed: the registry may let go of it at any moment.
        """
        if all(one.digest != digest for one in await self.contents(namespace)):
            raise InputMissingError(digest)
        size = 0
        with self._explaining(namespace, f"fetch upload {digest}", InputMissingError(digest)):
            async with self._artifacts.open(namespace, digest) as pieces:
                with on_disk():
                    target = await asyncio.to_thread(file.open, "xb")
                with target:
                    async for piece in pieces:
                        size += len(piece)
                        if size > limit_bytes:
                            raise InputTooLargeError(limit_bytes)
                        with on_disk():
                            await asyncio.to_thread(target.write, piece)

    async def remove(self, namespace: str, content: SharedContent) -> None:
        """Remove content, while this replica leads."""
        if self._leads():
            with self._explaining(namespace, "remove an upload"):
                await self._artifacts.remove(namespace, _artifact(content))

    @contextmanager
    def _explaining(
        self, namespace: str, what: str, missing: Exception | None = None
    ) -> Iterator[None]:
        """Turn a registry's error into one that says what to do; `missing`: it has it not."""
        try:
            yield
        except RegistryError as error:
            if missing is not None and is_missing(error):
                raise missing from error
            why = refusal_at(self._artifacts.place(namespace), error)
            raise SharedContentError(
                f"cannot {what}: replicas of the server share it as {why}",
                retryable=error.retryable,
                retry_after=error.retry_after,
            ) from error


def _artifact(content: SharedContent) -> ReplicaArtifact:
    digest, saved = content.digest, datetime.fromtimestamp(content.saved, UTC)
    return ReplicaArtifact(
        f"{digest.algorithm}-{digest.hex}.{content.size}.{content.saved}",
        Descriptor(_MEDIA_TYPE, digest, content.size),
        {_CREATED: format_time(saved)},
    )
