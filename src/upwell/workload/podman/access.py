"""Access to what runs in instances: commands, logs, files, connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from upwell.machine.clock import PROCESS_CLOCK
from upwell.machine.tasks import closing
from upwell.workload.errors import RuntimeUnavailableError, UnreadableFilesError
from upwell.workload.interface import (
    WHOLE_LOG,
    ContainerFile,
    ExecSession,
    FileLimits,
    InstanceCommand,
    LogQuery,
)
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.commands import ContainerCommands
from upwell.workload.podman.api.connection import PodmanNotFoundError, must_find
from upwell.workload.podman.api.execution import attachment, conversation, execution_body
from upwell.workload.podman.containers.facts import ContainerFacts
from upwell.workload.podman.containers.files import collect
from upwell.workload.podman.instance_network import connect_inside
from upwell.workload.podman.listing import ContainerListing
from upwell.workload.podman.previous_logs import PreviousLogs
from upwell.workload.podman.records import RecordStore


@dataclass(frozen=True, slots=True)
class InstanceAccess:
    """Reaches into containers that are there; starts and stops none."""

    _api: PodmanApi
    _listing: ContainerListing
    _records: RecordStore
    _commands: ContainerCommands
    _previous: PreviousLogs

    async def execute(
        self, name: str, command: tuple[str, ...], container: str = ""
    ) -> tuple[int, bytes]:
        """Run a command in a container; returns its exit code and the start of its output.

        Raises RuntimeUnavailableError when there is no such container, or it does not run.
        """
        chosen = await self._container(name, container)
        return await must_find(self._commands.execute(chosen.id, command))

    async def logs(
        self, name: str, container: str = "", wanted: LogQuery = WHOLE_LOG
    ) -> AsyncIterator[bytes]:
        """Yield the log of an instance's container (the first when no name is given)."""
        chosen = await self._container(name, container)
        if wanted.previous:
            pieces = self._previous.read(name, chosen.name, wanted)
        else:
            pieces = self._api.logs(chosen.id, wanted)
        async with closing(pieces):
            async for piece in pieces:
                yield piece

    async def read_files(
        self, name: str, path: str, limits: FileLimits, container: str = ""
    ) -> Sequence[ContainerFile]:
        """Return a file, or all below a folder, of a container; raises UnreadableFilesError."""
        chosen = await self._container(name, container)
        async with contextlib.aclosing(self._api.archive(chosen.id, path)) as pieces:
            try:
                files = await collect(pieces, limits)
            except PodmanNotFoundError as error:
                raise UnreadableFilesError(f"there is no {path} in {chosen.name}") from error
        return [replace(one, modified=PROCESS_CLOCK.placed(one.modified)) for one in files]

    @asynccontextmanager
    async def run(self, name: str, command: InstanceCommand) -> AsyncIterator[ExecSession]:
        """Run a command in an instance while the block lasts; leaving the block ends it."""
        chosen = await self._container(name, command.container)
        async with contextlib.AsyncExitStack() as stack:
            prepared = self._commands.session(chosen.id, execution_body(command))
            session = await must_find(stack.enter_async_context(prepared))
            begun = conversation(self._api, session, command, self._commands.stop)
            yield await stack.enter_async_context(begun)

    @asynccontextmanager
    async def attach(
        self, name: str, container: str = "", *, stdin: bool = False
    ) -> AsyncIterator[ExecSession]:
        """Attach to a container's own process while the block lasts; it runs on after it."""
        chosen = await self._container(name, container)
        async with attachment(self._api, chosen.id, stdin=stdin) as attached:
            yield attached

    async def connect(
        self, name: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a TCP port of an instance, as a process inside it would; the caller closes.

        Raises UnreachableError.
        """
        found = (await self._listing.observe(name)).get(name, [])
        running = [one for one in found if one.running and one.init is None]
        network = next((one.network for one in running if one.network), "")
        address = next((one.address for one in running if one.address), "")
        return await connect_inside(network, address, port)

    async def _container(self, name: str, container: str) -> ContainerFacts:
        """Return a container of an instance, without a name its first main one."""
        found = (await self._listing.observe(name)).get(name, [])
        record = self._records.load(name)
        beside = {known.name for known in record.containers if known.sidecar} if record else set()
        main = [one for one in found if one.init is None and one.name not in beside]
        for entry in found if container else main:
            if container in {"", entry.name}:
                return entry
        raise RuntimeUnavailableError(f"{name} has no container {container or 'at all'}")
