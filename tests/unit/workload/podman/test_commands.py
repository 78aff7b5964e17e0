"""Sessions of commands whose end Podman refuses at first: they are ended all the same."""

import asyncio
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, override

from tests.support.workload.waiting import eventually

from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.podman.api.client import PodmanApi, PodmanNotFoundError
from upwell.workload.podman.api.commands import ContainerCommands

if TYPE_CHECKING:
    from upwell.workload.podman.api.service import PodmanService


class UnwillingPodman(PodmanApi):
    """Podman that does not answer to so many removals of sessions."""

    def __init__(self, hangs: int) -> None:
        super().__init__(cast("PodmanService", None))
        self.hangs = hangs
        self.starts = 1
        self._numbers = itertools.count()
        self.sessions: set[str] = set()

    @property
    @override
    def service_starts(self) -> int:
        return self.starts

    @override
    async def prepare(self, container: str, body: Mapping[str, Any]) -> str:
        session = f"/exec/{next(self._numbers)}"
        self.sessions.add(session)
        return session

    @override
    async def remove_session(self, session: str, *, by_force: bool = False) -> None:
        if self.hangs:
            self.hangs -= 1
            raise RuntimeUnavailableError("podman does not answer")
        if session not in self.sessions:
            raise PodmanNotFoundError(session)
        self.sessions.remove(session)


async def test_a_session_that_could_not_be_ended_is_ended_later(tmp_path: Path) -> None:
    podman = UnwillingPodman(hangs=2)
    commands = ContainerCommands(podman, tmp_path / "commands")
    running = asyncio.create_task(commands.run())
    async with commands.session("web", {}):
        assert len(list((tmp_path / "commands").iterdir())) == 1
    assert podman.sessions

    async def left() -> tuple[int, int]:
        return len(podman.sessions), len(list((tmp_path / "commands").iterdir()))

    await eventually(left, (0, 0).__eq__)
    running.cancel()


async def test_a_session_that_is_wanted_is_left_alone_and_one_of_an_earlier_server_is_not(
    tmp_path: Path,
) -> None:
    podman = UnwillingPodman(hangs=0)
    podman.sessions = {"/exec/earlier", "/exec/administrators"}
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "earlier").touch()
    commands = ContainerCommands(podman, tmp_path / "commands")
    async with commands.session("web", {}) as wanted:
        running = asyncio.create_task(commands.run())

        async def left() -> set[str]:
            return set(podman.sessions)

        await eventually(left, {"/exec/administrators", wanted}.__eq__)
    assert podman.sessions == {"/exec/administrators"}
    running.cancel()


async def test_a_session_whose_output_is_cut_off_ends_though_its_caller_does_not_see_it(
    tmp_path: Path,
) -> None:
    podman = UnwillingPodman(hangs=0)
    commands = ContainerCommands(podman, tmp_path / "commands")
    running = asyncio.create_task(commands.run())
    async with commands.session("web", {}) as cut:
        podman.starts += 1
        async with commands.session("web", {}) as anew:

            async def left() -> set[str]:
                return set(podman.sessions)

            assert cut != anew
            await eventually(left, {anew}.__eq__)
    running.cancel()


async def test_commands_run_where_nothing_can_be_noted(tmp_path: Path) -> None:
    (tmp_path / "commands").write_text("no folder")
    podman = UnwillingPodman(hangs=0)
    async with ContainerCommands(podman, tmp_path / "commands").session("web", {}):
        assert podman.sessions
    assert not podman.sessions
