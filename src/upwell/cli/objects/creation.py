"""Creation of several objects that were planned together: all of them, or none."""

from collections.abc import Collection, Sequence

from upwell.api.image import ImageStream
from upwell.cli.core.documents import LoadedManifest
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.output import full_name
from upwell.cli.objects.apply import FIELD_MANAGER, ApplyOptions, apply_one
from upwell.store.interface import ApiClient, NotFoundError


async def refuse_existing(
    client: ApiClient,
    manifests: Sequence[LoadedManifest],
    shared_streams: Collection[str] = (),
    instead: str = "or delete them first",
) -> None:
    """Raise CommandError if an object exists that is no stream which is shared.

    `instead` ends the message: what to do unless it is another name.
    """
    existing = []
    for manifest in manifests:
        wanted = manifest.resource
        if isinstance(wanted, ImageStream) and wanted.name in shared_streams:
            continue
        try:
            await client.get(type(wanted), wanted.namespace, wanted.name)
        except NotFoundError:
            continue
        existing.append(full_name(wanted))
    if existing:
        raise CommandError(
            f"nothing was created: these objects exist: {', '.join(existing)}; choose another"
            f" --name, {instead}",
            Exit.USAGE,
        )


async def try_all(client: ApiClient, manifests: Sequence[LoadedManifest]) -> None:
    """Have the server check all objects; raises StoreError."""
    for manifest in manifests:
        await client.apply(manifest.document, field_manager=FIELD_MANAGER, dry_run=True)


async def apply_all(
    client: ApiClient,
    manifests: Sequence[LoadedManifest],
    *,
    dry_run: bool = False,
    is_told: bool = True,
) -> None:
    """Apply all objects, and print each if it `is_told`; raises StoreError."""
    options = ApplyOptions(FIELD_MANAGER, force=False, dry_run=dry_run, is_told=is_told)
    for manifest in manifests:
        await apply_one(client, manifest, options)
