"""`upwell release-to`: give services back, as files that run without Upwell."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from upwell.api.apps import Deployment
from upwell.api.core import ConfigMap, Secret, Service
from upwell.api.image import ImageStream
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.serve.options import data_dir_option
from upwell.formats.compose.writing import (
    compose_text,
    environment_file,
    quadlet_network,
    quadlet_text,
)
from upwell.policy.adoption.names import AdoptionError
from upwell.policy.adoption.release import ReleasedService, released
from upwell.policy.rollouts.instance import RevisionTemplate, build
from upwell.policy.rollouts.pod_template import (
    SECRET,
    SourceName,
    Sources,
    TemplateError,
    needed_sources,
)
from upwell.policy.rollouts.summary import serving
from upwell.store.interface import ApiClient, NotFoundError, Selector

COMPOSE, QUADLET = "compose", "quadlet"
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
"""Of what is written: variables and Secrets are in it."""


@click.command(
    "release-to",
    epilog=examples(
        "upwell release-to compose -d shop",
        "upwell release-to quadlet web db -d /etc/containers/systemd",
    ),
)
@click.argument("form", type=click.Choice([COMPOSE, QUADLET]))
@click.argument("names", nargs=-1, metavar="[DEPLOYMENT]...")
@click.option(
    "-d",
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("released"),
    show_default=True,
    help="Folder for the files; those that are there are never replaced.",
)
@data_dir_option("Data directory of `upwell serve`, in which the files of claims are.")
@connection_options
@click.pass_obj
def release_to(
    session: Session, form: str, names: tuple[str, ...], folder: Path, data_dir: Path
) -> None:
    """Write Deployments as a Compose file, or as Quadlets of Podman.

    What is written runs without Upwell: images by the names that were followed, Secrets and
    ConfigMaps as files, claims as the folders that they are. Nothing here is changed: delete the
    Deployments before the containers start, as they want the same ports and files.
    """
    target = folder.absolute()
    claims = str(data_dir.absolute() / "workloads" / "claims")

    async def work(client: ApiClient) -> None:
        found = await _released(client, session, names, (claims, str(target)))
        files = _compose_files(found) if form == COMPOSE else _quadlet_files(found, str(target))
        _write(target, files)
        for one in found:
            for note in one.notes:
                echo(f"note: {one.service.name}: {note}", err=True)
        services = " ".join(f"deployment/{one.service.name}" for one in found)
        start = (
            f"`docker compose -f {target}/compose.yaml up -d`"
            if form == COMPOSE
            else f"`systemctl daemon-reload && systemctl start"
            f" {' '.join(one.service.name for one in found)}`, with the files in"
            " /etc/containers/systemd"
        )
        echo(f"next: `upwell delete {services}`, then {start}", err=True)

    session.run(work)


async def _released(
    client: ApiClient, session: Session, names: Sequence[str], folders: tuple[str, str]
) -> list[ReleasedService]:
    selector = Selector(session.namespace)
    workloads = [
        one
        for one in (await client.list(Deployment, selector)).items
        if not names or one.name in names
    ]
    if missing := sorted(set(names) - {one.name for one in workloads}):
        raise CommandError(
            f"no deployment {', '.join(missing)} in namespace {session.namespace}", Exit.NOT_FOUND
        )
    if not workloads:
        raise CommandError(f"no deployments in namespace {session.namespace}", Exit.NOT_FOUND)
    streams = {one.name: one for one in (await client.list(ImageStream, selector)).items}
    services = (await client.list(Service, selector)).items
    try:
        return [await _one(client, workload, streams, services, folders) for workload in workloads]
    except (AdoptionError, TemplateError) as error:
        raise CommandError(f"nothing was written: {error}", Exit.USAGE) from error


async def _one(
    client: ApiClient,
    workload: Deployment,
    streams: Mapping[str, ImageStream],
    services: Iterable[Service],
    folders: tuple[str, str],
) -> ReleasedService:
    """Return one service as it serves; raises AdoptionError or TemplateError."""
    record = serving(workload)
    if record is None:
        raise AdoptionError(f"{workload.key} serves no revision: wait for its rollout")
    values: dict[SourceName, Mapping[str, bytes]] = {}
    for name in needed_sources(record.template):
        kind: type[Secret | ConfigMap] = Secret if name.kind == SECRET else ConfigMap
        try:
            values[name] = (await client.get(kind, workload.namespace, name.name)).decoded()
        except NotFoundError:
            continue
    revision = RevisionTemplate(
        workload, record.hash, record.template, record.images, Sources(values)
    )
    return released(workload, build(revision, 0), streams, services, folders)


def _compose_files(found: Sequence[ReleasedService]) -> dict[str, bytes]:
    files = {"compose.yaml": compose_text([one.service for one in found]).encode()}
    return files | {path: content for one in found for path, content in one.files.items()}


def _quadlet_files(found: Sequence[ReleasedService], folder: str) -> dict[str, bytes]:
    files = {"upwell.network": quadlet_network().encode()}
    for one in found:
        name, variables = one.service.name, dict(one.service.environment)
        files[f"{name}.container"] = quadlet_text(one.service, folder if variables else "").encode()
        if variables:
            files[f"{name}.env"] = environment_file(variables).encode()
        files |= one.files
    return files


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files that only their owner reads; raises CommandError, with nothing replaced."""
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise CommandError(
            f"nothing was written: {folder} has {', '.join(there)} already: name another folder"
            " with --to",
            Exit.USAGE,
        )
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            echo(str(path))
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror}") from error
