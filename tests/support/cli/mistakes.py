"""Mistakes of people at the command line, and what each is told.

`python -m tests.support.cli.mistakes` writes `MISTAKES`, a text in which each command stands with
its answer; a test compares. The commands ask the real API, which is served here from memory.
"""

import asyncio
import os
import re
import shlex
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from unittest.mock import patch

from click.testing import CliRunner
from tests.support.cli import mistaken_places, mistaken_states
from tests.support.cli.command_process import run_upwell
from tests.support.cli.mistaken_commands import GROUPS, OBJECTS, SERVED, Mistake
from tests.support.cli.mistaken_places import PLACES
from tests.support.cli.mistaken_states import ASKED_AT, STATES
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.server.api_server import Api, ApiClock, serving
from tests.support.server.audit_logs import audit_log

from upwell.api.codec import decode
from upwell.api.defaults import apply_defaults
from upwell.api.meta import Resource
from upwell.app.server_access import server_access
from upwell.cli import main
from upwell.cli.core.connection import DEFAULT_SERVER, Session
from upwell.machine import clock
from upwell.machine.databases import next_step
from upwell.policy.access.roles import parse_grant
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.tokens import RegistryTokens, TokenRecord, Tokens, hash_of, own_token
from upwell.server.http.limits import ServerLimits
from upwell.store.interface import UnavailableError
from upwell.store.kubernetes import KubernetesStore
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.process_lock import ProcessLock

if TYPE_CHECKING:
    from upwell.store.memory import MemoryStore

MISTAKES = ROOT / "tests" / "unit" / "cli" / "core" / "mistakes.txt"
ADMIN, READER = "upwell_admin_" + "a" * 43, "upwell_reader_" + "b" * 43
_SECONDS = 60
_HEAD = """\
Mistakes at the command line, each with its answer and its exit code.
Made by `python -m tests.support.cli.mistakes`; a change of it is a change of what people are told.
"""


