"""The process in a build's Pod: takes its input, builds, and leaves the result as its message."""

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from upwell.builder.interface import (
    BUILDER_KILLED,
    BuildError,
    BuildLimits,
    BuildPlan,
    BuildResult,
    RegistryLogin,
)
from upwell.builder.kubernetes.documents import (
    PodInput,
    RegistryFiles,
    encode_error,
    encode_result,
)
from upwell.builder.kubernetes.handover import READY, InputReceiver
from upwell.machine.process import LogSink


class PodBuilder(Protocol):
    """Builder of the one build of a Pod."""

    async def build(self, plan: BuildPlan, log: LogSink) -> BuildResult:
        """Build and push; raises BuildError."""
        ...

    def renew_logins(self, build_id: str, logins: Sequence[RegistryLogin]) -> None:
        """Use other logins from now on for what a running build pulls and pushes."""
        ...


@dataclass(frozen=True, slots=True)
class PodFolders:
    """Folders of a Pod: for its build, for its input in memory, and the file of its last word."""

    work: Path
    input: Path
    message: Path

    @property
    def registries_conf(self) -> Path:
        """The file with the settings of registries, once there is an input."""
        return self.input / "registries.conf"

    @property
    def authorities(self) -> Path:
        """The folder of certificate authorities, once there is an input."""
        return self.input / "authorities"


class PodBuild:
    """The build of a Pod."""

    def __init__(self, folders: PodFolders, builder: PodBuilder, log: LogSink) -> None:
        self._folders = folders
        self._builder = builder
        self._log = log
        self._plan: BuildPlan | None = None
        self._source = folders.work / "source"
        self._runs = False

    async def run(self) -> int:
        """Build what is handed over; return the exit code.

        When it is cancelled, it leaves no message: whoever deletes the Pod asks for none.
        """
        receiver = InputReceiver(self._folders.input, self._source, self._take)
        serving = asyncio.create_task(receiver.serve(lambda: self._log(READY + b"\n")))
        waiting = asyncio.create_task(receiver.complete.wait())
        try:
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
            return await self._build()
        finally:
            for task in (serving, waiting):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await serving

    def _take(self, given: PodInput) -> bool:
        """Take an input; a later one, of a server that has come back, brings logins that hold."""
        plan = given.plan
        if self._runs:
            self._builder.renew_logins(plan.id, plan.logins)
            return False
        self._write_settings(given.registries)
        self._plan = plan
        return not self._source.exists()

    def _write_settings(self, registries: RegistryFiles) -> None:
        self._folders.registries_conf.write_text(registries.conf)
        shutil.rmtree(self._folders.authorities, ignore_errors=True)
        self._folders.authorities.mkdir()
        for number, authority in enumerate(registries.authorities):
            (self._folders.authorities / f"{number}.pem").write_bytes(authority)

    async def _build(self) -> int:
        if self._plan is None:
            raise RuntimeError("the input is complete without a plan")
        plan = self._plan
        if plan.context is not None:
            plan = replace(plan, context=self._source)
        self._runs = True
        try:
            # The Pod has the deadline and the limits: here the one would begin anew.
            inside = replace(plan, deadline_seconds=None, limits=BuildLimits(pids=plan.limits.pids))
            result = await self._builder.build(inside, self._log)
        except BuildError as error:
            failure = _attributed(error, plan)
            self._log(f"{failure.reason}: {failure}\n".encode())
            self._folders.message.write_text(encode_error(failure))
            return 1
        self._folders.message.write_text(encode_result(result))
        return 0


def _attributed(error: BuildError, plan: BuildPlan) -> BuildError:
    """Return the error as it counts: the Pod's limit of memory kills single commands too."""
    if error.reason != BUILDER_KILLED or plan.limits.memory_bytes is None:
        return error
    message = (
        f"The build was killed at its memory limit of {plan.limits.memory_bytes} bytes:"
        " spec.resources.limits.memory of the BuildConfig sets another."
    )
    return BuildError("OutOfMemoryKilled", message)
