"""The builds of a BuildConfig, and the log of a build as it grows."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing

import click

from upwell.api.build import BUILD_CONFIG_LABEL, Build, BuildConfig, BuildPhase
from upwell.api.meta import Resource
from upwell.cli.waiting import until
from upwell.policy.run_policy import number_of
from upwell.store.interface import ApiClient, Selector


async def builds_of(client: ApiClient, config: BuildConfig) -> Sequence[Build]:
    """Return the BuildConfig's builds, newest first."""
    selector = Selector(config.namespace, {BUILD_CONFIG_LABEL: config.name})
    listing = await client.list(Build, selector)
    return sorted(listing.items, key=number_of, reverse=True)


async def follow_build(
    client: ApiClient, build: Build, params: Mapping[str, str] | None = None
) -> Build:
    """Print the log of a build from its start to its end; return the build as it ended."""
    waiting = [""]

    def tell(state: Build) -> None:
        status = state.status
        text = f"{status.phase}: {status.reason or status.message or 'waiting for its turn'}"
        if status.phase in {BuildPhase.NEW, BuildPhase.PENDING} and text != waiting[0]:
            waiting[0] = text
            click.echo(f"{state.name} is {text}", err=True)

    await until(
        client,
        build,
        lambda state: state.status.phase not in {BuildPhase.NEW, BuildPhase.PENDING},
        changed=tell,
    )
    await write_log(client, build, {"follow": "true", **(params or {})})
    return await ended_build(client, build)


async def ended_build(client: ApiClient, build: Build) -> Build:
    """Return the build once it has ended."""
    return await until(client, build, lambda state: state.status.phase.is_terminal)


async def write_log(client: ApiClient, target: Resource, params: Mapping[str, str]) -> None:
    """Copy the log that an object keeps to stdout, byte by byte as it comes."""
    chunks = client.stream(type(target), target.namespace, target.name, "log", params)
    async with aclosing(chunks) as log:
        async for chunk in log:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
