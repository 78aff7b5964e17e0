"""The one way in which commands change objects: decide on the state as it is, and patch that.

A patch carries the resourceVersion of the state that it was made from. When somebody else has
written meanwhile, the object is read and the change decided again: no update is lost, in either
direction.
"""

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from upwell.api.codec import encode
from upwell.api.meta import Resource
from upwell.api.patches.content_types import MERGE_PATCH
from upwell.cli.core.connection import Session
from upwell.cli.core.errors import CommandError
from upwell.cli.core.kept_options import keep_option
from upwell.cli.core.output import Format, OutputType, full_name, write_documents
from upwell.cli.core.targets import ChosenObjects
from upwell.cli.core.terminal import echo
from upwell.cli.objects.apply import FIELD_MANAGER
from upwell.store.interface import ApiClient, ConflictError, WriteRequest
from upwell.store.retry import update_with_retry

type Document = dict[str, Any]
type ChangeDocument = Callable[[Document], None]
"""Changes the JSON of an object in place; raises CommandError when it cannot."""

DRY_RUN_SUFFIXES = {"none": "", "client": " (dry run)", "server": " (server dry run)"}


@dataclass(slots=True)
class WritingOptions:
    """Options of commands that write; `kept` gives those of a call."""

    dry_run: str = "none"
    output: str = ""
    field_manager: str = FIELD_MANAGER
    local: bool = False
    resource_version: str = ""

    @property
    def suffix(self) -> str:
        """End of a message about what was done, or was not."""
        return DRY_RUN_SUFFIXES["client" if self.local else self.dry_run]

    @property
    def is_written(self) -> bool:
        """Tells whether the server is asked to write, or to try."""
        return not self.local and self.dry_run != "client"

    def request(self, content_type: str = MERGE_PATCH, subresource: str = "") -> WriteRequest:
        """Return the way in which to write."""
        return WriteRequest(content_type, self.field_manager, self.dry_run == "server", subresource)

    def tell(self, resource: Resource, document: Document, done: str) -> None:
        """Print the object, or what was done to it."""
        if not self.output:
            echo(f"{full_name(resource)} {done}{self.suffix}")
        elif self.output == Format.NAME:
            echo(full_name(resource))
        else:
            write_documents([document], self.output, single=True)


def write_options[F: Callable[..., Any]](
    *, local: bool = False, resource_version: bool = False
) -> Callable[[F], F]:
    """Return what adds --dry-run, -o, --field-manager and more to a command."""
    options = [
        keep_option(
            WritingOptions,
            "dry_run",
            "--dry-run",
            type=click.Choice(["none", "client", "server"]),
            default="none",
            show_default=True,
            help="With `client`, change nothing; with `server`, have the server check the change.",
        ),
        keep_option(
            WritingOptions,
            "output",
            "-o",
            "--output",
            type=OutputType([Format.NAME, Format.JSON, Format.YAML], columns=False),
            show_default="a message",
            help="Print the object instead; also jsonpath=… or go-template=….",
        ),
        keep_option(
            WritingOptions,
            "field_manager",
            "--field-manager",
            default=FIELD_MANAGER,
            show_default=True,
            help="Name of the owner of the changed fields.",
        ),
    ]
    if local:
        options.append(
            keep_option(
                WritingOptions,
                "local",
                "--local",
                is_flag=True,
                help="Change the manifests of -f, without a server; see -o yaml.",
            )
        )
    if resource_version:
        options.append(
            keep_option(
                WritingOptions,
                "resource_version",
                "--resource-version",
                metavar="VERSION",
                show_default="any",
                help="Version that the object must have.",
            )
        )

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


@dataclass(frozen=True, slots=True)
class Wanted:
    """A change of several objects, and what is said of it."""

    change: ChangeDocument
    done: str
    """Message about an object that changed, such as `image updated`."""
    unchanged: str = "unchanged"
    note: Callable[[Document, Document], str] = lambda _before, _after: ""
    """Returns what else is to be said of a change, from before and after it; empty: nothing."""


