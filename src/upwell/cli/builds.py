"""`upwell start-build` and `upwell cancel-build`."""

import click

from upwell.api.build import Build, BuildConfig, BuildPhase
from upwell.api.codec import decode_as
from upwell.cli.build_logs import ended_build, follow_build
from upwell.cli.connection import Session, connection_options
from upwell.cli.errors import CommandError
from upwell.cli.examples import examples
from upwell.cli.names import parse_named
from upwell.cli.output import full_name
from upwell.policy.build_triggers import MANUAL
from upwell.store.interface import ApiClient


@click.command(
    "start-build",
    epilog=examples(
        "upwell start-build shop",
        "upwell start-build bc/shop --follow",
        "upwell start-build shop --wait --env LOG_LEVEL=debug",
    ),
)
@click.argument("name", metavar="BUILDCONFIG")
@click.option("-F", "--follow", is_flag=True, help="Print the log; exit 1 if the build fails.")
@click.option("-w", "--wait", is_flag=True, help="Wait for the end; exit 1 if the build fails.")
@click.option("-e", "--env", "env", multiple=True, metavar="K=V", help="Variable; repeatable.")
@connection_options
@click.pass_obj
def start_build(
    session: Session,
    name: str,
    follow: bool,  # noqa: FBT001 - click passes options by name
    wait: bool,  # noqa: FBT001 - the same
    env: tuple[str, ...],
) -> None:
    """Start a build of a BuildConfig and print the Build's name."""
    [config] = parse_named([name], default=BuildConfig)
    request = {
        "apiVersion": BuildConfig.KIND.api_version,
        "kind": "BuildRequest",
        "metadata": {"name": config.name, "namespace": session.namespace},
        "triggeredBy": [{"message": MANUAL}],
        "env": [_variable(text) for text in env],
    }

    async def work(client: ApiClient) -> None:
        answer = await client.call(
            "POST", BuildConfig, session.namespace, config.name, "instantiate", request
        )
        build = decode_as(Build, answer)
        click.echo(f"{full_name(build)} started")
        if follow:
            _require_success(await follow_build(client, build))
        elif wait:
            _require_success(await ended_build(client, build))

    session.run(work)


@click.command(
    "cancel-build",
    epilog=examples("upwell cancel-build shop-3", "upwell cancel-build build/shop-3 build/gate-1"),
)
@click.argument("names", nargs=-1, required=True, metavar="BUILD...")
@connection_options
@click.pass_obj
def cancel_build(session: Session, names: tuple[str, ...]) -> None:
    """Cancel builds that have not ended."""
    builds = parse_named(names, default=Build)

    async def work(client: ApiClient) -> None:
        for one in builds:
            build = await client.get(Build, session.namespace, one.name)
            if build.status.phase.is_terminal:
                click.echo(f"{full_name(build)} has ended: {build.status.phase}", err=True)
                continue
            cancel = {"status": {"cancelled": True}}
            await client.patch(Build, session.namespace, one.name, cancel, subresource="status")
            click.echo(f"{full_name(build)} cancelled")

    session.run(work)


def _variable(text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError("--env takes NAME=VALUE")
    return {"name": key, "value": value}


def _require_success(build: Build) -> None:
    status = build.status
    if status.phase is BuildPhase.COMPLETE:
        return
    why = ": ".join(part for part in (status.reason, status.message) if part)
    raise CommandError(
        f"{full_name(build)} ended as {status.phase}{f' ({why})' if why else ''};"
        f" `upwell describe build/{build.name}` tells more"
    )
