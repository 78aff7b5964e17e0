"""Builds of a BuildConfig, and the log of a build as it grows."""

import asyncio
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing

from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.meta import Resource
from upwell.cli.core.terminal import LogFilter, echo
from upwell.cli.core.waiting import reconnected, until
from upwell.cli.presentation.progress import ProgressLine
from upwell.policy.builds.run_policy import number_of
from upwell.store.interface import ApiClient, Selector, UnavailableError
from upwell.store.kubernetes_errors import BusyError, ServerFaultError


async def builds_of(client: ApiClient, config: BuildConfig) -> Sequence[Build]:
    """Return the BuildConfig's builds, newest first."""
    selector = Selector(config.namespace, {BUILD_CONFIG_LABEL: config.name})
    listing = await client.list(Build, selector)
    return sorted(listing.items, key=number_of, reverse=True)


async def follow_build(
    client: ApiClient, build: Build, params: Mapping[str, str] | None = None
) -> Build:
    """Print the log of a build from its start to its end; return the build as it ended.

    A build that the server starts again after a restart continues in the same log.
    """
    last = [""]

    def report(state: Build) -> None:
        status = state.status
        text = f"{status.phase}: {status.message or status.reason or 'waiting for a free slot'}"
        if status.phase in {BuildPhase.NEW, BuildPhase.PENDING} and text != last[0]:
            last[0] = text
            echo(f"{state.name} is {text}", err=True)

    log = LogCopy(build, {"follow": "true", **(params or {})})
    while True:
        build = before = await until(
            client,
            build,
            lambda state: state.status.phase not in {BuildPhase.NEW, BuildPhase.PENDING},
            changed=report,
        )
        await log.resume(client)
        if not before.status.phase.is_terminal:
            build = await _ended_or_restarted(client, before)
        if build.status.start_timestamp == before.status.start_timestamp:
            return build


async def _ended_or_restarted(client: ApiClient, build: Build) -> Build:
    begun = build.status.start_timestamp  # of its attempt
    return await until(
        client,
        build,
        lambda state: state.status.phase.is_terminal or state.status.start_timestamp != begun,
    )


async def ended_build(client: ApiClient, build: Build) -> Build:
    """Return the build once it has ended; a terminal shows its phase until then."""
    with ProgressLine() as line:
        return await until(
            client,
            build,
            lambda state: state.status.phase.is_terminal,
            changed=lambda state: line.show(_phase_of(state)),
        )


def _phase_of(build: Build) -> str:
    message = f": {build.status.message}" if build.status.message else ""
    return f"build {build.name}: {build.status.phase}{message}"


async def write_log(client: ApiClient, target: Resource, params: Mapping[str, str]) -> None:
    """Copy the log that an object keeps to stdout, byte by byte as it comes.

    A followed log goes on after a restart of the server.
    """
    await LogCopy(target, params).resume(client)


class LogCopy:
    """Copy of a log to stdout, over as many responses as it takes.

    The log of a build goes on at the byte that comes next. An instance may be another one by then,
    and others may stand beside it: there it goes on by time, so that nothing is left out, and what
    the last second brought may come twice.
    """

    def __init__(self, target: Resource, params: Mapping[str, str]) -> None:
        self._target = target
        self._params = dict(params)
        self._written = 0
        self._begun = False
        self._heard = 0.0
        """Time of the event loop at which the last piece came."""
        self._filter = LogFilter()

    @property
    def is_followed(self) -> bool:
        """True if the copy waits for the end of the log."""
        return "follow" in self._params

    async def resume(self, client: ApiClient) -> None:
        """Copy the rest of the log, until it ends."""
        while True:
            try:
                await self._copy(client)
            except UnavailableError as error:
                # It is there: what it answers first is about the log.
                is_answer = isinstance(error, (BusyError, ServerFaultError))
                if not self.is_followed or (is_answer and not self._begun):
                    raise
                await reconnected(client, error)
            else:
                return

    async def _copy(self, client: ApiClient) -> None:
        skipped = self._go_on()
        target = self._target
        chunks = client.stream(type(target), target.namespace, target.name, "log", self._params)
        async with aclosing(chunks) as log:
            async for chunk in log:
                self._begun, self._heard = True, asyncio.get_running_loop().time()
                rest = chunk[skipped:]
                skipped -= min(skipped, len(chunk))
                sys.stdout.buffer.write(self._filter.feed(rest))
                sys.stdout.buffer.flush()
                self._written += len(rest)
        sys.stdout.buffer.write(self._filter.end())
        self._begun = True

    def _go_on(self) -> int:
        """Ask for what comes next; return the bytes of the next response to skip."""
        if not self._begun:
            self._heard = asyncio.get_running_loop().time()
            return 0
        if isinstance(self._target, Build) and "tailLines" not in self._params:
            return self._written
        if isinstance(self._target, Build):
            self._params["tailLines"] = "0"
        else:
            self._params.pop("tailLines", None)
            since = asyncio.get_running_loop().time() - self._heard
            self._params["sinceSeconds"] = str(math.ceil(since))
        return 0
