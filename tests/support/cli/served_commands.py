"""Commands that ask the real API, which is served in the test's process from memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner, Result
from tests.support.server.api_server import Api, serving

from upwell.cli import main
from upwell.cli.core.connection import Session
from upwell.server.http.limits import ServerLimits
from upwell.store.kubernetes import KubernetesStore
from upwell.store.kubernetes_connections import ServerAccess


@dataclass
class ServedCommands:
    """`upwell` in a thread of its own, with the client that users have."""

    api: Api
    reads_tables: bool = True
    """As users' commands do; else each reads the objects themselves."""

    async def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        return await asyncio.to_thread(self.run, arguments, stdin)

    async def done(self, *arguments: str, stdin: str | None = None) -> str:
        """Return what a command that succeeds prints."""
        result = await self(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    async def refused(self, code: int, *arguments: str, stdin: str | None = None) -> str:
        """Return what a command says that fails with a code."""
        result = await self(*arguments, stdin=stdin)
        assert result.exit_code == code, result.output
        return " ".join(result.stderr.split())

    def run(self, arguments: Sequence[str], stdin: str | None = None) -> Result:
        access = ServerAccess(self.api.url)
        session = Session(
            connect=lambda *_: KubernetesStore(access),
            find_access=(lambda *_: access) if self.reads_tables else None,
        )
        return CliRunner().invoke(main, arguments, obj=session, input=stdin, catch_exceptions=False)

    async def object(self, what: str) -> Any:
        """Return the JSON of an object as it is stored."""
        return json.loads(await self.done("get", what, "-o", "json"))


@asynccontextmanager
async def served_commands() -> AsyncIterator[ServedCommands]:
    async with serving(ServerLimits()) as api:
        yield ServedCommands(api)
