"""`upwell projects`, `project` and `new-project`: namespaces, and the one that commands use."""

from dataclasses import replace

import click

from upwell.api.codec import encode
from upwell.api.core import Namespace
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.logins import Login, logins_path, read_logins, write_logins
from upwell.cli.core.output import Format, output_option, write_documents
from upwell.cli.core.terminal import echo
from upwell.cli.objects.apply import FIELD_MANAGER
from upwell.store.interface import AlreadyExistsError, ApiClient, WriteRequest
from upwell.store.kubernetes_errors import StoreForbiddenError

_DISPLAY_NAME = "openshift.io/display-name"
_DESCRIPTION = "openshift.io/description"


@click.command(epilog=examples("upwell projects", "upwell projects -o name"))
@click.option("-q", "--short", is_flag=True, help="Print the names alone.")
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def projects(session: Session, output: str, *, short: bool) -> None:
    """List the projects (namespaces), and mark the one in use."""

    async def work(client: ApiClient) -> None:
        found = (await client.list(Namespace)).items
        if output not in {Format.TABLE, Format.NAME}:
            write_documents([encode(one) for one in found], output, single=False)
            return
        for one in found:
            if output == Format.NAME:
                echo(f"namespace/{one.name}")
            elif short:
                echo(one.name)
            else:
                mark = "*" if one.name == session.namespace else " "
                title = one.annotations.get(_DISPLAY_NAME, "")
                echo(f"{mark} {one.name}{f' - {title}' if title else ''}")
        if output == Format.TABLE and not short:
            where = f'Using project "{session.namespace}" on server "{session.server}".'
            echo(where, err=True)

    session.run(work)


@click.command(epilog=examples("upwell project", "upwell project staging"))
@click.argument("name", required=False, metavar="[NAME]")
@click.option("-q", "--short", is_flag=True, help="Print the name of the project alone.")
@connection_options
@click.pass_obj
def project(session: Session, name: str | None, *, short: bool) -> None:
    """Show the project in use, or use another from now on.

    It is kept beside the login to the server; --namespace and UPWELL_NAMESPACE outrank it.
    """
    if name is None:
        where = f'Using project "{session.namespace}" on server "{session.server}".'
        echo(session.namespace if short else where)
        return

    async def work(client: ApiClient) -> None:
        try:
            await client.get(Namespace, "", name)
        except StoreForbiddenError:
            echo(f"cannot tell whether project {name!r} exists: you may not read it", err=True)

    session.run(work)
    _use(session, name)
    echo(name if short else f'Now using project "{name}" on server "{session.server}".')


@click.command(
    "new-project",
    epilog=examples(
        "upwell new-project staging", "upwell new-project shop --display-name='The shop'"
    ),
)
@click.argument("name", metavar="NAME")
@click.option("--display-name", default="", show_default="none", help="Name for people.")
@click.option("--description", default="", show_default="none", help="Description for people.")
@click.option("--skip-config-write", is_flag=True, help="Keep using the present project.")
@connection_options
@click.pass_obj
def new_project(
    session: Session, name: str, display_name: str, description: str, *, skip_config_write: bool
) -> None:
    """Create a project (namespace), and use it from now on."""
    given = {_DISPLAY_NAME: display_name, _DESCRIPTION: description}
    annotations = {key: value for key, value in given.items() if value}
    document = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "annotations": annotations},
    }

    async def work(client: ApiClient) -> None:
        wanted = Namespace.model_validate({"metadata": {"name": name}})
        try:
            await client.write("POST", wanted, document, WriteRequest(field_manager=FIELD_MANAGER))
        except AlreadyExistsError as error:
            raise CommandError(
                f"project {name!r} exists already; `upwell project {name}` uses it"
            ) from error

    session.run(work)
    if skip_config_write:
        echo(f'Created project "{name}" on server "{session.server}".')
        return
    _use(session, name)
    echo(f'Now using project "{name}" on server "{session.server}".')


def _use(session: Session, namespace: str) -> None:
    """Keep the namespace beside the login to the session's server; raises CommandError."""
    path = logins_path()
    logins = read_logins(path)
    known = logins.of(session.server) or Login(session.server.rstrip("/"))
    changed = replace(known, namespace=namespace)
    current = logins.current or changed.server
    write_logins(path, replace(logins.with_login(changed), current=current))
