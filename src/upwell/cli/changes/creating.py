"""The one way in which commands create objects: POST, which refuses what exists."""

from collections.abc import Sequence
from typing import Any

from upwell.cli.changes.writing import WritingOptions, warn
from upwell.cli.core.connection import Session
from upwell.cli.core.documents import LoadedManifest, check_documents
from upwell.cli.core.errors import CommandError
from upwell.cli.objects.apply import without_server_fields
from upwell.store.interface import AlreadyExistsError, ApiClient


def create_documents(
    session: Session, documents: Sequence[dict[str, Any]], options: WritingOptions
) -> None:
    """Create objects that were made here; raises CommandError, also for one that exists."""
    create_manifests(session, check_documents(documents, session), options)


def create_manifests(
    session: Session, manifests: Sequence[LoadedManifest], options: WritingOptions
) -> None:
    """Create the objects of manifests, and print each; raises CommandError.

    Of several that exist already, the others are created all the same.
    """
    if not options.is_written:
        for manifest in manifests:
            options.tell(manifest.resource, manifest.document, "created")
        return

    async def work(client: ApiClient) -> None:
        existing = []
        for manifest in manifests:
            try:
                await create_one(client, manifest, options)
            except AlreadyExistsError as error:
                existing.append(str(error))
        if existing:
            raise CommandError("; ".join(existing) + ": `upwell apply` changes what exists")

    session.run(work)


async def create_one(
    client: ApiClient, manifest: LoadedManifest, options: WritingOptions, *, done: str = "created"
) -> None:
    """Create an object and print it; raises StoreError."""
    body = without_server_fields(manifest.document)
    request = options.request("application/json")
    created, warnings = await client.write("POST", manifest.resource, body, request)
    warn(manifest.resource, warnings)
    named = manifest.resource
    if not named.name:
        named = named.with_metadata(name=str(created.get("metadata", {}).get("name", "")))
    options.tell(named, created, done)
