"""The audit log: one chain of what was answered, another of what was denied.

So whoever is refused a million times pushes out nothing but refusals.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self

from upwell.audit.chain import Link
from upwell.audit.events import AuditEvent
from upwell.audit.files import AuditRetention, ChainFiles
from upwell.audit.heads import HeadSigner
from upwell.machine.components import WatchedComponent

_LOG = logging.getLogger(__name__)
ANSWERED, DENIED = "audit.log", "audit-denied.log"
"""Names of the chains' files."""
END = "End"
"""Kind of the line with which a chain of a replica ends in good order."""
_SEAL_SECONDS = 60.0
_MAX_WAITING = 10_000
"""Lines that wait to be written; a disk that hangs holds back no more of them."""


class AuditUnavailableError(Exception):
    """Failure to record, while which nothing may be changed; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class AuditFiles:
    """Folder of the chains, and their retention."""

    folder: Path
    answered: AuditRetention = field(default_factory=AuditRetention)
    denied: AuditRetention = field(default_factory=AuditRetention)
    replica: str = ""
    """Name of the replica whose lines they are; empty: there are no others."""

    @property
    def paths(self) -> Sequence[Path]:
        """The file of each chain that is being written."""
        return self.folder / ANSWERED, self.folder / DENIED


@dataclass(slots=True)
class _Waiting:
    event: AuditEvent
    time: str
    written: asyncio.Future[None]


class AuditLog:
    """Records requests. A recorded line is in the kernel's hands; made by `open`.

    Lines are written by a thread of its own, many at once where many come: a disk that is slow
    holds up who waits for a line, and not the event loop. `component` is faulty while nothing can
    be written.
    """

    def __init__(
        self,
        files: AuditFiles,
        signer: HeadSigner,
        clock: Callable[[], datetime],
        component: WatchedComponent,
    ) -> None:
        answered, denied = files.paths
        self._chains = {
            False: ChainFiles(answered, files.answered, signer, clock),
            True: ChainFiles(denied, files.denied, signer, clock),
        }
        self.paths = files.paths
        """The file of each chain that is being written."""
        self.key = signer.key
        """Checks the heads of the chains."""
        self._origin = {"replica": files.replica} if files.replica else {}
        self._clock = clock
        self._component = component
        self._thread = ThreadPoolExecutor(1, "audit")
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._lost = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        files: AuditFiles,
        signer: HeadSigner,
        clock: Callable[[], datetime],
        component: WatchedComponent,
    ) -> AsyncIterator[Self]:
        """Continue the chains; at the end of the block each is closed by a signed head."""
        log = cls(files, signer, clock, component)
        # Whether it can be written is known before the first line is lost.
        await log._probe()
        try:
            yield log
        finally:
            await log._close()

    @property
    def heads(self) -> Sequence[Link]:
        """The last line of each chain."""
        return [chain.link for chain in self._chains.values()]

    async def require(self) -> None:
        """Return if a line can be written now; raises AuditUnavailableError."""
        if len(self._waiting) >= _MAX_WAITING:
            raise AuditUnavailableError("the disk of the audit log does not answer: try again")
        if self._component.state.faulty:
            await self._probe()
        if self._component.state.faulty:
            why = self._component.state.message
            raise AuditUnavailableError(f"nothing is changed that cannot be recorded: {why}")

    async def record(self, event: AuditEvent) -> None:
        """Return when the line is written; raises AuditUnavailableError when it cannot be."""
        loop = asyncio.get_running_loop()
        time = self._clock().isoformat(timespec="milliseconds")
        waiting = _Waiting(event, time, loop.create_future())
        self._waiting.append(waiting)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await waiting.written

    async def keep(self, seconds: float = _SEAL_SECONDS) -> None:
        """Sign heads, compress and remove files, until cancelled."""
        while True:
            await self._in_thread(self._tend)
            await asyncio.sleep(seconds)

    async def end(self) -> None:
        """Write to each chain that has lines that it has ended in good order, and sign that."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
        await self._in_thread(self._end)

    def _end(self) -> None:
        time = self._clock().isoformat(timespec="milliseconds")
        for chain in self._chains.values():
            with suppress(OSError):  # `append` tells what does not work
                if chain.link.seq:
                    chain.append([{"time": time, "kind": END, **self._origin}])
                chain.seal()

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            for denied, chain in self._chains.items():
                part = [one for one in batch if one.event.is_denied == denied]
                if part:
                    await self._write_part(chain, part)

    async def _write_part(self, chain: ChainFiles, part: Sequence[_Waiting]) -> None:
        documents = [{"time": one.time, **self._origin, **one.event.document()} for one in part]
        try:
            await self._in_thread(partial(chain.append, documents))
        except OSError as error:
            self._lost += len(part)
            self._fail(chain, error)
            why = AuditUnavailableError(self._component.state.message)
            for one in part:
                if not one.written.done():
                    one.written.set_exception(why)
        else:
            self._component.recover()
            for one in part:
                if not one.written.done():
                    one.written.set_result(None)

    async def _probe(self) -> None:
        """Find out whether both chains can be written, and report it."""
        for chain in self._chains.values():
            try:
                await self._in_thread(partial(chain.append, []))
            except OSError as error:
                self._fail(chain, error)
                return
        self._component.recover()

    def _fail(self, chain: ChainFiles, error: OSError) -> None:
        _LOG.warning("audit log not written", extra={"error": error.strerror})
        self._component.fail(
            "AuditLogNotWritten",
            f"{chain.path} cannot be written ({error.strerror}): {self._lost} requests are not in"
            " it, and nothing is changed meanwhile; move away what has its name, or give it room",
        )

    def _tend(self) -> None:
        for chain in self._chains.values():
            with suppress(OSError):  # `append` tells what does not work
                chain.seal()
                chain.tidy()

    async def _in_thread[T](self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _close(self) -> None:
        if self._writing is not None:
            await asyncio.wait({self._writing})
        await self._in_thread(self._tend)
        self._thread.shutdown()
