"""HAProxy's master CLI (management manual, 9.4): commands to the master and to its workers."""

import asyncio
import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from upwell.machine.sockets.listeners import ask_listener
from upwell.router.interface import RouterUnavailableError

_ANSWER_SECONDS = 30.0
_WORKER_SECONDS = 2.0
"""A worker that lives answers within milliseconds."""
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_COMMANDS_AT_ONCE = 20
"""Keeps a line well below the 16 KiB that HAProxy reads (tune.bufsize)."""
_OUT_OF_SERVICE = 0x01 | 0x02 | 0x08 | 0x10 | 0x20
"""srv_admin_state: maintenance or drain, by command, inherited or for want of an address."""
_STATE_FIELDS = 19
_FRONTENDS = 1
_SERVERS = 4


@dataclass(frozen=True, slots=True)
class HaproxyServer:
    """A server as a worker has it."""

    address: str
    port: int
    serving: bool
    """True if it gets new requests."""


class HaproxyCli:
    """Talks to the master on its socket; each command is one short connection."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def ask(self, command: str) -> str:
        """Send one line and return all that is answered; raises RouterUnavailableError."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(command.encode() + b"\n")
                    writer.write_eof()
                    return await _read_all(reader)
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            why = str(error) or "no answer"
            raise RouterUnavailableError(f"haproxy at {self._socket}: {why}") from error

    async def command(self, lines: Sequence[str]) -> str:
        """Send commands to the present worker, in order, and return what it said to them."""
        said = []
        for start in range(0, len(lines), _COMMANDS_AT_ONCE):
            batch = lines[start : start + _COMMANDS_AT_ONCE]
            said.append(await self.ask(";".join(f"@1 {line}" for line in batch)))
        return " ".join(" ".join(said).split())

    async def master(self) -> int | None:
        """Return the process ID of the master; None unless it answers at once."""
        try:
            answer = await self._ask_beside("show proc", _WORKER_SECONDS)
        except (RouterUnavailableError, TimeoutError):
            return None
        return next(iter(_pids(answer, "master")), None)

    async def ping(self, seconds: float = _WORKER_SECONDS) -> Sequence[int]:
        """Return the process IDs of the master and of the present worker, which both answer.

        Raises RouterUnavailableError, or TimeoutError after so many seconds of silence.
        """
        answer = await self._ask_beside("show proc;@1 show version", seconds)
        masters, workers = _pids(answer, "master"), _pids(answer, "worker")
        if not masters or not workers or not answer.strip().splitlines()[-1].strip():
            raise RouterUnavailableError(f"{self._socket} has no HAProxy master with a worker")
        return masters[0], workers[0]

    async def _ask_beside(self, command: str, seconds: float) -> str:
        """Ask in a thread whether HAProxy lives: the event loop's delay would be taken for its own.

        Under load, thousands of other connections have their turn before the answer is read.
        """
        sent = command.encode() + b"\n"
        try:
            answer = await asyncio.to_thread(ask_listener, self._socket, sent, seconds, is_all=True)
        except TimeoutError:
            raise
        except OSError as error:
            raise RouterUnavailableError(f"haproxy at {self._socket}: {error}") from error
        return answer.decode(errors="replace")

    async def workers(self) -> Sequence[int]:
        """Return the process IDs of all workers, the present one first, then those that drain."""
        return _pids(await self.ask("show proc"), "worker")

    async def fingerprint(self) -> str:
        """Return the description in the configuration that the present worker has loaded."""
        for line in (await self.ask("@1 show info")).splitlines():
            name, _, value = line.partition(": ")
            if name == "description":
                return value
        return ""

    async def reload(self) -> str:
        """Load the file anew, and return why that failed, or nothing."""
        answer = await self.ask("reload")
        return "" if answer.startswith("Success=1") else answer.partition("--\n")[2].strip()

    async def servers(self) -> dict[tuple[str, str], HaproxyServer]:
        """Return the present worker's servers by (proxy, name)."""
        found = {}
        for line in (await self.ask("@1 show servers state")).splitlines():
            fields = line.split()
            if len(fields) < _STATE_FIELDS or fields[0] == "#":
                continue
            serving = not int(fields[6]) & _OUT_OF_SERVICE
            found[fields[1], fields[3]] = HaproxyServer(fields[4], int(fields[18]), serving)
        return found

    async def frontends(self) -> set[str]:
        """Return the names of the present worker's frontends."""
        return {row["# pxname"] for row in await self._statistics("@1", _FRONTENDS)}

    async def sessions(self, is_wanted: Callable[[str], bool]) -> dict[str, int]:
        """Return the open sessions by server of the wanted proxies, over all workers together."""
        total: dict[str, int] = {}
        for pid in await self.workers():
            for row in await self._statistics_of(pid):
                if is_wanted(row["# pxname"]):
                    total[row["svname"]] = total.get(row["svname"], 0) + int(row["scur"] or 0)
        return total

    async def _statistics_of(self, pid: int) -> list[dict[str, str]]:
        """Return what one worker says of its servers; one that ends meanwhile has no sessions.

        The master hands a command to a worker that is ending, and then nobody answers.
        """
        try:
            async with asyncio.timeout(_WORKER_SECONDS):
                return await self._statistics(f"@!{pid}", _SERVERS)
        except (TimeoutError, RouterUnavailableError) as error:
            if pid in await self.workers():
                why = f"haproxy worker {pid} gives no answer"
                raise RouterUnavailableError(why) from error
            return []

    async def _statistics(self, worker: str, kind: int) -> list[dict[str, str]]:
        answer = await self.ask(f"{worker} show stat -1 {kind} -1")
        return [row for row in csv.DictReader(io.StringIO(answer)) if row.get("svname")]


def _pids(answer: str, kind: str) -> list[int]:
    """Return the process IDs of one kind that `show proc` has listed, in its order."""
    rows = (line.split() for line in answer.splitlines())
    return [int(row[0]) for row in rows if row[1:2] == [kind]]


async def _read_all(reader: asyncio.StreamReader) -> str:
    answer = bytearray()
    while chunk := await reader.read(64 * 1024):
        answer += chunk
        if len(answer) > _MAX_ANSWER_BYTES:
            raise RouterUnavailableError(f"haproxy answered over {_MAX_ANSWER_BYTES} bytes")
    return answer.decode(errors="replace")
