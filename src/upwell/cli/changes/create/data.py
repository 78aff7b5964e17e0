"""`upwell create configmap` and `secret`: data of files, literals and logins."""

import base64
import json
import sys
from pathlib import Path

import click

from upwell.cli.changes.create.object_command import NAME_ARGUMENT, Document, creates, new_object
from upwell.cli.changes.file_data import (
    MAX_FILE_BYTES,
    data_options,
    encoded,
    read_data,
    read_file,
)
from upwell.cli.core.examples import examples


@creates(
    "configmap",
    "upwell create configmap settings --from-literal=mode=fast --from-file=app.conf",
)
@NAME_ARGUMENT
@data_options
def configmap(
    name: str, files: tuple[str, ...], literals: tuple[str, ...], env_files: tuple[str, ...]
) -> Document:
    """Create a config map from files, literals or KEY=VALUE lines."""
    texts, binary = {}, {}
    for key, content in read_data(files, literals, env_files).items():
        try:
            texts[key] = content.decode()
        except UnicodeDecodeError:
            binary[key] = base64.b64encode(content).decode()
    made = new_object("v1", "ConfigMap", name, data=texts)
    return {**made, "binaryData": binary} if binary else made


@click.group(
    no_args_is_help=True,
    epilog=examples(
        "upwell create secret generic database --from-file=password.txt",
        "upwell create secret docker-registry pull --docker-server=registry.test"
        " --docker-username=ada --docker-password-stdin",
    ),
)
def secret() -> None:
    """Create Secrets: generic, tls, docker-registry."""


@creates(
    "generic",
    "upwell create secret generic database --from-literal=user=ada --from-file=password.txt",
)
@NAME_ARGUMENT
@data_options
@click.option("--type", "kind", default="Opaque", show_default=True, help="Type of the Secret.")
def generic(
    name: str,
    files: tuple[str, ...],
    literals: tuple[str, ...],
    env_files: tuple[str, ...],
    kind: str,
) -> Document:
    """Create a Secret from files, literals or KEY=VALUE lines."""
    return new_object(
        "v1", "Secret", name, type=kind, data=encoded(read_data(files, literals, env_files))
    )


@creates("tls", "upwell create secret tls shop --cert=tls.crt --key=tls.key")
@NAME_ARGUMENT
@click.option("--cert", required=True, metavar="FILE", help="Certificates in PEM.")
@click.option("--key", required=True, metavar="FILE", help="Private key in PEM.")
def tls(name: str, cert: str, key: str) -> Document:
    """Create a Secret with a certificate and its key."""
    data = {"tls.crt": read_file(Path(cert)), "tls.key": read_file(Path(key))}
    return new_object("v1", "Secret", name, type="kubernetes.io/tls", data=encoded(data))


@creates(
    "docker-registry",
    "upwell create secret docker-registry pull --docker-server=registry.test --docker-username=ada"
    " --docker-password-stdin",
    "upwell create secret docker-registry pull --from-file=.dockerconfigjson=config.json",
)
@NAME_ARGUMENT
@click.option(
    "--docker-server",
    "registry",
    default="https://index.docker.io/v1/",
    show_default=True,
    help="Registry of the login.",
)
@click.option("--docker-username", "user", default="", show_default="none", help="User's name.")
@click.option(
    "--docker-password",
    "password",
    default="",
    show_default="none",
    help="Password. Visible in the process list.",
)
@click.option(
    "--docker-password-stdin", "from_stdin", is_flag=True, help="Read the password from stdin."
)
@click.option("--docker-email", "email", default="", show_default="none", help="E-mail address.")
@click.option(
    "--from-file",
    "file",
    default="",
    show_default="none",
    metavar="PATH",
    help="File with logins (config.json) in place of one login.",
)
def docker_registry(
    name: str,
    registry: str,
    user: str,
    password: str,
    from_stdin: bool,  # noqa: FBT001
    email: str,
    file: str,
) -> Document:
    """Create a Secret with the login of a registry."""
    if file:
        content = read_file(Path(file.removeprefix(".dockerconfigjson=")))
    else:
        if from_stdin:
            password = sys.stdin.read(MAX_FILE_BYTES).rstrip("\n")
        if not user or not password:
            raise click.UsageError("give --docker-username and a password, or --from-file")
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        login = {"username": user, "password": password, "email": email, "auth": auth}
        kept_login = {key: value for key, value in login.items() if value}
        content = json.dumps({"auths": {registry: kept_login}}).encode()
    data = encoded({".dockerconfigjson": content})
    return new_object("v1", "Secret", name, type="kubernetes.io/dockerconfigjson", data=data)


for _command in (generic, tls, docker_registry):
    secret.add_command(_command)
