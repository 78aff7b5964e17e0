"""Space is freed while a disk is nearly full: uploads soon, the rest by the rules of pruning."""

import asyncio
from pathlib import Path

import pytest
from tests.support.component_reports import running

from upwell.app import cleanup
from upwell.app.cleanup import free_space
from upwell.machine.components import Components
from upwell.machine.disk import DiskFault
from upwell.registry.embedded import EmbeddedRegistry


async def test_uploads_that_become_idle_under_pressure_go_before_the_next_pruning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_again, done = asyncio.Event(), list[str]()

    async def drop_idle_uploads(_: EmbeddedRegistry) -> int:
        done.append("uploads")
        if done.count("uploads") == 3:
            looked_again.set()
        return 0

    async def prune() -> None:
        done.append("pruning")

    monkeypatch.setattr(cleanup, "_UPLOADS_SECONDS", 0.001)
    monkeypatch.setattr(EmbeddedRegistry, "drop_idle_uploads", drop_idle_uploads)
    components = Components()
    components.add("storage").fail(DiskFault.FULL, "full")
    async with running(free_space(components, EmbeddedRegistry(tmp_path, "registry.test"), prune)):
        async with asyncio.timeout(30):
            await looked_again.wait()

    assert done[:4] == ["uploads", "pruning", "uploads", "uploads"]
