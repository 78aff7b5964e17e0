"""`upwell patch`: change fields of objects by a patch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from upwell.api.codec import encode
from upwell.api.decoding.limits import MAX_MANIFEST_BYTES
from upwell.api.manifests import why_no_yaml
from upwell.api.patches.content_types import (
    JSON_PATCH,
    MERGE_PATCH,
    PATCHES,
    STRATEGIC_MERGE_PATCH,
)
from upwell.api.patches.patch import PatchError
from upwell.cli.changes.writing import WritingOptions, is_unchanged, warn, write_options
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.targets import ChosenObjects, TargetOptions, parse_targets, target_options
from upwell.store.interface import ApiClient

_TYPES = {"strategic": STRATEGIC_MERGE_PATCH, "merge": MERGE_PATCH, "json": JSON_PATCH}


@dataclass(slots=True)
class _PatchOptions:
    text: str = ""
    file: str = ""
    type: str = "strategic"
    subresource: str = ""

    def parse(self) -> Any:
        """Return the patch; raises click.UsageError."""
        if bool(self.text) == bool(self.file):
            raise click.UsageError("give the patch by -p, or by --patch-file")
        text = self.text or _read(self.file)
        try:
            patch = yaml.safe_load(text)
        except yaml.YAMLError as error:
            why = why_no_yaml(text, error)
            raise click.UsageError(f"the patch is neither JSON nor YAML: {why}") from error
        except RecursionError as error:
            raise click.UsageError("the patch is nested too deep") from error
        wanted = list if self.type == "json" else dict
        if not isinstance(patch, wanted):
            kind = "a list of operations" if wanted is list else "an object"
            raise click.UsageError(f"a patch of --type={self.type} is {kind}")
        return patch


def _read(file: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            return opened.read(MAX_MANIFEST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise click.UsageError(f"--patch-file {file}: {why}") from error


def _option(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(_PatchOptions, target, *names, **facts)


@click.command(
    epilog=examples(
        """upwell patch deployment/shop -p '{"spec": {"replicas": 3}}'""",
        "upwell patch bc shop --type=merge -p 'spec: {runPolicy: Parallel}'",
        "upwell patch route/shop --type=json"
        """ -p '[{"op": "replace", "path": "/spec/host", "value": "shop.test"}]'""",
        "upwell patch -f shop.yaml --patch-file change.yaml --dry-run=server -o yaml",
    )
)
@click.argument("words", nargs=-1, metavar="[KIND/NAME]...")
@_option(
    "text",
    "-p",
    "--patch",
    metavar="PATCH",
    show_default="that of --patch-file",
    help="Patch, as JSON or YAML.",
)
@_option(
    "file",
    "--patch-file",
    metavar="FILE",
    show_default="none",
    help="File with the patch, as JSON or YAML.",
)
@_option(
    "type",
    "--type",
    type=click.Choice(list(_TYPES)),
    default="strategic",
    show_default=True,
    help="Kind of patch: lists are merged (strategic), replaced (merge, RFC 7386), or RFC 6902.",
)
@_option(
    "subresource",
    "--subresource",
    type=click.Choice(["status", "scale"]),
    show_default="none",
    help="Part of the object to patch.",
)
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def patch(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Change fields of objects by a patch.

    A resourceVersion in the patch is a precondition.
    """
    session: Session = ctx.ensure_object(Session)
    asked, options = kept(ctx, _PatchOptions), kept(ctx, WritingOptions)
    targets = parse_targets(session, kept(ctx, TargetOptions), words)
    change = asked.parse()
    if options.local and not targets.manifests:
        raise click.UsageError("--local needs manifests: name them with -f")
    if options.local:
        for manifest in targets.manifests:
            after = _patched(manifest.document, change, asked.type)
            options.tell(manifest.resource, after, "patched")
        return

    async def work(client: ApiClient) -> None:
        await _patch(client, targets, change, asked, options)

    session.run(work)


async def _patch(
    client: ApiClient,
    targets: ChosenObjects,
    change: Any,
    asked: _PatchOptions,
    options: WritingOptions,
) -> None:
    for resource in await targets.read(client):
        before = encode(resource)
        if not options.is_written:
            after = _patched(before, change, asked.type)
        else:
            request = options.request(_TYPES[asked.type], asked.subresource)
            after, warnings = await client.write("PATCH", resource, change, request)
            warn(resource, warnings)
        unchanged = not asked.subresource and is_unchanged(before, after)
        options.tell(resource, after, "patched (no change)" if unchanged else "patched")


def _patched(document: dict[str, Any], change: Any, form: str) -> dict[str, Any]:
    try:
        return PATCHES[_TYPES[form]](document, change)
    except PatchError as error:
        raise CommandError(f"the patch does not fit: {error}", Exit.USAGE) from error
