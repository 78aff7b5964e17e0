"""`upwell export` and `upwell import`: all objects of a store, to and from a file."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import click

from upwell.api.codec import RESOURCES
from upwell.api.meta import Resource
from upwell.app.transfer import open_stopped_store
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.transfer.archive import (
    ExportedObjects,
    audit_files,
    read_archive,
    write_archive,
    write_files,
)
from upwell.cli.transfer.importing import ClusterImport, ImportOutcome, conflict
from upwell.encryption.faults import EncryptionKeyError
from upwell.policy.transfer.left_out import may_exist, stays_behind
from upwell.policy.transfer.objects import from_cluster, in_order
from upwell.settings import SettingsError
from upwell.store.interface import ApiClient, NotFoundError, Reader, StoreError
from upwell.store.kubernetes_errors import KindNotServedError

_BATCH = 500


def _place_options[F: Callable[..., Any]](function: F) -> F:
    """Add the options that name a data folder, instead of a cluster."""
    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            default=None,
            help="The server's TOML file, where the database is encrypted.  [default: none]",
        ),
        click.option(
            "--audit-folder",
            type=click.Path(path_type=Path, file_okay=False),
            default=None,
            help="Folder of the audit log, with a cluster.  [default: none]",
        ),
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path, file_okay=False),
            default=None,
            help="Data folder of a server that is stopped.  [default: none, a cluster at --server]",
        ),
    ):
        function = option(function)
    return function


@click.command(
    epilog=examples(
        "upwell export --data-dir /var/lib/upwell objects.gz",
        "upwell export --server https://kubernetes.example:6443 --ca ca.crt objects.gz",
    )
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_place_options
@connection_options
@click.pass_obj
def export(
    session: Session, file: Path, data_dir: Path | None, audit_folder: Path | None, config: Path
) -> None:
    """Write all objects of a data folder or a cluster to FILE, with statuses and audit log.

    FILE has Secrets, too: it is its owner's alone.
    """
    source = data_dir or audit_folder
    audit = audit_files(source) if source else []
    if data_dir is not None:
        if not (data_dir / "upwell.db").is_file():
            raise CommandError(f"{data_dir} has no upwell.db: is it a data folder?")

        async def read_folder() -> None:
            async with open_stopped_store(data_dir, config) as store:
                write_archive(file, in_order(await _all_of(store)), audit)

        _run(read_folder())
    else:

        async def read_cluster(client: ApiClient) -> None:
            await _require_cluster(client)
            left_out: Counter[str] = Counter()
            kept = []
            for one in await _all_of(client):
                if reason := stays_behind(one):
                    left_out[f"{one.KIND}: {reason}"] += 1
                else:
                    kept.append(one)
            _tell_left_out(left_out)
            write_archive(file, in_order(from_cluster(kept)), audit)

        session.run(read_cluster)
    echo(f"wrote {file}", err=True)


@click.command(
    "import",
    epilog=examples(
        "upwell import --server https://kubernetes.example:6443 --ca ca.crt objects.gz",
        "upwell import --data-dir /var/lib/upwell objects.gz",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_place_options
@connection_options
@click.pass_obj
def import_command(
    session: Session, file: Path, data_dir: Path | None, audit_folder: Path | None, config: Path
) -> None:
    """Put the objects of FILE into a data folder or a cluster; again after an interruption.

    Nothing is overwritten: where other objects have their names, nothing is written at all.
    """
    archive = read_archive(file)
    if data_dir is not None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        _run(_into_folder(archive, data_dir, config))
        return
    if archive.files and audit_folder is None:
        raise CommandError(
            "the export has an audit log, for which a cluster has no place: name a folder for it"
            " with --audit-folder"
        )

    async def write_cluster(client: ApiClient) -> None:
        await _require_cluster(client)
        into = ClusterImport(client, lambda text: echo(text, err=True))
        wanted = await into.check(archive.resources)
        if audit_folder is not None:
            write_files(archive.files, audit_folder)
        _tell(await into.run(wanted))

    session.run(write_cluster)


def _run(work: Awaitable[None]) -> None:
    async def awaited() -> None:
        await work

    try:
        asyncio.run(awaited())
    except (StoreError, SettingsError, EncryptionKeyError) as error:
        raise CommandError(str(error)) from error


async def _all_of(store: Reader) -> Sequence[Resource]:
    found: list[Resource] = []
    for kind in RESOURCES:
        if kind.KIND.is_stored:
            try:
                found += (await store.list(kind)).items
            except KindNotServedError:
                continue
    return found


async def _into_folder(archive: ExportedObjects, data: Path, config: Path | None) -> None:
    outcome = ImportOutcome()
    async with open_stopped_store(data, config) as store:
        new: list[Resource] = []
        others: list[str] = []
        for one in in_order(archive.resources):
            try:
                found = await store.get(type(one), one.namespace, one.name)
            except NotFoundError:
                new.append(one)
            else:
                outcome.there += 1
                if found.uid != one.uid and not may_exist(one):
                    others.append(str(one.key))
        if others:
            raise conflict(others)
        write_files(archive.files, data)
        for start in range(0, len(new), _BATCH):
            await store.restore(new[start : start + _BATCH])
            outcome.written = min(start + _BATCH, len(new))
            echo(f"imported {outcome.written} of {len(new)} objects", err=True)
    _tell(outcome)


async def _require_cluster(client: ApiClient) -> None:
    """Raise CommandError for a server of ours, whose rules apply to what it is given."""
    if b"+upwell" in await client.get_raw("/version"):
        raise CommandError(
            "that is a running Upwell, not a cluster: stop it, and name its folder with --data-dir"
        )


def _tell(outcome: ImportOutcome) -> None:
    _tell_left_out(outcome.left_out)
    echo(f"imported {outcome.written} objects, {outcome.there} were there")
    for refusal in outcome.refused:
        echo(f"refused: {refusal}", err=True)
    if count := len(outcome.refused):
        objects = "object was" if count == 1 else "objects were"
        raise CommandError(
            f"{count} {objects} refused, as said above: mend that, and import again; what is there"
            " already stays as it is"
        )


def _tell_left_out(left_out: Counter[str]) -> None:
    for reason, count in sorted(left_out.items()):
        echo(f"left out: {count} {reason}", err=True)
