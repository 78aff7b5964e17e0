"""Logs of builds that replicas on a cluster share: they lie in the registry that builds push to."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from upwell.app.registries.replica_files import ListNamespaces, file_content, refusal_at
from upwell.builder.logs.interface import KeptLogError
from upwell.oci import Descriptor, Digest
from upwell.registry.errors import RegistryError
from upwell.registry.replica_contents import ReplicaArtifact, ReplicaArtifacts

_MEDIA_TYPE = "application/gzip"
_MAX_BYTES = 64 * 1024 * 1024
"""Of a compressed log: more than one that was written within the limits."""


class RegistryLogs:
    """Implements KeptLogs by artifacts whose tags are the builds' uids.

    `leads` says whether this replica removes those of builds that are gone, of what `namespaces`
    names. What the registry answers is believed: a log has no digest that anybody else knows.
    """

    def __init__(
        self, artifacts: ReplicaArtifacts, leads: Callable[[], bool], namespaces: ListNamespaces
    ) -> None:
        self._artifacts = artifacts
        self._leads = leads
        self._namespaces = namespaces

    async def put(self, namespace: str, build_id: str, file: Path) -> None:
        """Store a log in place of an earlier one."""
        layer = await asyncio.to_thread(_described, file)
        with self._explaining(namespace):
            async with file_content(file) as opened:
                await self._artifacts.put(namespace, ReplicaArtifact(build_id, layer), opened)

    async def has(self, namespace: str, build_id: str) -> bool:
        """Return True if there is a log of the build."""
        with self._explaining(namespace):
            return await self._artifacts.layer(namespace, build_id) is not None

    @asynccontextmanager
    async def open(
        self, namespace: str, build_id: str
    ) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """Stream a log; None: there is none."""
        with self._explaining(namespace):
            layer = await self._artifacts.layer(namespace, build_id)
            if layer is None:
                yield None
                return
            if layer.size > _MAX_BYTES:
                raise KeptLogError(f"it has {layer.size} bytes, more than a log may have")
            async with self._artifacts.open(namespace, layer.digest) as pieces:
                yield pieces

    async def cleaned_namespaces(self) -> Collection[str]:
        """List the namespaces that may have logs; none where this replica leads not."""
        if not self._leads():
            return ()
        with self._explaining(""):
            return await self._namespaces()

    async def stored(self, namespace: str) -> Collection[str]:
        """List the builds whose logs a namespace has."""
        with self._explaining(namespace):
            return await self._artifacts.tags(namespace)

    async def remove(self, namespace: str, build_id: str) -> None:
        """Remove a log, while this replica leads; nothing is done where there is none."""
        if not self._leads():
            return
        with self._explaining(namespace):
            layer = await self._artifacts.layer(namespace, build_id)
            if layer is not None:
                await self._artifacts.remove(namespace, ReplicaArtifact(build_id, layer))

    @contextmanager
    def _explaining(self, namespace: str) -> Iterator[None]:
        try:
            yield
        except RegistryError as error:
            why = refusal_at(self._artifacts.place(namespace), error)
            message = f"replicas of the server share logs as {why}"
            raise KeptLogError(message, retryable=error.retryable) from error


def _described(file: Path) -> Descriptor:
    with file.open("rb") as source:
        hashed = hashlib.file_digest(source, "sha256").hexdigest()
    return Descriptor(_MEDIA_TYPE, Digest("sha256", hashed), file.stat().st_size)
