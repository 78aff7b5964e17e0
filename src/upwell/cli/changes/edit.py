"""`upwell edit`: change objects in an editor."""

import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from upwell.api.codec import encode
from upwell.api.manifests import InvalidManifestTextError, parse_manifests
from upwell.api.meta import Resource
from upwell.cli.changes.writing import WritingOptions, difference, warn, write_options
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import kept
from upwell.cli.core.names import parse_named
from upwell.cli.core.output import full_name
from upwell.cli.core.terminal import echo
from upwell.store.interface import (
    ApiClient,
    ConflictError,
    RejectedError,
    StoreError,
)

_EDITOR_VARIABLES = ("UPWELL_EDITOR", "KUBE_EDITOR", "OC_EDITOR", "VISUAL", "EDITOR")
_EDITOR = "vi"
_HEAD = """\
# Edit the object below. Lines that begin with '#' are ignored, and an empty file ends the edit
# without a change. What the server refuses opens again with the reason.
#
"""
_FIXED = ("apiVersion", "kind")


@dataclass(frozen=True, slots=True)
class _Text:
    """Text in the editor, and the reason why it is there again."""

    body: str
    faults: str = ""

    @property
    def whole(self) -> str:
        reasons = "".join(f"# {line}\n" for line in self.faults.splitlines())
        return _HEAD + (f"{reasons}#\n" if reasons else "") + self.body


class _RefusedError(Exception):
    """Refusal of what was typed; the message says why."""


@click.command(
    epilog=examples(
        "upwell edit deployment/shop",
        "upwell edit bc shop",
        "KUBE_EDITOR='code --wait' upwell edit route/shop",
    )
)
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME...")
@write_options()
@connection_options
@click.pass_context
def edit(ctx: click.Context, what: tuple[str, ...]) -> None:
    """Change objects in an editor: $KUBE_EDITOR, $VISUAL or $EDITOR, else vi.

    Only what was changed is written, and only if nobody else has changed the same meanwhile.
    What the server refuses opens again with the reason; closing it unchanged keeps the text in a
    file and names that.
    """
    session: Session = ctx.ensure_object(Session)
    options, named = kept(ctx, WritingOptions), parse_named(what)

    async def work(client: ApiClient) -> None:
        for one in named:
            namespace = one.namespace(session.namespace)
            await _edit(client, await client.get(one.resource, namespace, one.name), options)

    session.run(work)


async def _edit(client: ApiClient, resource: Resource, options: WritingOptions) -> None:
    text = _Text(_dumped(resource))
    typed_before = text.body
    while True:
        typed = _typed(text, resource)
        if not typed.strip() or (typed == typed_before and not text.faults):
            echo("edit cancelled, no changes made", err=True)
            return
        if text.faults and typed == typed_before:
            raise CommandError(
                f"{full_name(resource)}: nothing was changed; what was typed is in {_saved(typed)}"
            )
        typed_before = typed
        try:
            await _write(client, resource, typed, options)
        except _RefusedError as refused:
            text = _Text(typed, str(refused))
        except StoreError as error:
            if isinstance(error, RejectedError):
                text = _Text(typed, str(error))
                continue
            raise CommandError(f"{error}; what was typed is in {_saved(typed)}") from error
        else:
            return


async def _write(
    client: ApiClient, resource: Resource, typed: str, options: WritingOptions
) -> None:
    try:
        documents = parse_manifests(typed, "the text")
    except InvalidManifestTextError as error:
        raise _RefusedError(str(error)) from error
    if len(documents) != 1:
        raise _RefusedError(f"one object is expected, not {len(documents)}")
    before, after = _editable(resource), documents[0]
    if any(before.get(field) != after.get(field) for field in _FIXED) or any(
        (before["metadata"].get(field) or "") != ((after.get("metadata") or {}).get(field) or "")
        for field in ("name", "namespace")
    ):
        raise _RefusedError("apiVersion, kind, name and namespace of an object cannot be changed")
    patch = difference(before, after)
    if not patch:
        echo("edit cancelled, no changes made", err=True)
        return
    written = after
    if options.is_written:
        written = await _patched(client, resource, patch, options)
    options.tell(resource, written, "edited")


async def _patched(
    client: ApiClient, opened: Resource, patch: dict[str, Any], options: WritingOptions
) -> dict[str, Any]:
    """Write what was changed; raises ConflictError when somebody else has changed the same."""
    current = opened
    while True:
        version = {"resourceVersion": current.resource_version}
        body = {**patch, "metadata": {**(patch.get("metadata") or {}), **version}}
        try:
            written, warnings = await client.write("PATCH", opened, body, options.request())
        except ConflictError:
            current = await client.get(type(opened), opened.namespace, opened.name)
            theirs = difference(_editable(opened), _editable(current))
            if current.uid != opened.uid or _overlap(patch, theirs):
                raise
            continue
        warn(opened, warnings)
        return written


def _overlap(mine: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Return whether two patches change the same field."""
    return any(
        _overlap(mine[key], theirs[key])
        if isinstance(mine[key], dict) and isinstance(theirs[key], dict)
        else mine[key] != theirs[key]
        for key in mine.keys() & theirs.keys()
    )


def _editable(resource: Resource) -> dict[str, Any]:
    """Return what of an object a person may change; its status is the server's."""
    document = encode(resource)
    document.pop("status", None)
    for field in ("managedFields", "resourceVersion", "generation"):
        document["metadata"].pop(field, None)
    return document


def _dumped(resource: Resource) -> str:
    return str(yaml.safe_dump(_editable(resource), sort_keys=False, allow_unicode=True))


def _typed(text: _Text, resource: Resource) -> str:
    """Return what a person makes of the text, without comments; raises CommandError."""
    editor = next((os.environ[name] for name in _EDITOR_VARIABLES if os.environ.get(name)), _EDITOR)
    descriptor, name = tempfile.mkstemp(prefix=f"upwell-edit-{resource.name}-", suffix=".yaml")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text.whole)
        try:
            code = subprocess.run([*shlex.split(editor), name], check=False).returncode
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise CommandError(
                f"cannot run the editor {editor!r}: {why}; name another in KUBE_EDITOR", Exit.USAGE
            ) from error
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        body = "".join(line for line in lines if not line.startswith("#"))
        if code:
            kept_in = f"; what was typed is in {_saved(body)}" if body != text.body else ""
            raise CommandError(f"the editor {editor!r} failed with {code}{kept_in}")
        return body
    finally:
        path.unlink(missing_ok=True)


def _saved(typed: str) -> str:
    """Keep what was typed in a file of the user's own, and return its path."""
    descriptor, name = tempfile.mkstemp(prefix="upwell-edit-", suffix=".yaml")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(typed)
    return name
