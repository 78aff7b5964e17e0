"""`upwell create deployment` and `deploymentconfig`."""

from collections.abc import Sequence

import click

from upwell.cli.changes.create.object_command import (
    COMMAND_ARGUMENT,
    NAME_ARGUMENT,
    Document,
    creates,
    new_object,
)


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
_REPLICAS = click.option(
    "--replicas", type=click.IntRange(min=0), default=1, show_default=True, help="Replicas."
)
_PORT = click.option(
    "--port",
    type=click.IntRange(1, 65535),
    show_default="none",
    help="Port that the containers listen on.",
)


@creates(
    "deployment",
    "upwell create deployment shop --image=registry.test/shop:2 --replicas=3 --port=8080",
    "upwell create deployment idle --image=busybox -- sleep 1d",
)
@NAME_ARGUMENT
@COMMAND_ARGUMENT
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
    made = new_object("apps/v1", "Deployment", name, spec=spec)
    made["metadata"]["labels"] = {"app": name}
    return made


@creates(
    "deploymentconfig",
    "upwell create deploymentconfig gate --image=registry.test/gate:1",
)
@NAME_ARGUMENT
@COMMAND_ARGUMENT
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
    return new_object("apps.openshift.io/v1", "DeploymentConfig", name, spec=spec)
