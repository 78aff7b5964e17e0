"""`upwell create`: create objects from manifests, or from arguments."""

import base64
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, override

import click

from upwell.api.apps import CronJob
from upwell.api.codec import encode
from upwell.cli.changes.creating import create_documents, create_manifests
from upwell.cli.changes.file_data import (
    MAX_FILE_BYTES,
    data_options,
    encoded,
    read_data,
    read_file,
)
from upwell.cli.changes.pod_templates import PORT_DIGITS, port_of
from upwell.cli.changes.writing import WritingOptions, write_options
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import load_manifests
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import kept
from upwell.cli.core.names import parse_one
from upwell.store.interface import ApiClient

_ALIASES = {
    "cm": "configmap",
    "deploy": "deployment",
    "is": "imagestream",
    "istag": "imagestreamtag",
    "ns": "namespace",
    "sa": "serviceaccount",
    "cj": "cronjob",
    "dc": "deploymentconfig",
}
type Document = dict[str, Any]


class _CreateGroup(click.Group):
    """Commands that are also found by the short names of their kinds."""

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))


@click.group(
    cls=_CreateGroup,
    invoke_without_command=True,
    epilog=examples(
        "upwell create -f shop.yaml",
        "upwell create configmap settings --from-literal=mode=fast",
        "upwell create secret generic database --from-file=password.txt",
        "upwell create deployment shop --image=registry.test/shop:2 --dry-run=client -o yaml",
        "upwell create job again --from=cronjob/backup",
    ),
)
@click.option(
    "-f",
    "--filename",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="File, folder, http(s) URL (30 s, 8 MiB) or - for stdin; repeatable.",
)
@click.option("-R", "--recursive", is_flag=True, help="Read the subfolders of a folder as well.")
@write_options()
@connection_options
@click.pass_context
def create(ctx: click.Context, sources: tuple[str, ...], recursive: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Create objects, from manifests or from arguments; one that exists is an error."""
    if ctx.invoked_subcommand is not None:
        if sources:
            raise click.UsageError("name manifests with -f, or a kind to create, not both")
        return
    if not sources:
        raise click.UsageError("name manifests with -f, or a kind to create (-h lists them)")
    session: Session = ctx.ensure_object(Session)
    create_manifests(
        session, load_manifests(sources, session, recursive=recursive), kept(ctx, WritingOptions)
    )


def _creates(
    group: click.Group, name: str, *lines: str
) -> Callable[[Callable[..., Document]], click.Command]:
    """Return a decorator for a function that makes the document of a new object."""

    def decorate(make: Callable[..., Document]) -> click.Command:
        def run(*arguments: Any, **options: Any) -> None:
            ctx = click.get_current_context()
            session: Session = ctx.ensure_object(Session)
            create_documents(session, [make(*arguments, **options)], kept(ctx, WritingOptions))

        run.__doc__ = make.__doc__
        run.__click_params__ = getattr(make, "__click_params__", [])  # type: ignore[attr-defined]
        decorated = connection_options(run)
        return group.command(name, epilog=examples(*lines))(write_options()(decorated))

    return decorate


def _object(api_version: str, kind: str, name: str, **fields: Any) -> Document:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


_NAME = click.argument("name", metavar="NAME")


@_creates(
    create,
    "configmap",
    "upwell create configmap settings --from-literal=mode=fast --from-file=app.conf",
)
@_NAME
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
    made = _object("v1", "ConfigMap", name, data=texts)
    return {**made, "binaryData": binary} if binary else made


@create.group(
    no_args_is_help=True,
    epilog=examples(
        "upwell create secret generic database --from-file=password.txt",
        "upwell create secret docker-registry pull --docker-server=registry.test"
        " --docker-username=ada --docker-password-stdin",
    ),
)
def secret() -> None:
    """Create Secrets: generic, tls, docker-registry."""


@_creates(
    secret,
    "generic",
    "upwell create secret generic database --from-literal=user=ada --from-file=password.txt",
)
@_NAME
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
    return _object(
        "v1", "Secret", name, type=kind, data=encoded(read_data(files, literals, env_files))
    )


@_creates(secret, "tls", "upwell create secret tls shop --cert=tls.crt --key=tls.key")
@_NAME
@click.option("--cert", required=True, metavar="FILE", help="Certificates in PEM.")
@click.option("--key", required=True, metavar="FILE", help="Private key in PEM.")
def tls(name: str, cert: str, key: str) -> Document:
    """Create a Secret with a certificate and its key."""
    data = {"tls.crt": read_file(Path(cert)), "tls.key": read_file(Path(key))}
    return _object("v1", "Secret", name, type="kubernetes.io/tls", data=encoded(data))


@_creates(
    secret,
    "docker-registry",
    "upwell create secret docker-registry pull --docker-server=registry.test --docker-username=ada"
    " --docker-password-stdin",
    "upwell create secret docker-registry pull --from-file=.dockerconfigjson=config.json",
)
@_NAME
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
    return _object("v1", "Secret", name, type="kubernetes.io/dockerconfigjson", data=data)


@_creates(create, "namespace", "upwell create namespace staging")
@_NAME
def namespace(name: str) -> Document:
    """Create a namespace."""
    return _object("v1", "Namespace", name)


@_creates(create, "serviceaccount", "upwell create serviceaccount robot")
@_NAME
def serviceaccount(name: str) -> Document:
    """Create a ServiceAccount."""
    return _object("v1", "ServiceAccount", name)


@_creates(create, "imagestream", "upwell create imagestream shop")
@_NAME
@click.option(
    "--lookup-local",
    is_flag=True,
    help="Let workloads of the namespace name the stream's tags as images.",
)
def imagestream(name: str, lookup_local: bool) -> Document:  # noqa: FBT001 - click passes options by name
    """Create an image stream without tags."""
    spec = {"lookupPolicy": {"local": True}} if lookup_local else {}
    return _object("image.openshift.io/v1", "ImageStream", name, spec=spec)


def _template(
    name: str, image: Sequence[str], command: Sequence[str], port: int | None
) -> Document:
    """Return a pod template with a container for each image, named by it."""
    containers = []
    for one in image:
        base = one.rpartition("/")[2].partition("@")[0].partition(":")[0]
        container: Document = {"name": base.replace("_", "-").lower(), "image": one}
        if command:
            container["command"] = list(command)
        if port is not None:
            container["ports"] = [{"containerPort": port}]
        containers.append(container)
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}


_IMAGES = click.option(
    "--image", "images", multiple=True, required=True, help="Image of a container; repeatable."
)
_COMMAND = click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
_REPLICAS = click.option(
    "--replicas", type=click.IntRange(min=0), default=1, show_default=True, help="Replicas."
)
_PORT = click.option(
    "--port",
    type=click.IntRange(1, 65535),
    show_default="none",
    help="Port that the containers listen on.",
)


@_creates(
    create,
    "deployment",
    "upwell create deployment shop --image=registry.test/shop:2 --replicas=3 --port=8080",
    "upwell create deployment idle --image=busybox -- sleep 1d",
)
@_NAME
@_COMMAND
@_IMAGES
@_REPLICAS
@_PORT
def deployment(
    name: str, command: tuple[str, ...], images: tuple[str, ...], replicas: int, port: int | None
) -> Document:
    """Create a Deployment that runs images."""
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": _template(name, images, command, port),
    }
    made = _object("apps/v1", "Deployment", name, spec=spec)
    made["metadata"]["labels"] = {"app": name}
    return made


@_creates(
    create,
    "deploymentconfig",
    "upwell create deploymentconfig gate --image=registry.test/gate:1",
)
@_NAME
@_COMMAND
@_IMAGES
@_REPLICAS
def deploymentconfig(
    name: str, command: tuple[str, ...], images: tuple[str, ...], replicas: int
) -> Document:
    """Create a DeploymentConfig that runs images."""
    labels = {"deployment-config.name": name}
    template = _template(name, images, command, None)
    template["metadata"]["labels"] = labels
    spec = {"replicas": replicas, "selector": labels, "template": template}
    return _object("apps.openshift.io/v1", "DeploymentConfig", name, spec=spec)


def _job_spec(name: str, image: str, command: Sequence[str], restart: str) -> Document:
    container: Document = {"name": name, "image": image}
    if command:
        container["command"] = list(command)
    return {"template": {"spec": {"containers": [container], "restartPolicy": restart}}}


@_creates(
    create,
    "job",
    "upwell create job migrate --image=registry.test/shop:2 -- ./migrate --all",
    "upwell create job again --from=cronjob/backup",
)
@_NAME
@_COMMAND
@click.option("--image", default="", show_default="that of --from", help="Image to run.")
@click.option(
    "--from",
    "source",
    default="",
    show_default="none",
    metavar="cronjob/NAME",
    help="CronJob whose job to run now.",
)
def job(name: str, command: tuple[str, ...], image: str, source: str) -> Document:
    """Create a Job that runs a command once, or a CronJob's job now."""
    if bool(image) == bool(source):
        raise click.UsageError("give --image, or --from=cronjob/NAME")
    if image:
        return _object("batch/v1", "Job", name, spec=_job_spec(name, image, command, "Never"))
    if command:
        raise click.UsageError("--from takes no command: it is that of the CronJob")
    named = parse_one((source,))
    if named.resource is not CronJob:
        raise click.UsageError(f"--from={source}: name a CronJob as cronjob/NAME")
    session: Session = click.get_current_context().ensure_object(Session)
    found: list[CronJob] = []

    async def work(client: ApiClient) -> None:
        found.append(await client.get(CronJob, session.namespace, named.name))

    session.run(work)
    return _job_of(name, found[0])


def _job_of(name: str, cron_job: CronJob) -> Document:
    template = encode(cron_job).get("spec", {}).get("jobTemplate", {})
    metadata = template.get("metadata") or {}
    made = _object("batch/v1", "Job", name, spec=template.get("spec", {}))
    made["metadata"] |= {
        "labels": metadata.get("labels") or {},
        "annotations": {
            **(metadata.get("annotations") or {}),
            "cronjob.kubernetes.io/instantiate": "manual",
        },
        "ownerReferences": [
            {
                "apiVersion": "batch/v1",
                "kind": "CronJob",
                "name": cron_job.name,
                "uid": cron_job.uid,
            }
        ],
    }
    return made


@_creates(
    create,
    "cronjob",
    "upwell create cronjob backup --image=registry.test/tools:1 --schedule='0 3 * * *' -- ./backup",
)
@_NAME
@_COMMAND
@click.option("--image", required=True, help="Image to run.")
@click.option("--schedule", required=True, help="Schedule, as cron writes it.")
@click.option(
    "--restart",
    type=click.Choice(["OnFailure", "Never"]),
    default="OnFailure",
    show_default=True,
    help="Restart policy.",
)
def cronjob(
    name: str, command: tuple[str, ...], image: str, schedule: str, restart: str
) -> Document:
    """Create a CronJob that runs a command on a schedule."""
    job_template = {"spec": _job_spec(name, image, command, restart)}
    spec = {"schedule": schedule, "jobTemplate": job_template}
    return _object("batch/v1", "CronJob", name, spec=spec)


@create.group(
    no_args_is_help=True,
    epilog=examples("upwell create service clusterip shop --tcp=80:8080"),
)
def service() -> None:
    """Create Services."""


@_creates(service, "clusterip", "upwell create service clusterip shop --tcp=80:8080")
@_NAME
@click.option(
    "--tcp",
    "ports",
    multiple=True,
    required=True,
    metavar="PORT[:TARGET]",
    help="Port, and the port of the containers; repeatable.",
)
def clusterip(name: str, ports: tuple[str, ...]) -> Document:
    """Create a Service for the Pods with the label app=NAME."""
    found = []
    for text in ports:
        port, _, target = text.partition(":")
        if not (port.isascii() and port.isdecimal() and len(port) <= PORT_DIGITS):
            raise click.UsageError(f"--tcp={text}: write PORT or PORT:TARGET")
        goal = port_of(target) if target else int(port)
        found.append(
            {
                "name": text.replace(":", "-"),
                "port": int(port),
                "protocol": "TCP",
                "targetPort": goal,
            }
        )
    spec = {"selector": {"app": name}, "ports": found}
    made = _object("v1", "Service", name, spec=spec)
    made["metadata"]["labels"] = {"app": name}
    return made


@create.group(
    no_args_is_help=True,
    epilog=examples("upwell create route edge shop --service=shop --hostname=shop.test"),
)
def route() -> None:
    """Create Routes with TLS: edge, passthrough, reencrypt. `upwell expose` makes plain ones."""


def _route(name: str, target: str, host: str, port: str, tls_: Document) -> Document:
    spec: Document = {"to": {"kind": "Service", "name": target}, "tls": tls_}
    if host:
        spec["host"] = host
    if port:
        spec["port"] = {"targetPort": port_of(port)}
    return _object("route.openshift.io/v1", "Route", name or target, spec=spec)


def _route_options[F: Callable[..., Any]](function: F) -> F:
    for option in (
        click.option("--port", default="", show_default="the first", help="Port of the Service."),
        click.option("--hostname", default="", show_default="a new one", help="Host of the Route."),
        click.option("--service", "target", required=True, help="Name of the Service."),
        click.argument("name", required=False, default="", metavar="[NAME]"),
    ):
        function = option(function)
    return function


_INSECURE = click.option(
    "--insecure-policy",
    type=click.Choice(["None", "Allow", "Redirect"]),
    show_default="None",
    help="What becomes of requests without TLS.",
)


@_creates(
    route,
    "edge",
    "upwell create route edge --service=shop",
    "upwell create route edge shop --service=web --hostname=shop.test --insecure-policy=Redirect",
)
@_route_options
@_INSECURE
def edge(name: str, target: str, hostname: str, port: str, insecure_policy: str | None) -> Document:
    """Create a Route whose TLS ends at the router."""
    tls_: Document = {"termination": "edge"}
    if insecure_policy:
        tls_["insecureEdgeTerminationPolicy"] = insecure_policy
    return _route(name, target, hostname, port, tls_)


@_creates(route, "passthrough", "upwell create route passthrough --service=shop")
@_route_options
def passthrough(name: str, target: str, hostname: str, port: str) -> Document:
    """Create a Route whose TLS the Service ends."""
    return _route(name, target, hostname, port, {"termination": "passthrough"})


@_creates(route, "reencrypt", "upwell create route reencrypt --service=shop --dest-ca-cert=ca.crt")
@_route_options
@click.option(
    "--dest-ca-cert",
    "authority",
    default="",
    show_default="the system's",
    metavar="FILE",
    help="Authority of the Service's certificate, in PEM.",
)
def reencrypt(name: str, target: str, hostname: str, port: str, authority: str) -> Document:
    """Create a Route whose TLS ends at the router, which speaks TLS with the Service too."""
    tls_: Document = {"termination": "reencrypt"}
    if authority:
        tls_["destinationCACertificate"] = read_file(Path(authority)).decode("ascii", "replace")
    return _route(name, target, hostname, port, tls_)
