"""Sessions of commands whose end Podman refuses at first: they are ended all the same."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, override

import pytest
from tests.support.workload.waiting import eventually

from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.commands import ContainerCommands
from upwell.workload.podman.api.connection import PodmanNotFoundError

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
        self.answering = asyncio.Event()
        """Removals wait for it."""
        self.answering.set()

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
        await self.answering.wait()
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


async def test_closing_waits_for_commands_that_their_callers_have_left(tmp_path: Path) -> None:
    podman = UnwillingPodman(hangs=0)
    commands = ContainerCommands(podman, tmp_path / "commands")

    async def probe() -> None:
        async with commands.session("web", {}):
            await asyncio.Event().wait()

    probing = asyncio.create_task(probe())
    await eventually(_number_of(podman), (1).__eq__)
    podman.answering.clear()
    probing.cancel()
    await asyncio.sleep(0)
    probing.cancel()  # while its command is being ended
    await asyncio.wait({probing})
    assert podman.sessions

    closing = asyncio.create_task(commands.close())
    await asyncio.sleep(0)
    assert not closing.done()
    podman.answering.set()
    await closing
    assert not podman.sessions


async def test_closing_gives_up_what_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.workload.podman.api.commands._LEAVE_SECONDS", 0.01)
    podman = UnwillingPodman(hangs=0)
    podman.answering.clear()
    commands = ContainerCommands(podman, tmp_path / "commands")

    async def probe() -> None:
        async with commands.session("web", {}):
            pass

    probing = asyncio.create_task(probe())
    await eventually(_number_of(podman), (1).__eq__)
    probing.cancel()
    await asyncio.wait({probing})

    await commands.close()

    assert [one.name for one in (tmp_path / "commands").iterdir()] == ["0"]  # for the next server


def _number_of(podman: UnwillingPodman) -> Callable[[], Awaitable[int]]:
    async def number() -> int:
        return len(podman.sessions)

    return number


async def test_commands_run_where_nothing_can_be_noted(tmp_path: Path) -> None:
    (tmp_path / "commands").write_text("no folder")
    podman = UnwillingPodman(hangs=0)
    async with ContainerCommands(podman, tmp_path / "commands").session("web", {}):
        assert podman.sessions
    assert not podman.sessions
