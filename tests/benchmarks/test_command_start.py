"""Processor time of commands: run with `pytest -m benchmark -s tests/benchmarks`."""

import os
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.installation import installation

pytestmark = pytest.mark.benchmark

COMMANDS = ("--help", "get pods", "status", "describe pod/a", "logs pod/a", "start-build a")
TURNS = 9
EMPTY = "an empty Python program"
FLOOR = "asyncio with TLS, and one request"
"""Least that a program of Python takes to ask a server."""
_FLOOR_CODE = """
import asyncio, ssl, sys
async def ask(host, port, token):
    reader, writer = await asyncio.open_connection(host, port)
    head = f"GET /api/v1/namespaces/default/pods HTTP/1.1\\r\\nHost: {host}\\r\\n"
    writer.write(f"{head}Authorization: Bearer {token}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    writer.close()
asyncio.run(ask(*sys.argv[1:]))
"""


def _seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    """Run a program; return its processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


async def test_processor_time_of_commands(ratios: Ratios, tmp_path: Path) -> None:
    async with installation() as made:
        access = {"UPWELL_SERVER": made.url, "UPWELL_TOKEN": made.token, "HOME": str(tmp_path)}
        environment = {**os.environ, **access}
        python = sys.executable
        programs = {
            EMPTY: [python, "-c", "pass"],
            FLOOR: [python, "-c", _FLOOR_CODE, "127.0.0.1", str(made.port), made.token],
            **{command: [python, "-m", "upwell", *command.split()] for command in COMMANDS},
        }
        if kubectl := shutil.which("kubectl"):
            access_of_kubectl = ("--server", made.url, "--token", made.token)
            programs["kubectl get pods"] = [kubectl, *access_of_kubectl, "get", "pods"]
        took: dict[str, list[float]] = {name: [] for name in programs}
        for turn in range(TURNS + 1):
            for name, program in programs.items():
                seconds = _seconds(program, environment)
                if turn:  # the first one writes what Python compiles
                    took[name].append(seconds)

    empty = statistics.median(took[EMPTY])
    for name, found in took.items():
        low, middle, high = statistics.quantiles(found)
        sys.stdout.write(
            f"\n{name}: {middle * 1000:.0f} ms ({low * 1000:.0f} to {high * 1000:.0f}),"
            f" {middle / empty:.1f} empty programs"
        )
        if name in COMMANDS:
            title = f"start of upwell {name}, processor of an empty program"
            ratios.note_cost(title, middle / empty)
    if kubectl:
        both = zip(took["get pods"], took["kubectl get pods"], strict=True)
        ratio = statistics.median(ours / theirs for ours, theirs in both)
        sys.stdout.write(f"\nupwell get pods takes {ratio:.2f} of kubectl's")
        ratios.note_cost("upwell get pods, processor of kubectl", ratio)
