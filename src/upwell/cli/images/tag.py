"""`upwell tag`: promote an image, follow one, import one, or remove a tag."""

from typing import Any

import click

from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.image import ImageStream, ImageStreamTag, ImportMode
from upwell.api.meta import ObjectKey
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import shortened
from upwell.cli.images.stream_names import StreamTagName, names_registry, parse_stream_tag
from upwell.policy.images.tracking import IMAGE_STREAM_IMAGE
from upwell.store.interface import ApiClient, NotFoundError


@click.command(
    "tag",
    epilog=examples(
        "upwell tag dev/shop:latest prod/shop:live",
        "upwell tag shop:1.4 shop:stable --alias",
        "upwell tag docker.io/library/debian:12 debian:12 --scheduled",
        "upwell tag -d shop:old",
    ),
)
@click.argument("names", nargs=-1, required=True, metavar="SOURCE TAG...")
@click.option("-d", "--delete", is_flag=True, help="Remove the tags; there is no source.")
@click.option("--alias", is_flag=True, help="Follow the source instead of copying its image.")
@click.option("--scheduled", is_flag=True, help="Look upstream again and again.")
@click.option("--insecure", is_flag=True, help="Allow plain HTTP and TLS that cannot be verified.")
@click.option("--reference", is_flag=True, help="Never import: keep the source's pull spec alone.")
@click.option(
    "--reference-policy",
    type=click.Choice(["source", "local"]),
    default="source",
    show_default=True,
    help="Whether the image is pulled from its source or from the internal registry.",
)
@click.option(
    "--import-mode",
    type=click.Choice([str(mode) for mode in ImportMode]),
    default=None,
    show_default="the whole index",
    help="What is kept of an image for several platforms.",
)
@click.option(
    "--source",
    "kind",
    type=click.Choice(["istag", "imagestreamtag", "isimage", "imagestreamimage", "docker"]),
    default=None,
    show_default="by its form",
    help="What SOURCE names.",
)
@connection_options
@click.pass_obj
def tag(session: Session, /, names: tuple[str, ...], delete: bool, **options: Any) -> None:  # noqa: FBT001 - click passes options by name
    """Give the image SOURCE further names, each [NAMESPACE/]STREAM[:TAG].

    A stream's image is copied as it is now: this promotes it. With --alias the new name follows
    the old one.
    """
    if delete:
        _delete(session, names)
        return
    if len(names) == 1:
        raise click.UsageError("name the source, and at least one tag that it is to have")
    source, *rest = names
    goals = [parse_stream_tag(name, session.namespace) for name in rest]
    _check(source, options)

    async def work(client: ApiClient) -> None:
        origin = await _origin(client, session, source, options)
        for goal in goals:
            document = _document(goal, origin, options)
            await client.call("PUT", ImageStreamTag, goal.namespace, goal.name, "", document)
            verb = "follows" if options["alias"] else "is"
            click.echo(f"{goal} {verb} {shortened(_shown(origin))}")

    session.run(work)


def _delete(session: Session, names: tuple[str, ...]) -> None:
    goals = [parse_stream_tag(name, session.namespace) for name in names]

    async def work(client: ApiClient) -> None:
        for goal in goals:
            await client.delete(ImageStreamTag, goal.namespace, goal.name)
            click.echo(f"{goal} removed")

    session.run(work)


def _check(source: str, options: dict[str, Any]) -> None:
    external = _is_external(source, options)
    for name in ("scheduled", "insecure", "import_mode"):
        if options[name] and not external:
            option = name.replace("_", "-")
            raise click.UsageError(
                f"--{option} is for images of other registries (--source=docker)"
            )
    if options["alias"] and (external or "@" in source):
        raise click.UsageError("--alias follows a tag of a stream; --scheduled follows a registry")


def _is_external(source: str, options: dict[str, Any]) -> bool:
    if options["kind"] is not None:
        return bool(options["kind"] == "docker")
    return names_registry(source)


async def _origin(
    client: ApiClient, session: Session, source: str, options: dict[str, Any]
) -> dict[str, str]:
    """Return the `from` of the new tags."""
    if _is_external(source, options):
        return {"kind": DOCKER_IMAGE, "name": source}
    if "@" in source:
        namespace, slash, name = source.rpartition("/")
        place = namespace if slash else session.namespace
        return {"kind": IMAGE_STREAM_IMAGE, "namespace": place, "name": name}
    named = parse_stream_tag(source, session.namespace)
    if options["alias"]:
        return {"kind": IMAGE_STREAM_TAG, "namespace": named.namespace, "name": named.name}
    return await _current(client, named)


async def _current(client: ApiClient, named: StreamTagName) -> dict[str, str]:
    """Return the image that a tag has now; raises CommandError."""
    stream = await client.get(ImageStream, named.namespace, named.stream)
    history = stream.status.tag(named.tag)
    if history is None:
        raise NotFoundError(ObjectKey(ImageStreamTag.KIND.kind, named.namespace, named.name))
    if history.latest is None:
        raise CommandError(f"{named} has no image yet", Exit.NOT_FOUND)
    if not history.latest.image:
        return {"kind": DOCKER_IMAGE, "name": history.latest.docker_image_reference}
    image = f"{named.stream}@{history.latest.image}"
    return {"kind": IMAGE_STREAM_IMAGE, "namespace": named.namespace, "name": image}


def _document(
    goal: StreamTagName, origin: dict[str, str], options: dict[str, Any]
) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": goal.tag, "from": origin, "generation": 0}
    policy = {
        name: options[option]
        for name, option in (("scheduled", "scheduled"), ("insecure", "insecure"))
        if options[option]
    }
    if options["import_mode"]:
        policy["importMode"] = options["import_mode"]
    if policy:
        declared["importPolicy"] = policy
    if options["reference"]:
        declared["reference"] = True
    if options["reference_policy"] != "source":
        declared["referencePolicy"] = {"type": "Local"}
    return {
        "apiVersion": ImageStreamTag.KIND.api_version,
        "kind": ImageStreamTag.KIND.kind,
        "metadata": {"name": goal.name, "namespace": goal.namespace},
        "tag": declared,
    }


def _shown(origin: dict[str, str]) -> str:
    place = f"{origin['namespace']}/" if "namespace" in origin else ""
    return f"{place}{origin['name']}"
