"""`upwell logs`: print the log of a build, workload or Pod."""

import click

from upwell.api.apps import DeploymentConfig, Job
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.meta import Resource
from upwell.api.pod import Pod
from upwell.cli.builds.logs import builds_of, follow_build, write_log
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.names import Named, parse_entered
from upwell.policy.builds.run_policy import number_of
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.store.interface import ApiClient


@click.command(
    epilog=examples(
        "upwell logs -f build/shop-2",
        "upwell logs bc/shop",
        "upwell logs dc/gate --tail 20",
        "upwell logs dc/gate --version 3",
        "upwell logs upwell-default-deploy-shop-1b2c3d4e-0",
    )
)
@click.argument("what", nargs=-1, required=True, metavar="[KIND/]NAME")
@click.option("-f", "--follow", is_flag=True, help="Print the log until it ends.")
@click.option(
    "--tail", type=click.IntRange(min=0), help="Number of last lines to print.  [default: all]"
)
@click.option(
    "--version",
    type=click.IntRange(min=1),
    help="Number of the BuildConfig's build, or of the DeploymentConfig's revision."
    "  [default: the latest build, all that runs]",
)
@click.option("-c", "--container", help="Container of the workload.  [default: the first]")
@click.option(
    "-p",
    "--previous",
    is_flag=True,
    help="Print the logs of containers from before their last restart.",
)
@connection_options
@click.pass_obj
def logs(
    session: Session,
    what: tuple[str, ...],
    follow: bool,  # noqa: FBT001 - click passes options by name
    tail: int | None,
    version: int | None,
    container: str | None,
    previous: bool,  # noqa: FBT001 - the same
) -> None:
    """Print the log of a build, of a BuildConfig's latest build, of a workload or of a Pod.

    A NAME alone is a Pod's.
    """
    named = parse_entered(what)
    flags = {"follow": follow, "previous": previous}
    params = {flag: "true" for flag, holds in flags.items() if holds}
    if tail is not None:
        params["tailLines"] = str(tail)
    if container is not None:
        params["container"] = container

    async def work(client: ApiClient) -> None:
        target = await _target(client, named, session.namespace, version)
        if version is not None and isinstance(target, DeploymentConfig):
            params["version"] = str(version)
        if follow and isinstance(target, Build):
            await follow_build(client, target, params)
        else:
            await write_log(client, target, params)

    session.run(work)


async def _target(client: ApiClient, named: Named, namespace: str, version: int | None) -> Resource:
    """Return the object with the log."""
    found = await client.get(named.resource, named.namespace(namespace), named.name)
    if isinstance(found, BuildConfig):
        builds = [b for b in await builds_of(client, found) if version in {None, number_of(b)}]
        if not builds and version is not None:
            raise CommandError(
                f"{named} has no build {version}; `upwell get builds` lists builds", Exit.NOT_FOUND
            )
        if not builds:
            raise CommandError(
                f"{named} has no build yet; `upwell start-build {found.name}` starts one",
                Exit.NOT_FOUND,
            )
        return builds[0]
    if version is not None and not isinstance(found, DeploymentConfig):
        raise CommandError(
            "--version needs a BuildConfig or a DeploymentConfig: write bc/NAME or dc/NAME",
            Exit.USAGE,
        )
    if not isinstance(found, (Build, Job, Pod, *WORKLOADS)):
        raise CommandError(f"{named} has no log: name a build, a workload or a pod", Exit.USAGE)
    return found
