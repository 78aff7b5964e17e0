"""Keeps the chains of this replica where all replicas of the server find them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from upwell.audit.chain import BrokenChainError
from upwell.audit.log import AuditLog
from upwell.audit.pieces import PIECE_BYTES, AuditPiece, read_piece
from upwell.machine.components import WatchedComponent

log = logging.getLogger(__name__)

_KEEP_SECONDS = 60.0
"""Between two looks for new lines: what a killed replica may lose."""
_SECONDS = 30.0
"""For one piece on its way."""
_LAST_SECONDS = 10.0
"""For what is left when the server ends."""


class KeptAuditError(Exception):
    """Pieces could not be read, or written, where replicas share them; the message says why."""


@dataclass(frozen=True, slots=True)
class KeptPiece:
    """A piece of a log, or the key of a chain, where replicas share them."""

    name: str
    chain: str
    log_name: str = ""
    """Name of the log's file; empty of a key."""
    first: int = 0
    """Number of the first line."""


class ReadableAudit(Protocol):
    """Chains of all replicas; every method raises KeptAuditError."""

    async def pieces(self) -> Sequence[KeptPiece]:
        """List keys and pieces, these in the order of their lines."""
        ...

    def open(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[bytes] | None]:
        """Stream a piece, compressed, or a key in PEM; None: there is none of that name."""
        ...


class AuditPieces(Protocol):
    """Place of chains that replicas share; every method raises KeptAuditError.

    `chain` is the id of the key that signs a replica's heads.
    """

    async def newest(self, chain: str) -> Mapping[str, int]:
        """Return the first line of the newest piece of each log, by the log's file name."""
        ...

    async def put(self, chain: str, log_name: str, piece: AuditPiece) -> None:
        """Store a piece in place of what was there of it."""
        ...

    async def put_key(self, chain: str, public_pem: bytes) -> None:
        """Store the key that checks a chain's heads."""
        ...


class AuditKeeping:
    """Keeps what `audit` writes in `pieces`; goes on after what is there already."""

    def __init__(
        self,
        audit: AuditLog,
        pieces: AuditPieces,
        component: WatchedComponent,
        *,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._audit = audit
        self._pieces = pieces
        self._component = component
        self._piece_bytes = piece_bytes
        self._firsts: dict[str, int] | None = None
        self._lasts: dict[str, int] = {}

    async def run(self) -> None:
        """Keep new lines each minute, until cancelled; a fault is reported."""
        while True:
            await self._attempt()
            await asyncio.sleep(_KEEP_SECONDS)

    async def keep_last(self) -> None:
        """End the chains, and keep what is left: the folder may end with the server."""
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self._audit.end()
                await self.keep()
        except (KeptAuditError, OSError, BrokenChainError, TimeoutError) as error:
            log.warning("last audit lines not kept", extra={"error": str(error)})

    async def keep(self) -> None:
        """Keep all lines that are not kept yet.

        Raises KeptAuditError, OSError, BrokenChainError, TimeoutError.
        """
        chain = self._audit.key.id
        if self._firsts is None:
            async with asyncio.timeout(_SECONDS):
                await self._pieces.put_key(chain, self._audit.key.pem())
                self._firsts = dict(await self._pieces.newest(chain))
        firsts = self._firsts
        for path in self._audit.paths:
            name = path.name
            while True:
                first = firsts.get(name, 1)
                piece = await asyncio.to_thread(read_piece, path, first, self._piece_bytes)
                if piece is None or piece.last <= self._lasts.get(name, 0):
                    break
                async with asyncio.timeout(_SECONDS):
                    await self._pieces.put(chain, name, piece)
                firsts[name] = piece.last + 1 if piece.is_full else piece.first
                self._lasts[name] = piece.last
                if not piece.is_full:
                    break

    async def _attempt(self) -> None:
        try:
            await self.keep()
        except (KeptAuditError, OSError, BrokenChainError, TimeoutError) as error:
            why = str(error) or f"no answer within {_SECONDS:g} s"
            self._component.fail(
                "AuditLogNotShared",
                f"new lines of the audit log are with this replica alone: {why}; they are kept"
                " where all replicas find them when that is mended, if its data folder is still"
                " there",
            )
        else:
            self._component.recover()
