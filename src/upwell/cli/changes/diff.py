"""`upwell diff`: what `upwell apply` would change."""

import difflib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from upwell.api.codec import encode
from upwell.api.core import Secret
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import LoadedManifest, load_manifests, require_no_new_faults
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.objects.apply import FIELD_MANAGER, without_server_fields
from upwell.store.interface import ApiClient, NotFoundError

_FOUND, _FAILED = 1, 2
_TOOL_VARIABLES = ("UPWELL_EXTERNAL_DIFF", "KUBECTL_EXTERNAL_DIFF")
_MASK = "***"


@click.command(
    epilog=examples(
        "upwell diff -f shop.yaml",
        "upwell diff -R -f manifests/ -n staging",
        "KUBECTL_EXTERNAL_DIFF='diff -u -N --color=always' upwell diff -f shop.yaml",
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
@click.option("--force-conflicts", is_flag=True, help="Take over fields that other managers own.")
@click.option(
    "--field-manager",
    default=FIELD_MANAGER,
    show_default=True,
    help="Name of the owner of the applied fields.",
)
@connection_options
@click.pass_obj
def diff(
    session: Session,
    sources: tuple[str, ...],
    recursive: bool,  # noqa: FBT001 - click passes options by name
    force_conflicts: bool,  # noqa: FBT001 - the same
    field_manager: str,
) -> None:
    """Show what `upwell apply` would change, by a dry run on the server.

    Exits 0 if nothing would change, 1 if something would, and with more if it failed. Values of
    Secrets are masked. UPWELL_EXTERNAL_DIFF or KUBECTL_EXTERNAL_DIFF names a program that shows
    two folders.
    """
    try:
        manifests = load_manifests(sources, session, recursive=recursive, may_be_there=True)
        pairs: list[tuple[str, str, str]] = []

        async def work(client: ApiClient) -> None:
            await require_no_new_faults(client, manifests)
            for manifest in manifests:
                pair = await _pair(client, manifest, field_manager, force=force_conflicts)
                pairs.append(pair)

        session.run(work)
    except CommandError as error:
        # 1 says that there are differences: what failed has to say something else.
        code = Exit(max(error.exit_code, _FAILED))
        raise CommandError(error.message, code) from error
    tool = next((os.environ[name] for name in _TOOL_VARIABLES if os.environ.get(name)), "")
    sys.exit(_shown_by(tool, pairs) if tool else _shown(pairs))


async def _pair(
    client: ApiClient, manifest: LoadedManifest, field_manager: str, *, force: bool
) -> tuple[str, str, str]:
    """Return an object's name, and its text as it is and as it would be."""
    wanted = manifest.resource
    try:
        before = encode(await client.get(type(wanted), wanted.namespace, wanted.name))
    except NotFoundError:
        before = {}
    applied, _ = await client.apply(
        without_server_fields(manifest.document),
        field_manager=field_manager,
        force=force,
        dry_run=True,
    )
    after = encode(applied)
    if isinstance(wanted, Secret):
        _mask(before, after)
    kind = wanted.KIND
    group = f"{kind.group}." if kind.group else ""
    name = f"{group}{kind.version}.{kind.kind}.{wanted.namespace}.{wanted.name}"
    return name, _text(before), _text(after)


def _mask(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Put marks in the place of values of a Secret, which tell whether they change."""
    for field in ("data", "stringData"):
        old, new = dict(before.get(field) or {}), dict(after.get(field) or {})
        for key in {*old, *new}:
            same = old.get(key) == new.get(key)
            if key in old:
                old[key] = _MASK if same or key not in new else f"{_MASK} (before)"
            if key in new:
                new[key] = _MASK if same or key not in old or same else f"{_MASK} (after)"
        for document, values in ((before, old), (after, new)):
            if values:
                document[field] = values


def _text(document: dict[str, Any]) -> str:
    if not document:
        return ""
    shown = {key: value for key, value in document.items() if key != "status"}
    metadata = {
        key: value
        for key, value in (shown.get("metadata") or {}).items()
        if key not in {"managedFields", "resourceVersion", "generation"}
    }
    return str(yaml.safe_dump({**shown, "metadata": metadata}, allow_unicode=True))


def _shown(pairs: list[tuple[str, str, str]]) -> int:
    lines = [line for pair in pairs for line in _unified(*pair)]
    for line in lines:
        echo(line)
    return _FOUND if lines else 0


def _unified(name: str, before: str, after: str) -> Iterator[str]:
    yield from difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"live/{name}", f"merged/{name}", lineterm=""
    )


def _shown_by(tool: str, pairs: list[tuple[str, str, str]]) -> int:
    """Have a program show both states as folders; return its exit code."""
    with tempfile.TemporaryDirectory(prefix="upwell-diff-") as folder:
        places = [Path(folder, side) for side in ("live", "merged")]
        for place in places:
            place.mkdir(mode=0o700)
        for name, *texts in pairs:
            for place, text in zip(places, texts, strict=True):
                (place / name.replace("/", "_").replace(":", "_")).write_text(text)
        try:
            command = shlex.split(tool)
            return subprocess.run([*command, *map(str, places)], check=False).returncode
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise CommandError(f"cannot run {tool!r}: {why}") from error
