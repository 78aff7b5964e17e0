"""`upwell create service` and `route`: how workloads are reached."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from upwell.cli.changes.create.object_command import NAME_ARGUMENT, Document, creates, new_object
from upwell.cli.changes.file_data import (
    read_file,
)
from upwell.cli.changes.pod_templates import PORT_DIGITS, port_of
from upwell.cli.core.examples import examples


@click.group(
    no_args_is_help=True,
    epilog=examples("upwell create service clusterip shop --tcp=80:8080"),
)
def service() -> None:
    """Create Services."""


@creates("clusterip", "upwell create service clusterip shop --tcp=80:8080")
@NAME_ARGUMENT
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
    made = new_object("v1", "Service", name, spec=spec)
    made["metadata"]["labels"] = {"app": name}
    return made


@click.group(
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
    return new_object("route.openshift.io/v1", "Route", name or target, spec=spec)


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


@creates(
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


@creates("passthrough", "upwell create route passthrough --service=shop")
@_route_options
def passthrough(name: str, target: str, hostname: str, port: str) -> Document:
    """Create a Route whose TLS the Service ends."""
    return _route(name, target, hostname, port, {"termination": "passthrough"})


@creates("reencrypt", "upwell create route reencrypt --service=shop --dest-ca-cert=ca.crt")
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


service.add_command(clusterip)
for _command in (edge, passthrough, reencrypt):
    route.add_command(_command)
