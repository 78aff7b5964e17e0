"""Processor time of commands: run with `pytest -m benchmark -s tests/benchmarks`."""

import os
import resource
import subprocess
import sys

import pytest
from tests.support.benchmarks.ratios import Ratios

pytestmark = pytest.mark.benchmark

COMMANDS = ("--help", "get pods", "status", "describe pod/a", "logs pod/a", "start-build a")
TURNS = 5


def _seconds(*arguments: str) -> float:
    """Run Python with `arguments`; return its processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Nobody listens there: what is measured is the way to the first request.
    environment = {**os.environ, "UPWELL_SERVER": "http://127.0.0.1:1"}
    subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_processor_time_of_commands(ratios: Ratios) -> None:
    empty = [_seconds("-c", "pass")]
    least = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(TURNS):
        empty.append(_seconds("-c", "pass"))
        for command in COMMANDS:
            least[command] = min(least[command], _seconds("-m", "upwell", *command.split()))

    for command, seconds in least.items():
        ratio = seconds / min(empty)
        sys.stdout.write(f"\n{command}: {seconds * 1000:.0f} ms, {ratio:.1f} empty programs\n")
        ratios.note_cost(f"start of upwell {command}, processor of an empty program", ratio)
