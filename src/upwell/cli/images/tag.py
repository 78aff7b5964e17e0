"""`upwell tag`: tag images into image streams, or remove tags."""

from typing import Any

import click

from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.image import ImageStream, ImageStreamTag, ImportMode
from upwell.api.meta import ObjectKey
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import shortened
from upwell.cli.core.terminal import echo
from upwell.cli.images.stream_names import names_registry, parse_stream_tag
from upwell.policy.images.streams import StreamTag
from upwell.policy.images.tracking import IMAGE_STREAM_IMAGE, event_of_image
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
@click.option("-d", "--delete", is_flag=True, help="Remove the named tags; there is no SOURCE.")
@click.option("--alias", is_flag=True, help="Follow SOURCE instead of tagging its present image.")
@click.option("--scheduled", is_flag=True, help="Import again at intervals.")
@click.option("--insecure", is_flag=True, help="Allow plain HTTP and unverified TLS.")
@click.option(
    "--reference", is_flag=True, help="Keep the pull spec of SOURCE without importing it."
)
@click.option(
    "--reference-policy",
    type=click.Choice(["source", "local"]),
    default="source",
    show_default=True,
    help="Registry to pull the image from: its source or the internal one.",
)
@click.option(
    "--import-mode",
    type=click.Choice([str(mode) for mode in ImportMode]),
    default=None,
    show_default="the whole index",
    help="Part of a multi-platform image to keep.",
)
@click.option(
    "--source",
    "kind",
    type=click.Choice(["istag", "imagestreamtag", "isimage", "imagestreamimage", "docker"]),
    default=None,
    show_default="detected",
    help="Kind of SOURCE.",
)
@connection_options
@click.pass_obj
def tag(session: Session, /, names: tuple[str, ...], delete: bool, **options: Any) -> None:  # noqa: FBT001 - click passes options by name
    """Tag the image SOURCE as each TAG, [NAMESPACE/]STREAM[:TAG].

    A stream's tag gives its present image, so that this promotes it. With --alias the new tag
    follows SOURCE.
    """
    if delete:
        _delete(session, names)
        return
    if len(names) == 1:
        raise click.UsageError("name SOURCE and at least one TAG")
    source, *rest = names
    targets = [parse_stream_tag(name, session.namespace) for name in rest]
    _check(source, options)

    async def work(client: ApiClient) -> None:
        origin = await _origin(client, session, source, options)
        for target in targets:
            document = _document(target, origin, options)
            await client.call("PUT", ImageStreamTag, target.namespace, target.name, "", document)
            verb = "follows" if options["alias"] else "is"
            echo(f"{target} {verb} {shortened(_shown(origin))}")

    session.run(work)


def _delete(session: Session, names: tuple[str, ...]) -> None:
    targets = [parse_stream_tag(name, session.namespace) for name in names]

    async def work(client: ApiClient) -> None:
        for target in targets:
            await client.delete(ImageStreamTag, target.namespace, target.name)
            echo(f"{target} removed")

    session.run(work)


def _check(source: str, options: dict[str, Any]) -> None:
    external = _is_external(source, options)
    for name in ("scheduled", "insecure", "import_mode"):
        if options[name] and not external:
            option = name.replace("_", "-")
            raise click.UsageError(
                f"--{option} needs an image of another registry (--source=docker)"
            )
    if options["alias"] and (external or "@" in source):
        raise click.UsageError(
            "--alias needs a tag of a stream; use --scheduled to follow a registry"
        )


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
        return await _image(client, namespace if slash else session.namespace, name)
    named = parse_stream_tag(source, session.namespace)
    if options["alias"]:
        return {"kind": IMAGE_STREAM_TAG, "namespace": named.namespace, "name": named.name}
    return await _current(client, named)


async def _image(client: ApiClient, namespace: str, name: str) -> dict[str, str]:
    """Return the image of a stream that `STREAM@DIGEST` names; raises CommandError."""
    stream_name, _, digest = name.partition("@")
    stream = await client.get(ImageStream, namespace, stream_name)
    event = event_of_image(stream, digest)
    if event is None:
        raise CommandError(
            f"no tag of imagestream/{stream_name} in namespace {namespace} has or had one image"
            f" {digest!r}; `upwell describe imagestream/{stream_name} -n {namespace}` lists them",
            Exit.NOT_FOUND,
        )
    return {
        "kind": IMAGE_STREAM_IMAGE,
        "namespace": namespace,
        "name": f"{stream_name}@{event.image}",
    }


async def _current(client: ApiClient, named: StreamTag) -> dict[str, str]:
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


def _document(target: StreamTag, origin: dict[str, str], options: dict[str, Any]) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": target.tag, "from": origin, "generation": 0}
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
        "metadata": {"name": target.name, "namespace": target.namespace},
        "tag": declared,
    }


def _shown(origin: dict[str, str]) -> str:
    place = f"{origin['namespace']}/" if "namespace" in origin else ""
    return f"{place}{origin['name']}"
