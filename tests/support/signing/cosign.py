"""cosign itself, as a process with a home of its own."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Cosign:
    """The program, at work in `folder`."""

    program: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    async def run(self, *arguments: str) -> str:
        """Return what it prints; fails with that unless it succeeds."""
        process = await asyncio.create_subprocess_exec(
            self.program,
            *arguments,
            cwd=self.folder,
            env={
                **os.environ,
                "COSIGN_PASSWORD": "",
                "HOME": str(self.folder),
                **self.environment,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()


def cosign_in(folder: Path, **environment: str) -> Cosign:
    """Return the program; skips the test where it is not installed."""
    program = shutil.which("cosign")
    if program is None:
        pytest.skip("needs cosign: apt install cosign")
    return Cosign(program, folder, environment)