@dataclass
class Desk:
    """A server with a few objects, a folder of files, and commands that are run there."""

    api: Api
    folder: Path
    free_port: int
    """At which nobody listens."""
    open_port: int
    """At which a server may listen."""

    def answer(self, mistake: Mistake) -> str:
        """Return the command with what is told, without what differs from run to run."""
        for name, text in mistake.files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        words = [self._given(word) for word in shlex.split(mistake.command)]
        output, code = self._served(words) if mistake.serves else self._asked(words, mistake)
        lines = [f"## {mistake.title}", *self._shown_files(mistake), f"$ upwell {mistake.command}"]
        lines += self._told(output).splitlines()
        return "\n".join((*lines, f"[exit {code}]", ""))

    def _served(self, words: Sequence[str]) -> tuple[str, int]:
        """Return what a process tells that is to serve."""
        done = run_upwell(*words, seconds=_SECONDS, folder=self.folder)
        return done.stdout + done.stderr, done.returncode

    def _asked(self, words: Sequence[str], mistake: Mistake) -> tuple[str, int]:
        """Return what a client of the server tells, and a line about an error that none expects."""
        session = Session(
            token=ADMIN,
            connect=lambda *given: KubernetesStore(self._access(*given)),
            find_access=self._access,
        )
        with self._full_disk() if mistake.disk_full else nullcontext():
            result = CliRunner().invoke(
                main, words, obj=session, input=mistake.stdin, prog_name="upwell"
            )
        if result.exception is None or isinstance(result.exception, SystemExit):
            return result.output, result.exit_code
        return f"{result.output}TRACEBACK {result.exception!r}", result.exit_code

    @contextmanager
    def _full_disk(self) -> Iterator[None]:
        """Have the server's store fail as SQLite's does on a full disk."""
        fault = sqlite3.OperationalError("database or disk is full")
        fault.sqlite_errorcode = sqlite3.SQLITE_FULL
        why = f"{self.folder}/upwell.db was not written: {fault}{next_step(fault)}"
        with patch.object(self.api.store, "create", side_effect=UnavailableError(why)):
            yield

    def _access(self, server: str, token: str, authority: str) -> ServerAccess:
        if server == DEFAULT_SERVER:
            return ServerAccess(self.api.url, token=token or None)
        return server_access(server, token, authority)

    def _given(self, word: str) -> str:
        host = self.api.url.removeprefix("http://")
        for name, value in (
            ("HOST:PORT", host),
            ("FREE", f"127.0.0.1:{self.free_port}"),
            ("OPEN", f"127.0.0.1:{self.open_port}"),
            ("READER", READER),
        ):
            word = word.replace(name, value)
        return word

    def _told(self, text: str) -> str:
        host = self.api.url.removeprefix("http://")
        text = text.replace(host, "HOST:PORT").replace(f"127.0.0.1:{self.free_port}", "FREE")
        text = text.replace(f"{self.folder}/", "").replace(READER, "READER")
        text = re.sub(rf"127\.0\.0\.1 port {self.free_port} after \d+ ms", "FREE", text)
        text = re.sub(r"\('127\.0\.0\.1', \d+\)", "FREE", text)
        text = text.replace(f"process {os.getpid()}", "process 4711")
        return re.sub(r"0x[0-9a-f]{6,}", "0x…", text)

    @staticmethod
    def _shown_files(mistake: Mistake) -> Iterable[str]:
        for name, text in mistake.files.items():
            if isinstance(text, str) and text.count("\n") < 14:
                yield f"{name}:"
                yield from (f"    {line}" for line in text.splitlines())


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    """Yield a server with objects, to which tokens are known."""

    def guard(store: "MemoryStore", at: ApiClock) -> AccessControl:
        tokens = Tokens(store, at, [own_token(ADMIN)], RegistryTokens())
        return AccessControl(tokens, audit_log(folder, at), None)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and never listens
        async with serving(ServerLimits(), guard=guard) as api:
            grants = tuple(map(parse_grant, ("viewer@default",)))
            record = TokenRecord("reader", hash_of(READER), grants, None)
            await api.store.create(record.as_secret())
            for document in OBJECTS:
                await api.store.create(apply_defaults(decode(document)))
            (source := folder / "source").mkdir()
            async for one in mistaken_states.objects(source):
                await _put(api.store, one)
            async for one in mistaken_places.objects(source):
                await _put(api.store, one)
            (served := folder / SERVED).mkdir(mode=0o700)
            lock = ProcessLock.acquire(served / "upwell.db.lock")
            try:
                yield Desk(api, folder, free.getsockname()[1], free_port())
            finally:
                lock.release()


async def _put(store: "MemoryStore", resource: Resource) -> None:
    """Store an object with its status."""
    metadata = resource.metadata.model_copy(update={"uid": "", "resource_version": ""})
    made = await store.create(resource.model_copy(update={"metadata": metadata}))
    if (status := getattr(resource, "status", None)) is not None:
        await store.update_status(made.with_status(status))


async def answers() -> str:
    """Return the text of all mistakes."""
    parts = [_HEAD]
    asked = patch.object(clock, "now", lambda: ASKED_AT)
    with TemporaryDirectory() as name, _inside(Path(name)), asked:
        async with desk(Path(name)) as made:
            for group in (*GROUPS, STATES, PLACES):
                told = [await asyncio.to_thread(made.answer, one) for one in group.mistakes]
                parts += [f"# {group.title}\n", *told]
    return "\n".join(parts)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Have files named relative to a folder, and no login or variable of the user's."""
    before, kept = Path.cwd(), dict(os.environ)
    for key in [one for one in os.environ if one.startswith("UPWELL_")]:
        del os.environ[key]
    os.environ |= {"XDG_CONFIG_HOME": str(folder / "config"), "COLUMNS": "100"}
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(kept)


if __name__ == "__main__":
    MISTAKES.write_text(asyncio.run(answers()))
