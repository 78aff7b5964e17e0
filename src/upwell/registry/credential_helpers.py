"""Credential helpers: `docker-credential-NAME get`, a child process (docker-credential-helpers)."""

import asyncio
import json
import os
import re
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from upwell.machine.process import start_group
from upwell.oci.registry_names import DOCKER_HUB
from upwell.registry.errors import InvalidCredentialsError
from upwell.registry.interface import Credential

MAX_OUTPUT_BYTES = 64 * 1024
_HUB_SERVER = "https://index.docker.io/v1/"
_IDENTITY = "<token>"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOT_FOUND = b"credentials not found"


@dataclass(frozen=True, slots=True)
class _Answer:
    credential: Credential | None = field(repr=False)
    until: float


class CredentialHelpers:
    """Runs helpers, at most `timeout` seconds each, and keeps their answers for `keep` seconds."""

    def __init__(
        self,
        timeout: float = 10.0,
        keep: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._keep = keep
        self._clock = clock
        self._answers: dict[tuple[str, str], _Answer] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def get(self, helper: str, registry: str) -> Credential | None:
        """Return what `helper` holds for `registry`, None if nothing.

        Raises InvalidCredentialsError naming the helper, never what it printed.
        """
        if _NAME.fullmatch(helper) is None:
            raise InvalidCredentialsError(f"helper {helper!r}", "not the name of a helper")
        key = (helper, registry)
        async with self._locks.setdefault(key, asyncio.Lock()):  # one process, many askers
            answer = self._answers.get(key)
            if answer is None or answer.until <= self._clock():
                credential = await self._run(f"docker-credential-{helper}", registry)
                answer = _Answer(credential, self._clock() + self._keep)
                self._answers[key] = answer
        return answer.credential

    async def _run(self, program: str, registry: str) -> Credential | None:
        server = _HUB_SERVER if registry == DOCKER_HUB else registry
        try:
            process = await start_group(program, "get", stdin=PIPE, errors=DEVNULL)
        except OSError as error:
            raise InvalidCredentialsError(program, error.strerror or "cannot be run") from error
        try:
            async with asyncio.timeout(self._timeout):
                output = await _converse(process, server.encode())
                code = 0 if len(output) > MAX_OUTPUT_BYTES else await process.wait()
        except TimeoutError:
            why = f"no answer within {self._timeout:g} s"
            raise InvalidCredentialsError(program, why) from None
        finally:
            if process.returncode is None or not _stdout(process).at_eof():
                await asyncio.shield(_stop(process))
        if len(output) > MAX_OUTPUT_BYTES:
            raise InvalidCredentialsError(program, f"it printed over {MAX_OUTPUT_BYTES} bytes")
        if code != 0:
            if _NOT_FOUND in output:
                return None
            raise InvalidCredentialsError(program, f"it ended with exit code {code}")
        return _parse(output, program)


async def _converse(process: Process, question: bytes) -> bytes:
    """Write the question, read the answer up to just over the limit."""
    if process.stdin is not None:
        with suppress(BrokenPipeError, ConnectionResetError):  # ended unread; its exit says why
            process.stdin.write(question)
            await process.stdin.drain()
        process.stdin.close()
    output = b""
    while len(output) <= MAX_OUTPUT_BYTES and (chunk := await _stdout(process).read(8192)):
        output += chunk
    return output


def _stdout(process: Process) -> asyncio.StreamReader:
    if process.stdout is None:
        raise AssertionError("stdout was asked for as a pipe")
    return process.stdout


async def _stop(process: Process) -> None:
    """Kill the helper with all that it started, and read on to the end, which closes the pipe."""
    with suppress(ProcessLookupError):  # it has just ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):  # a child that left the group may hold the pipe open
        async with asyncio.timeout(1):
            while await _stdout(process).read(65536):
                pass
    await process.wait()


def _parse(output: bytes, program: str) -> Credential:
    try:
        answer = json.loads(output)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, TypeError, KeyError, RecursionError):
        why = "it did not print an object with Username and Secret"
        raise InvalidCredentialsError(program, why) from None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise InvalidCredentialsError(program, "its Username or Secret is not text")
    if username == _IDENTITY:
        return Credential(identity_token=secret)
    return Credential(username, secret)
