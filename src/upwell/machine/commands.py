"""Runs a short command to learn something about the machine."""

import asyncio
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE, STDOUT

_MAX_OUTPUT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command said on both streams, and its exit code; 127 when it is not there."""

    code: int
    text: str


async def run(*argv: str, seconds: float = 10.0) -> CommandResult:
    """Run `argv`; a command that is missing or takes longer than `seconds` is an answer too."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True
        )
    except OSError as error:
        return CommandResult(127, f"{argv[0]}: {error.strerror}")
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
        return CommandResult(
            process.returncode or 0, output[:_MAX_OUTPUT_BYTES].decode(errors="replace")
        )
    except TimeoutError:
        return CommandResult(124, f"{argv[0]} took more than {seconds:g} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
