"""`upwell set image`: change the images of containers."""

from collections.abc import Mapping
from dataclasses import dataclass

import click

from upwell.api.image import ImageStreamTag
from upwell.cli.changes.pod_templates import all_containers, pod_spec
from upwell.cli.changes.writing import (
    Document,
    Wanted,
    WritingOptions,
    change_objects,
    write_options,
)
from upwell.cli.core.assignments import parse_assignments
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import kept
from upwell.cli.core.targets import TargetOptions, parse_targets, split_words, target_options
from upwell.store.interface import ApiClient

_STREAM_TAGS = {"imagestreamtag", "istag"}


@dataclass(frozen=True, slots=True)
class _Images:
    """Images by the name of a container; `*` is every container."""

    by_container: Mapping[str, str]

    def __call__(self, document: Document) -> None:
        containers = all_containers(pod_spec(document))
        for name, image in self.by_container.items():
            meant = [one for one in containers if name in {"*", one.get("name")}]
            if not meant:
                names = ", ".join(str(one.get("name")) for one in containers)
                raise CommandError(f"unable to find container named {name!r}: there are {names}")
            for one in meant:
                one["image"] = image


@click.command(
    epilog=examples(
        "upwell set image deployment/shop web=registry.test/shop:2",
        "upwell set image deployment,dc -l app=shop '*=registry.test/shop:2'",
        "upwell set image dc/gate gate=gate:stable --source=istag",
        "upwell set image -f shop.yaml web=shop:2 --local -o yaml",
    )
)
@click.argument("words", nargs=-1, metavar="KIND/NAME... CONTAINER=IMAGE...")
@click.option(
    "--source",
    type=click.Choice(["docker", *sorted(_STREAM_TAGS)]),
    default="docker",
    show_default=True,
    help="Kind of IMAGE: a pull spec, or the tag of an image stream.",
)
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def image(ctx: click.Context, words: tuple[str, ...], source: str) -> None:
    """Change the images of containers, init containers too.

    A container that follows the tag of an image stream gets its image from there again at the
    tag's next change: `upwell set triggers` shows and ends that.
    """
    session: Session = ctx.ensure_object(Session)
    objects, changes = split_words(words)
    images = parse_assignments("the command", changes)
    if not images:
        raise click.UsageError("name an image as CONTAINER=IMAGE")
    if empty := [name for name, value in images.items() if not value]:
        raise click.UsageError(f"{empty[0]}= has no image")
    targets = parse_targets(session, kept(ctx, TargetOptions), objects)
    if source in _STREAM_TAGS:
        images = _resolved(session, images)
    wanted = Wanted(_Images(images), "image updated", "image unchanged")
    change_objects(session, targets, wanted, kept(ctx, WritingOptions))


def _resolved(session: Session, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the pull spec of each stream tag, which has to have an image."""
    found: dict[str, str] = {}

    async def work(client: ApiClient) -> None:
        for container, text in tags.items():
            namespace, slash, name = text.rpartition("/")
            where = namespace if slash else session.namespace
            tag = await client.get(ImageStreamTag, where, name if ":" in name else f"{name}:latest")
            reference = tag.image.get("dockerImageReference")
            if not reference:
                raise CommandError(f"imagestreamtag/{text} has no image yet", Exit.NOT_FOUND)
            found[container] = str(reference)

    session.run(work)
    return found
