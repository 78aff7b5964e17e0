"""The demo follows the API's objects, and looks at the machine before it starts anything."""

import asyncio
from pathlib import Path

import pytest
from tests.support.cli.demo_progress import base, build
from tests.unit.cli.conftest import FakeClient

from upwell.api.builds.build import Build
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.demo.observed import Observed
from upwell.cli.demo.preflight import preflight


async def test_changes_reach_who_waits_for_them() -> None:
    observed = Observed()
    async with FakeClient() as client, observed.following(client):
        waiting = asyncio.create_task(
            observed.until(lambda: len(observed.builds("gate")) == 2, 5, "there are no builds")
        )
        await client.create(base())
        for number in (2, 1):
            await client.create(build("gate", number, 0))
        await waiting
        assert [found.name for found in observed.builds("gate")] == ["gate-1", "gate-2"]

        await client.delete(Build, "default", "gate-1")
        await observed.until(lambda: len(observed.builds("gate")) == 1, 5, "it is there")


async def test_who_waits_in_vain_is_told_what_for() -> None:
    with pytest.raises(CommandError, match=r"no builds after 0\.01 s") as caught:
        await Observed().until(lambda: False, 0.01, "no builds")
    assert caught.value.exit_code == Exit.TIMEOUT


async def test_something_outside_the_api_can_end_the_wait() -> None:
    observed, answers = Observed(), list[str]()
    waiting = asyncio.create_task(observed.until(lambda: bool(answers), 5, "no answer"))
    await asyncio.sleep(0)
    answers.append("here")
    await observed.touch()
    await waiting


async def test_the_preflight_names_every_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(CommandError) as caught:
        await preflight(tmp_path)
    for package in ("mmdebstrap", "docker-registry", "runc"):
        assert f"apt install {package}" in caught.value.message
    assert not (tmp_path / "containers.conf").exists()
