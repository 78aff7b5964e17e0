"""Limits of `make attacks`: what is beyond them is told."""

import asyncio
import sys

import pytest
from tests.support.attacks import measurement
from tests.support.attacks.attacks import Target
from tests.support.attacks.measurement import AttackMeasurement, attacked


def measured(peak: float, *seconds: float) -> AttackMeasurement:
    return AttackMeasurement(100.0, peak, list(seconds))


def test_what_is_within_the_limits_is_no_excess() -> None:
    assert measured(164.0, *[0.01] * 98, 0.25, 9.0).excesses(64, 250) == []


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (measured(165.0, 0.01), "65 MiB above idle: at most 64"),
        (measured(100.0, *[0.01] * 98, 0.26, 0.26), "p99 260 ms: at most 250"),
        (measured(100.0), "no request was answered"),
    ],
)
def test_what_is_beyond_a_limit_is_told(found: AttackMeasurement, message: str) -> None:
    assert found.excesses(64, 250) == [message]


@pytest.mark.parametrize("code", [0, 1])
async def test_an_attack_that_ends_is_none(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    async def start(_target: Target, _names: list[str]) -> asyncio.subprocess.Process:
        script = f"raise SystemExit({code})"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
        await process.wait()
        return process

    monkeypatch.setattr(measurement, "_start", start)
    monkeypatch.setattr(measurement, "memory_mib", lambda _: 1.0)
    with pytest.raises(AssertionError, match="ended by itself"):
        async with attacked(Target("127.0.0.1", 1), 1, ["early"]):
            pass
