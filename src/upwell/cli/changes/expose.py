"""`upwell expose`: a Route for a Service, or a Service for a workload."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from upwell.api.codec import encode
from upwell.api.core import Service
from upwell.api.meta import Resource
from upwell.api.pod import Pod
from upwell.cli.changes.creating import create_one
from upwell.cli.changes.pod_templates import pod_spec, port_of
from upwell.cli.changes.writing import WritingOptions, write_options
from upwell.cli.core.assignments import parse_assignments
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import check_documents
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.names import parse_named
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.store.interface import ApiClient

type Document = dict[str, Any]


@dataclass(slots=True)
class _ExposeOptions:
    name: str = ""
    port: str = ""
    target_port: str = ""
    protocol: str = ""
    type: str = ""
    hostname: str = ""
    path: str = ""
    labels: str = ""
    selector: str = ""
    wildcard_policy: str = ""

    @property
    def is_for_services(self) -> str:
        """The option that only makes sense for a new Service; empty for none."""
        given = {
            "--target-port": self.target_port,
            "--protocol": self.protocol,
            "--type": self.type,
            "--selector": self.selector,
        }
        return next((option for option, value in given.items() if value), "")

    @property
    def is_for_routes(self) -> str:
        """The option that only makes sense for a new Route; empty for none."""
        given = {
            "--hostname": self.hostname,
            "--path": self.path,
            "--wildcard-policy": self.wildcard_policy,
        }
        return next((option for option, value in given.items() if value), "")


def _option(target: str, *names: str, shown: str, text: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(_ExposeOptions, target, *names, show_default=shown, help=text, **facts)


@click.command(
    epilog=examples(
        "upwell expose service/shop",
        "upwell expose svc shop --hostname=shop.test --path=/api --name=shop-api",
        "upwell expose deployment/shop --port=80 --target-port=8080",
    )
)
@click.argument("words", nargs=-1, required=True, metavar="KIND/NAME")
@_option("name", "--name", shown="the object's", text="Name of the new object.")
@_option(
    "port",
    "--port",
    shown="those of the object",
    text="Port of the new Service; of a Route, the port of its Service.",
)
@_option(
    "target_port",
    "--target-port",
    shown="--port",
    text="Number or name of the port of the containers.",
)
@_option(
    "protocol",
    "--protocol",
    type=click.Choice(["TCP", "UDP"]),
    shown="TCP",
    text="Protocol of the new Service.",
)
@_option("type", "--type", shown="ClusterIP", text="Type of the new Service.")
@_option("hostname", "--hostname", shown="a new one", text="Host of the new Route.")
@_option("path", "--path", shown="all paths", text="Path below which the new Route serves.")
@_option(
    "labels",
    "-l",
    "--labels",
    metavar="K=V,...",
    shown="the object's",
    text="Labels of the new object.",
)
@_option(
    "selector",
    "--selector",
    metavar="K=V,...",
    shown="the workload's",
    text="Labels of the Pods of the new Service.",
)
@_option(
    "wildcard_policy",
    "--wildcard-policy",
    type=click.Choice(["None", "Subdomain"]),
    shown="None",
    text="Hosts of the new Route: its own, or all of its subdomain.",
)
@write_options()
@connection_options
@click.pass_context
def expose(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Create a Route for a Service, or a Service for a workload.

    A Route makes a Service reachable from outside; a Service gives the Pods of a workload one
    name.
    """
    session: Session = ctx.ensure_object(Session)
    options, writing = kept(ctx, _ExposeOptions), kept(ctx, WritingOptions)
    named = parse_named(words)
    if options.name and len(named) > 1:
        raise click.UsageError("--name needs a single object")

    async def work(client: ApiClient) -> None:
        for one in named:
            found = await client.get(one.resource, one.namespace(session.namespace), one.name)
            document = _exposed(found, options)
            (manifest,) = check_documents([document], session)
            if writing.is_written:
                await create_one(client, manifest, writing, done="exposed")
            else:
                writing.tell(manifest.resource, manifest.document, "exposed")

    session.run(work)


def _exposed(found: Resource, options: _ExposeOptions) -> Document:
    """Return the object that exposes another; raises CommandError."""
    if isinstance(found, Service):
        if option := options.is_for_services:
            raise CommandError(f"{option} is for a new Service: a Service gets a Route", Exit.USAGE)
        return _route(found, options)
    if not isinstance(found, (*WORKLOADS, Pod)):
        what = f"{found.KIND.singular}/{found.name}"
        raise CommandError(
            f"cannot expose {what}: name a Service, for a Route, or a workload, for a Service",
            Exit.USAGE,
        )
    if option := options.is_for_routes:
        message = f"{option} is for a Route: expose the workload as a Service first, then that"
        raise CommandError(message, Exit.USAGE)
    return _service(found, options)


def _metadata(found: Resource, options: _ExposeOptions) -> Document:
    labels = dict(found.labels)
    if options.labels:
        labels = parse_assignments("--labels", options.labels.split(","))
    metadata: Document = {"name": options.name or found.name}
    return {**metadata, "labels": labels} if labels else metadata


def _route(service: Service, options: _ExposeOptions) -> Document:
    spec: Document = {"to": {"kind": "Service", "name": service.name}}
    ports = encode(service).get("spec", {}).get("ports") or []
    port = options.port or (
        str(ports[0].get("name") or ports[0].get("targetPort") or "") if ports else ""
    )
    if port:
        spec["port"] = {"targetPort": port_of(port)}
    given = {
        "host": options.hostname,
        "path": options.path,
        "wildcardPolicy": options.wildcard_policy,
    }
    spec |= {field: value for field, value in given.items() if value}
    metadata = _metadata(service, options)
    return {
        "apiVersion": "route.openshift.io/v1",
        "kind": "Route",
        "metadata": metadata,
        "spec": spec,
    }


def _service(workload: Resource, options: _ExposeOptions) -> Document:
    document = encode(workload)
    if options.selector:
        selector: Any = parse_assignments("--selector", options.selector.split(","))
    elif isinstance(workload, Pod):
        selector = dict(workload.labels)
    else:
        selector = document.get("spec", {}).get("selector") or {}
        if selector.get("matchExpressions"):
            raise CommandError(
                "its selector has expressions: name labels with --selector", Exit.USAGE
            )
        selector = selector.get("matchLabels", selector)
    if not selector:
        raise CommandError(f"{workload.name} has no labels to select: name some with --selector")
    ports = _ports(document, options)
    spec: Document = {"selector": selector, "ports": ports}
    if options.type:
        spec["type"] = options.type
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(workload, options),
        "spec": spec,
    }


def _ports(document: Document, options: _ExposeOptions) -> list[Document]:
    if options.port:
        numbers = options.port.split(",")
        if not all(number.isdecimal() for number in numbers):
            raise click.UsageError(f"--port={options.port}: write a number")
        found = [
            {
                "port": int(number),
                "targetPort": port_of(options.target_port or number),
                "protocol": options.protocol or "TCP",
            }
            for number in numbers
        ]
    else:
        found = [
            {
                "port": port["containerPort"],
                "targetPort": port_of(options.target_port or str(port["containerPort"])),
                "protocol": options.protocol or port.get("protocol") or "TCP",
            }
            for container in pod_spec(document).get("containers") or ()
            for port in container.get("ports") or ()
        ]
    if not found:
        raise CommandError("its containers declare no port: name one with --port", Exit.USAGE)
    if len(found) > 1:
        for at, port in enumerate(found, 1):
            port["name"] = f"port-{at}"
    return found
