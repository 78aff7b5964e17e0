"""Scripts that a person would type, and the processor time that each takes."""

import asyncio
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.benchmarks.processor_time import measured


async def timed(script: str, work: Path, environment: Mapping[str, str] | None = None) -> float:
    """Run a script of sh in `work`; return the processor seconds of all that it started.

    Fails when a command of it fails.
    """
    process = await asyncio.to_thread(
        subprocess.Popen,
        measured("sh", "-ec", script),
        cwd=work,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = await asyncio.to_thread(os.wait4, process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, script
    return usage.ru_utime + usage.ru_stime
