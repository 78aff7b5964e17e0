"""`upwell apply`: create or change objects from manifests."""

from collections.abc import Mapping
from typing import Any

import click

from upwell.api.codec import encode
from upwell.api.meta import Resource
from upwell.api.template import Template
from upwell.cli.core.compose.projects import refuse_other_projects
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import LoadedManifest, load_manifests, require_no_new_faults
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, full_name, output_option, write_objects
from upwell.cli.core.terminal import echo
from upwell.store.interface import ApiClient, NotFoundError
from upwell.store.kubernetes_errors import StoreForbiddenError

FIELD_MANAGER = "upwell"
_SERVER_FIELDS = {
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
}
"""Metadata that a server sets; an exported manifest has that of its old server."""


@click.command(
    epilog=examples(
        "upwell apply -f examples/glibc",
        "upwell apply -R -f manifests/ -n staging",
        "kustomize build . | upwell apply -f - --dry-run=server",
        "upwell apply -f https://example.com/shop.yaml",
        "upwell apply -f compose.yaml --profile backup",
        "upwell apply -f shop.yaml -o name",
    )
)
@click.option(
    "-f",
    "--filename",
    "sources",
    multiple=True,
    required=True,
    metavar="SOURCE",
    help="File, folder, http(s) URL (30 s, 8 MiB) or - for stdin; repeatable.",
)
@click.option("-R", "--recursive", is_flag=True, help="Read the subfolders of a folder as well.")
@click.option(
    "--dry-run",
    type=click.Choice(["none", "server"]),
    default="none",
    show_default=True,
    help="With `server`, check and print the changes without making them.",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="NAME",
    help="Profile of a Compose file whose services are applied too; repeatable.",
)
@click.option("--force-conflicts", is_flag=True, help="Take over fields that other managers own.")
@click.option(
    "--field-manager",
    default=FIELD_MANAGER,
    show_default=True,
    help="Name of the owner of the applied fields.",
)
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def apply(  # noqa: PLR0913, PLR0917 - each option is a parameter
    session: Session,
    sources: tuple[str, ...],
    recursive: bool,  # noqa: FBT001 - click passes options by name
    dry_run: str,
    profiles: tuple[str, ...],
    force_conflicts: bool,  # noqa: FBT001 - the same
    field_manager: str,
    output: str,
) -> None:
    """Create or change objects from manifests.

    Every document is checked before the first is written: invalid input changes nothing. Objects
    are applied in the order in which they depend on each other: namespaces, secrets and config
    maps, image streams, builds, services, workloads, routes. Fields that a server set in exported
    objects (uid, resourceVersion, …) are left out.

    A Compose file is applied as it is: each service becomes a Deployment that follows its image.
    What it says that cannot be had is refused by its name and line.
    """
    manifests = load_manifests(
        sources, session, recursive=recursive, may_be_there=True, profiles=profiles
    )
    is_told = output == Format.TABLE
    options = ApplyOptions(
        field_manager, force=force_conflicts, dry_run=dry_run == "server", is_told=is_told
    )

    async def work(client: ApiClient) -> None:
        await require_no_new_faults(client, manifests)
        await refuse_other_projects(client, manifests)
        applied = [await apply_one(client, manifest, options) for manifest in manifests]
        if not is_told:
            write_objects(applied, output, single=True)

    session.run(work)


class ApplyOptions:
    """Options of an apply: field manager, force over conflicts, dry run, a line for each."""

    def __init__(
        self, field_manager: str, *, force: bool, dry_run: bool, is_told: bool = True
    ) -> None:
        self.field_manager = field_manager
        self.force = force
        self.dry_run = dry_run
        self.is_told = is_told


async def apply_one(client: ApiClient, manifest: LoadedManifest, options: ApplyOptions) -> Resource:
    """Apply a manifest, print the outcome, and return the object; raises StoreError."""
    wanted = manifest.resource
    try:
        before = await client.get(type(wanted), wanted.namespace, wanted.name)
    except (NotFoundError, StoreForbiddenError):
        before = None  # whoever may not even read it is told below what writing takes
    after, warnings = await client.apply(
        without_server_fields(manifest.document),
        field_manager=options.field_manager,
        force=options.force,
        dry_run=options.dry_run,
    )
    for warning in warnings:
        echo(f"warning: {full_name(after)}: {warning}", err=True)
    suffix = " (server dry run)" if options.dry_run else ""
    if options.is_told:
        echo(f"{full_name(after)} {_outcome(before, after)}{suffix}")
    if isinstance(after, Template) and not options.dry_run:
        echo(f"next: `upwell process {after.name}` prints its objects", err=True)
    return after


def _outcome(before: Resource | None, after: Resource) -> str:
    if before is None:
        return "created"
    return "unchanged" if _desired(before) == _desired(after) else "configured"


def _desired(resource: Resource) -> dict[str, Any]:
    """Return the fields of an object that users set."""
    document = without_server_fields(encode(resource))
    document.pop("status", None)
    return document


def without_server_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest without the metadata that a server sets."""
    metadata = document.get("metadata") or {}
    kept = {key: value for key, value in metadata.items() if key not in _SERVER_FIELDS}
    return {**document, "metadata": kept}
