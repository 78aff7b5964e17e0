"""Builds of a BuildConfig, and the log of a build as it grows."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing

from upwell.api.build import BUILD_CONFIG_LABEL, Build, BuildConfig, BuildPhase
from upwell.api.meta import Resource
from upwell.cli.core.terminal import LogFilter, echo
from upwell.cli.core.waiting import answers, reconnected, until
from upwell.policy.builds.run_policy import number_of
from upwell.store.interface import ApiClient, Selector, UnavailableError


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
    """Return the build once it has ended."""
    return await until(client, build, lambda state: state.status.phase.is_terminal)


async def write_log(client: ApiClient, target: Resource, params: Mapping[str, str]) -> None:
    """Copy the log that an object keeps to stdout, byte by byte as it comes.

    A followed log resumes after a restart of the server.
    """
    log = LogCopy(target, params)
    await log.resume(client)
    while log.is_followed and not await answers(client):
        # A server that stops ends its responses in good order.
        await reconnected(client, UnavailableError("it stopped"))
        await log.resume(client)


class LogCopy:
    """Copy of a log to stdout, over as many responses as it takes."""

    def __init__(self, target: Resource, params: Mapping[str, str]) -> None:
        self._target = target
        self._params = dict(params)
        self._written = 0
        self._begun = False
        self._filter = LogFilter()

    @property
    def is_followed(self) -> bool:
        """True if the copy waits for the end of the log."""
        return "follow" in self._params

    async def resume(self, client: ApiClient) -> None:
        """Copy the rest of the log, until the server ends its response."""
        while True:
            try:
                await self._copy(client)
            except UnavailableError as error:
                if not (self._begun and self.is_followed):
                    raise
                await reconnected(client, error)
            else:
                return

    async def _copy(self, client: ApiClient) -> None:
        skipped = self._skipped()
        target = self._target
        chunks = client.stream(type(target), target.namespace, target.name, "log", self._params)
        async with aclosing(chunks) as log:
            async for chunk in log:
                self._begun = True
                rest = chunk[skipped:]
                skipped -= min(skipped, len(chunk))
                sys.stdout.buffer.write(self._filter.feed(rest))
                sys.stdout.buffer.flush()
                self._written += len(rest)
        sys.stdout.buffer.write(self._filter.end())
        self._begun = True

    def _skipped(self) -> int:
        """Return the bytes of the next response to skip; a tail resumes with new lines alone."""
        if self._begun and "tailLines" in self._params:
            self._params["tailLines"] = "0"
            return 0
        return self._written
