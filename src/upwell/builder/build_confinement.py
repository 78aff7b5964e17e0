"""The sandbox of one build, set up around it by the settings of this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import replace

from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.confinement.network import build_network, is_possible, remove_networks
from upwell.builder.confinement.sandbox import (
    Sandbox,
    process_limit,
    remove_control_groups,
    takes_control_groups,
)
from upwell.builder.interface import BuildError, BuildLimits, BuildPlan
from upwell.machine.process import LogSink

_REFUSED_NETWORK = (
    b"Note: the build asked for addresses of this machine or of private networks, which are"
    b" refused. An administrator may allow networks with `allowed-networks` below `[builds]` in the"
    b" configuration file\n"
)


class BuildConfinement:
    """Confines builds of one owner: a network of their own, limits, a group for their processes."""

    def __init__(self, settings: BuildahSettings, owner: str) -> None:
        """`owner` tells the networks and control groups of this builder from those of others."""
        self._settings = settings
        self.owner = owner

    @asynccontextmanager
    async def confined(self, plan: BuildPlan, log: LogSink) -> AsyncIterator[Sandbox]:
        """Set up what confines a build, while the block runs it; raises BuildError."""
        with self._process_limit(self.sandbox(plan, log), plan.id) as limited:
            async with self._network(limited, log) as inside:
                yield inside

    def release(self, build_id: str) -> None:
        """Remove the control groups of a build that has ended; idempotent."""
        remove_control_groups(self.owner, build_id)

    async def recover(self) -> None:
        """Remove the networks and control groups of builds of an earlier, killed process."""
        await asyncio.to_thread(remove_control_groups, self.owner)
        if is_possible():
            await remove_networks(self.owner)

    def sandbox(self, plan: BuildPlan, log: LogSink) -> Sandbox:
        """Return the sandbox that a plan asks for, within the settings; raises BuildError."""
        if plan.host_network and not self._settings.allow_host_network:
            message = (
                "the machine's own network is not allowed to builds: the administrator allows it"
                " with `host-network = true` below `[builds]` in the configuration file"
            )
            raise BuildError("GenericBuildFailed", message)
        limits = _limits(plan.limits, self._settings.limits)
        if not self._settings.limits_resources:
            if plan.limits.memory_bytes or plan.limits.cpus:
                log(b"Warning: this machine cannot limit memory and processors without root\n")
            limits = BuildLimits(pids=limits.pids)
        network = self._settings.network
        if network == "isolated" and not is_possible():
            network = "private"  # of a user's own: without the machine's loopback
        return Sandbox(
            limits=limits,
            network="host" if plan.host_network else network,
            shares_processes=self._settings.shares_processes,
        )

    @asynccontextmanager
    async def _network(self, sandbox: Sandbox, log: LogSink) -> AsyncIterator[Sandbox]:
        """Run the block with a network that is the build's own, if that is what it is to have."""
        if sandbox.network != "isolated":
            yield sandbox
            return
        async with build_network(self.owner, self._settings.networks) as network:
            try:
                yield replace(sandbox, namespace=network)
            except BuildError:
                if await network.refused():
                    log(_REFUSED_NETWORK)
                raise

    def _process_limit(self, sandbox: Sandbox, build_id: str) -> AbstractContextManager[Sandbox]:
        if not takes_control_groups(self._settings.containers_conf):
            return nullcontext(sandbox)
        return process_limit(sandbox, build_id, self.owner)


def _limits(wanted: BuildLimits, default: BuildLimits) -> BuildLimits:
    return BuildLimits(
        wanted.memory_bytes or default.memory_bytes,
        wanted.cpus or default.cpus,
        min(wanted.pids, default.pids),
    )
