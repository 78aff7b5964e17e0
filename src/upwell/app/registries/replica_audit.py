"""Audit logs of all replicas on a cluster: they lie in the registry that builds push to."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from functools import partial

from upwell.api.meta import format_time, parse_time
from upwell.app.registries.replica_files import refusal_at
from upwell.audit.files import AuditRetention
from upwell.audit.keeping import KeptAuditError, KeptPiece
from upwell.audit.pieces import PIECE_BYTES, AuditPiece
from upwell.oci import Descriptor, Digest
from upwell.registry.client.push import once
from upwell.registry.errors import RegistryError
from upwell.registry.replica_contents import ReplicaArtifact, ReplicaArtifacts

_PIECE = re.compile(r"(?P<chain>[0-9a-f]{32})\.(?P<log>audit|audit-denied)\.(?P<first>[0-9]{12})")
_KEY = re.compile(r"(?P<chain>[0-9a-f]{32})\.pub")
_MEDIA_TYPE, _KEY_TYPE = "application/gzip", "application/x-pem-file"
_CREATED = "org.opencontainers.image.created"
_MAX_BYTES = 2 * PIECE_BYTES
_NOWHERE = ""
"""Namespace of the artifacts: lines are of none."""


class RegistryAudit:
    """Implements AuditPieces by artifacts whose tags name chain, log and first line.

    `leads` says whether this replica removes what is too old. What the registry answers is
    believed here: chains show by themselves whether they were changed.
    """

    def __init__(
        self,
        artifacts: ReplicaArtifacts,
        leads: Callable[[], bool],
        clock: Callable[[], datetime],
    ) -> None:
        self._artifacts = artifacts
        self._leads = leads
        self._clock = clock
        self._closed: dict[str, ReplicaArtifact] = {}
        """Pieces to which nothing is added any more, by their tags."""

    async def newest(self, chain: str) -> Mapping[str, int]:
        """Return the first line of the newest piece of each log of a chain."""
        found = [one for one in await self.pieces() if one.chain == chain and one.log_name]
        return {one.log_name: one.first for one in found}

    async def put(self, chain: str, log_name: str, piece: AuditPiece) -> None:
        """Store a piece, and remove what was under its tag."""
        tag = f"{chain}.{log_name.removesuffix('.log')}.{piece.first:012d}"
        layer = Descriptor(_MEDIA_TYPE, Digest.of(piece.content), len(piece.content))
        made = ReplicaArtifact(tag, layer, {_CREATED: format_time(self._clock())})
        with self._explaining():
            earlier = await self._artifacts.artifact(_NOWHERE, tag)
            if earlier is not None and earlier.layer.digest == layer.digest:
                return
            await self._artifacts.put(_NOWHERE, made, partial(once, piece.content))
            if earlier is not None:
                await self._artifacts.remove(_NOWHERE, earlier)

    async def put_key(self, chain: str, public_pem: bytes) -> None:
        """Store the key that checks a chain's heads."""
        layer = Descriptor(_KEY_TYPE, Digest.of(public_pem), len(public_pem))
        made = ReplicaArtifact(f"{chain}.pub", layer)
        with self._explaining():
            await self._artifacts.put(_NOWHERE, made, partial(once, public_pem))

    async def pieces(self) -> Sequence[KeptPiece]:
        """List keys and pieces, these in the order of their lines; other tags are passed over."""
        with self._explaining():
            return sorted(
                _parsed(await self._artifacts.tags(_NOWHERE)),
                key=lambda one: (one.chain, one.log_name, one.first),
            )

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """Stream a piece or a key; None: there is none of that name."""
        if not _parsed([name]):
            yield None
            return
        with self._explaining():
            layer = await self._artifacts.layer(_NOWHERE, name)
            if layer is None:
                yield None
                return
            if layer.size > _MAX_BYTES:
                raise KeptAuditError(f"{name} has {layer.size} bytes, more than a piece may have")
            async with self._artifacts.open(_NOWHERE, layer.digest) as content:
                yield content

    async def remove_old(self, retention: Mapping[str, AuditRetention]) -> None:
        """Remove, while this replica leads, what is too old, or too much, of each log.

        The newest piece of a log stays for as long as its age lets it; a key, while a piece is.
        """
        if not self._leads():
            return
        chains: dict[tuple[str, str], list[KeptPiece]] = defaultdict(list)
        keys: dict[str, KeptPiece] = {}
        for one in await self.pieces():
            if one.log_name:
                chains[one.chain, one.log_name].append(one)
            else:
                keys[one.chain] = one
        left: set[str] = set()
        for (chain, log_name), pieces in chains.items():
            if await self._shorten(pieces, retention[log_name]):
                left.add(chain)
        for chain, key in keys.items():
            if chain not in left and any(chain == one for one, _ in chains):
                await self._remove(key.name)

    async def _shorten(self, pieces: Sequence[KeptPiece], retention: AuditRetention) -> bool:
        """Remove the oldest pieces of one log; return True if one is left."""
        oldest = self._clock() - retention.age
        size, is_left = 0, False
        for index, one in enumerate(reversed(pieces)):
            found = await self._known(one.name, is_closed=index > 0)
            if found is None:
                continue
            size += found.layer.size
            created = parse_time(found.annotations.get(_CREATED))
            is_old = created is not None and created < oldest
            if is_old or (size > retention.total_bytes and index > 0):
                await self._remove(one.name)
            else:
                is_left = True
        return is_left

    async def _known(self, tag: str, *, is_closed: bool) -> ReplicaArtifact | None:
        if tag in self._closed:
            return self._closed[tag]
        with self._explaining():
            found = await self._artifacts.artifact(_NOWHERE, tag)
        if found is not None and is_closed:
            self._closed[tag] = found
        return found

    async def _remove(self, tag: str) -> None:
        with self._explaining():
            found = await self._artifacts.artifact(_NOWHERE, tag)
            if found is not None:
                await self._artifacts.remove(_NOWHERE, found)
        self._closed.pop(tag, None)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except RegistryError as error:
            why = refusal_at(self._artifacts.place(_NOWHERE), error)
            raise KeptAuditError(f"replicas of the server share audit logs as {why}") from error


def _parsed(tags: Sequence[str]) -> list[KeptPiece]:
    found = []
    for tag in tags:
        if piece := _PIECE.fullmatch(tag):
            name = f"{piece['log']}.log"
            found.append(KeptPiece(tag, piece["chain"], name, int(piece["first"])))
        elif key := _KEY.fullmatch(tag):
            found.append(KeptPiece(tag, key["chain"]))
    return found