def change_objects(
    session: Session, targets: ChosenObjects, wanted: Wanted, options: WritingOptions
) -> None:
    """Change every object, once the change is known to fit all of them; print each outcome."""
    if options.local and not targets.manifests:
        raise click.UsageError("--local needs manifests: name them with -f")
    if options.resource_version and not targets.is_one:
        raise click.UsageError("--resource-version needs a single object")

    if options.local:
        for manifest in targets.manifests:
            changed = changed_document(manifest.document, wanted.change)
            _tell(options, manifest.resource, manifest.document, changed, wanted)
        return

    async def work(client: ApiClient) -> None:
        found = await targets.read(client)
        for resource in found:
            changed_document(encode(resource), wanted.change)
        for resource in found:
            before = encode(resource)
            after = await change_one(client, resource, wanted.change, options)
            _tell(options, resource, before, after, wanted)

    session.run(work)


def _tell(
    options: WritingOptions, resource: Resource, before: Document, after: Document, wanted: Wanted
) -> None:
    options.tell(resource, after, wanted.unchanged if is_unchanged(before, after) else wanted.done)
    if note := wanted.note(before, after):
        echo(note, err=True)


def is_unchanged(before: Document, after: Document) -> bool:
    """Return whether two states of an object say the same, but for what the server writes."""
    return not difference(_desired(before), _desired(after))


def _desired(document: Document) -> Document:
    kept = ("name", "namespace", "labels", "annotations", "finalizers", "ownerReferences")
    metadata = document.get("metadata") or {}
    rest = {key: value for key, value in document.items() if key not in {"metadata", "status"}}
    return {**rest, "metadata": {key: metadata[key] for key in kept if key in metadata}}


async def change_one(
    client: ApiClient, first: Resource, change: ChangeDocument, options: WritingOptions
) -> Document:
    """Change an object and return it as it is then; an object that fits already is not written.

    Raises ConflictError when it has not the resourceVersion that was asked for.
    """
    read: Callable[[], Awaitable[Resource]] = reader(client, first)
    fixed = options.resource_version
    if fixed and fixed != first.resource_version:
        raise ConflictError(first.key, f"its resourceVersion is {first.resource_version}")

    async def decided() -> tuple[Document, Document]:
        before = encode(await read())
        after = changed_document(before, change)
        return before, after

    async def written(pair: tuple[Document, Document]) -> Document:
        before, after = pair
        patch = difference(before, after)
        if not patch or not options.is_written:
            return after
        version = before.get("metadata", {}).get("resourceVersion")
        patch = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": version}}
        document, warnings = await client.write("PATCH", first, patch, options.request())
        warn(first, warnings)
        return document

    if fixed:
        return await written(await decided())
    return await update_with_retry(decided, written)


def warn(resource: Resource, warnings: Sequence[str]) -> None:
    """Print the server's warnings about an object."""
    for warning in warnings:
        echo(f"warning: {full_name(resource)}: {warning}", err=True)


def reader(client: ApiClient, first: Resource) -> Callable[[], Awaitable[Resource]]:
    """Return what gives `first` as it was read, and later as it is then."""
    known = [first]

    async def read() -> Resource:
        if known:
            return known.pop()
        return await client.get(type(first), first.namespace, first.name)

    return read


def changed_document(document: Document, change: ChangeDocument) -> Document:
    """Return the document after a change; raises CommandError with the object's name."""
    changed = copy.deepcopy(document)
    try:
        change(changed)
    except CommandError as error:
        name = f"{document.get('kind', '').lower()}/{document.get('metadata', {}).get('name', '')}"
        raise CommandError(f"{name}: {error.message}") from error
    return changed


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Document:
    """Return the merge patch (RFC 7386) that makes `after` of `before`."""
    patch: Document = {key: None for key in before if key not in after}
    for key, value in after.items():
        if key not in before:
            patch[key] = value
        elif isinstance(value, Mapping) and isinstance(before[key], Mapping):
            if inner := difference(before[key], value):
                patch[key] = inner
        elif before[key] != value:
            patch[key] = value
    return patch
