"""A service that refuses connections: whoever tries again holds up nobody."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.podman.api.client import PodmanApi

if TYPE_CHECKING:
    from upwell.workload.podman.api.service import PodmanService


@dataclass
class GoneService:
    socket: Path
    starts: int = 1

    async def ensure(self) -> None:
        """Claim that it runs."""


async def test_a_refused_connection_lets_others_have_their_turn(tmp_path: Path) -> None:
    api = PodmanApi(cast("PodmanService", GoneService(tmp_path / "gone.sock")))
    turns = 0

    async def work_beside() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(work_beside())
    for _ in range(20):
        with pytest.raises(RuntimeUnavailableError):
            await api.containers("id")
    beside.cancel()
    await api.close()
    assert turns >= 20
