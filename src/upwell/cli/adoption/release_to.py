"""`upwell release-to`: give services back, as files that run without Upwell."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from upwell.api.apps import Deployment
from upwell.api.core import ConfigMap, Secret, Service
from upwell.api.image import ImageStream
from upwell.api.route import Route
from upwell.cli.adoption.released_files import write_all
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
from upwell.policy.adoption.release import (
    ReleasedFile,
    ReleasedService,
    Surroundings,
    among,
    released,
)
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
_FILE_MODE = 0o600


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
        if form == QUADLET:
            found = [one.for_quadlet() for one in found]
        files = _compose_files(found) if form == COMPOSE else _quadlet_files(found, str(target))
        for path in write_all(target, files):
            echo(str(path))
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
    around = Surroundings(streams, services, (await client.list(Route, selector)).items)
    try:
        return among([await _one(client, workload, around, folders) for workload in workloads])
    except (AdoptionError, TemplateError) as error:
        raise CommandError(f"nothing was written: {error}", Exit.USAGE) from error


async def _one(
    client: ApiClient,
    workload: Deployment,
    around: Surroundings,
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
    return released(workload, build(revision, 0), around, folders)


def _compose_files(found: Sequence[ReleasedService]) -> dict[str, ReleasedFile]:
    text = compose_text([one.service for one in found])
    files = {"compose.yaml": _private(text)}
    return files | {path: file for one in found for path, file in one.files.items()}


def _quadlet_files(found: Sequence[ReleasedService], folder: str) -> dict[str, ReleasedFile]:
    files = {"upwell.network": _private(quadlet_network())}
    for one in found:
        name, variables = one.service.name, environment_file(one.service.environment)
        text = quadlet_text(one.service, folder if variables else "")
        files[f"{name}.container"] = _private(text)
        if variables:
            files[f"{name}.env"] = _private(variables)
        files |= one.files
    return files


def _private(text: str) -> ReleasedFile:
    """Return a file for its owner alone: variables and Secrets are in it."""
    return ReleasedFile(text.encode(), _FILE_MODE)
