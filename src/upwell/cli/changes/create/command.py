"""`upwell create`: create objects from manifests, or from arguments."""

from typing import override

import click

from upwell.cli.changes.create.data import configmap, secret
from upwell.cli.changes.create.jobs import cronjob, job
from upwell.cli.changes.create.network import route, service
from upwell.cli.changes.create.plain import imagestream, namespace, serviceaccount
from upwell.cli.changes.create.workloads import deployment, deploymentconfig
from upwell.cli.changes.creating import create_manifests
from upwell.cli.changes.writing import WritingOptions, write_options
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import load_manifests
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import kept

_ALIASES = {
    "cm": "configmap",
    "deploy": "deployment",
    "is": "imagestream",
    "ns": "namespace",
    "sa": "serviceaccount",
    "cj": "cronjob",
    "dc": "deploymentconfig",
}


class _CreateGroup(click.Group):
    """Commands that are also found by the short names of their kinds."""

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))


@click.group(
    cls=_CreateGroup,
    invoke_without_command=True,
    epilog=examples(
        "upwell create -f shop.yaml",
        "upwell create configmap settings --from-literal=mode=fast",
        "upwell create secret generic database --from-file=password.txt",
        "upwell create deployment shop --image=registry.test/shop:2 --dry-run=client -o yaml",
        "upwell create job again --from=cronjob/backup",
    ),
)
@click.option(
    "-f",
    "--filename",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="File, folder, http(s) URL (30 s, 8 MiB) or - for stdin; repeatable.",
)
@click.option("-R", "--recursive", is_flag=True, help="Read the subfolders of a folder as well.")
@write_options()
@connection_options
@click.pass_context
def create(ctx: click.Context, sources: tuple[str, ...], recursive: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Create objects, from manifests or from arguments; one that exists is an error."""
    if ctx.invoked_subcommand is not None:
        if sources:
            raise click.UsageError("name manifests with -f, or a kind to create, not both")
        return
    if not sources:
        raise click.UsageError("name manifests with -f, or a kind to create (-h lists them)")
    session: Session = ctx.ensure_object(Session)
    create_manifests(
        session, load_manifests(sources, session, recursive=recursive), kept(ctx, WritingOptions)
    )


for _command in (
    configmap,
    cronjob,
    deployment,
    deploymentconfig,
    imagestream,
    job,
    namespace,
    route,
    secret,
    service,
    serviceaccount,
):
    create.add_command(_command)
