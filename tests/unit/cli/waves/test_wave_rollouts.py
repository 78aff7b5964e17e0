"""`upwell wave` of a Wave in which some workloads go first, and which is stopped then."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.unit.cli.conftest import NEW, NOW, OLD

from upwell.api.meta import ObjectMeta
from upwell.api.waves.wave import (
    HeldObject,
    Wave,
    WaveCanary,
    WaveObject,
    WavePhase,
    WaveSpec,
    WaveStatus,
    WaveStop,
)

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

NAME = "debian-11-0123456789ab"


@pytest.fixture(autouse=True)
async def _wave(fixed: "FakeClient") -> None:
    """Have a Wave that was stopped."""
    spec = WaveSpec(image="vendor.test/debian:11", digest=NEW, previous=OLD)
    wave = await fixed.create(Wave(metadata=ObjectMeta(name=NAME), spec=spec))
    first = WaveObject(kind="Deployment", namespace="prod", name="web")
    failure = HeldObject(kind="Deployment", namespace="prod", name="web", reason="it exited 1\nlog")
    stop = WaveStop(
        stopped=NOW + timedelta(minutes=2), message="3 of 4 failed", failures=(failure,)
    )
    canary = WaveCanary(workloads=(first,), message="web has failed")
    status = WaveStatus(phase=WavePhase.STOPPED, canary=canary, stop=stop)
    await fixed.update_status(wave.with_status(status))


def test_describe_names_who_goes_first_and_what_failed(upwell: Upwell) -> None:
    lines = upwell("wave", "describe", NAME, "--packages=none").stdout.splitlines()
    assert "  prod/web go first:" in lines
    assert "    0 of 1 healthy; web has failed" in lines
    assert "  stopped 3m ago: 3 of 4 failed" in lines
    assert "    ! Deployment prod/web: it exited 1" in lines


def test_who_lets_a_stopped_wave_go_on_says_why(upwell: Upwell, fixed: "FakeClient") -> None:
    def spec() -> WaveSpec:
        return asyncio.run(fixed.get(Wave, "", NAME)).spec

    refused = upwell("wave", "resume", NAME)
    assert refused.exit_code != 0
    assert "--reason" in refused.stderr
    assert not spec().resumed
    assert upwell("wave", "resume", NAME, "--reason", "known").exit_code == 0
    assert (spec().resumed, spec().reason) == (True, "known")
