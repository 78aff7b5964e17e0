"""Workspace of a build, for both strategies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from upwell.builder.commands import BuildahCommands
from upwell.builder.confinement.sandbox import Sandbox
from upwell.builder.diagnosis import machine_fault, was_killed
from upwell.builder.folder import BuildFolder
from upwell.builder.interface import BUILDER_KILLED, BuildError, BuildPlan
from upwell.builder.steps.store import KeptSteps
from upwell.formats.s2i.contract import S2iError, checked_name
from upwell.machine.process import LogSink, ProcessResult
from upwell.outbound.dialing import Dialer, unrestricted


@dataclass(frozen=True, slots=True)
class Workspace:
    """One running build: its plan, folder, log and tools."""

    plan: BuildPlan
    folder: BuildFolder
    log: LogSink
    commands: BuildahCommands
    sandbox: Sandbox
    annotations: Mapping[str, str]
    step_mark: str = ""
    """Parts its steps from those of builds of other scopes; empty: they are anybody's."""
    steps: KeptSteps | None = None
    """Steps that it may find again; None: it makes them all itself, if they are not anybody's."""
    allow_local: bool = False
    """True if the plan may name paths of this machine."""
    dialer: Dialer = field(default_factory=unrestricted)
    """Connects to what the plan names."""

    def say(self, line: str) -> None:
        """Add a line of our own to the log."""
        self.log(f"{line}\n".encode())

    @property
    def context(self) -> Path:
        """The source tree, or an empty folder when the plan has none."""
        if self.plan.context is not None:
            return self.plan.context
        return self.folder.empty("empty")

    @property
    def proxies(self) -> dict[str, str]:
        """The build arguments, predefined in every Dockerfile, that tell commands of proxies."""
        return dict(self.plan.proxies.variables())

    @property
    def secret_variables(self) -> dict[str, str]:
        """The plan's variables for commands alone; raises BuildError for a name that is none."""
        try:
            return {checked_name(name): value for name, value in self.plan.secret_env}
        except S2iError as error:
            raise BuildError("GenericBuildFailed", str(error)) from error

    def check(self, outcome: ProcessResult, reason: str, what: str) -> None:
        """Raise BuildError if a build command failed; the machine's faults have own reasons."""
        if outcome.code == 0:
            return
        if fault := machine_fault(outcome):
            raise fault
        if was_killed(outcome):
            raise self._killed()
        raise BuildError(reason, f"{what}: {outcome.last_line.removeprefix('Error: ')}")

    def _killed(self) -> BuildError:
        """Return the error of a build of which a command was killed: by its limit, if it has one.

        Without a limit it was the machine, short of memory, or somebody on it.
        """
        limit = self.sandbox.limits.memory_bytes
        if limit is None:
            message = (
                "A command of the build was killed, and the build has no memory limit: this machine"
                " was short of memory, or somebody killed it."
            )
            return BuildError(BUILDER_KILLED, message, retryable=True)
        message = (
            f"The build was killed at its memory limit of {limit} bytes:"
            " spec.resources.limits.memory of the BuildConfig sets another."
        )
        return BuildError("OutOfMemoryKilled", message)
