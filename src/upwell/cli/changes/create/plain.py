"""`upwell create namespace`, `serviceaccount` and `imagestream`, which need a name alone."""

import click

from upwell.cli.changes.create.object_command import NAME_ARGUMENT, Document, creates, new_object


@creates("namespace", "upwell create namespace staging")
@NAME_ARGUMENT
def namespace(name: str) -> Document:
    """Create a namespace."""
    return new_object("v1", "Namespace", name)


@creates("serviceaccount", "upwell create serviceaccount robot")
@NAME_ARGUMENT
def serviceaccount(name: str) -> Document:
    """Create a ServiceAccount."""
    return new_object("v1", "ServiceAccount", name)


@creates("imagestream", "upwell create imagestream shop")
@NAME_ARGUMENT
@click.option(
    "--lookup-local",
    is_flag=True,
    help="Let workloads of the namespace name the stream's tags as images.",
)
def imagestream(name: str, lookup_local: bool) -> Document:  # noqa: FBT001 - click passes options by name
    """Create an image stream without tags."""
    spec = {"lookupPolicy": {"local": True}} if lookup_local else {}
    return new_object("image.openshift.io/v1", "ImageStream", name, spec=spec)
