"""`upwell import-image`: ask upstream now, and say what came of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import ImageStream, ImageStreamTag, NamedTagEventList, TagReference
from upwell.cli.connection import Session, connection_options
from upwell.cli.durations import TIMEOUT, within
from upwell.cli.errors import CommandError, Exit
from upwell.cli.examples import examples
from upwell.cli.output import shortened
from upwell.cli.stream_names import StreamTagName, parse_stream_tag
from upwell.cli.waiting import until
from upwell.store.interface import ApiClient, NotFoundError


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the user asks for."""

    source: str
    confirm: bool
    every: bool
    scheduled: bool
    insecure: bool


@click.command(
    "import-image",
    epilog=examples(
        "upwell import-image debian:12",
        "upwell import-image debian:12 --from=docker.io/library/debian:12 --confirm --scheduled",
        "upwell import-image debian --all",
    ),
)
@click.argument("name", metavar="STREAM[:TAG]")
@click.option("--from", "source", default="", show_default="none", help="Import this image.")
@click.option("--confirm", is_flag=True, help="Create the stream or tag, or change its source.")
@click.option("--all", "every", is_flag=True, help="Import every tag that has a source.")
@click.option("--scheduled", is_flag=True, help="Look upstream again and again.")
@click.option("--insecure", is_flag=True, help="Allow plain HTTP and TLS that cannot be verified.")
@click.option(
    "--timeout", type=TIMEOUT, default="1m", show_default=True, help="Limit of the wait; 0: none."
)
@connection_options
@click.pass_obj
def import_image(session: Session, /, name: str, timeout: float, **options: Any) -> None:
    """Import tags of a stream from their upstream now, and wait for the result.

    Exits with 1 if an import failed; the server goes on trying.
    """
    named = parse_stream_tag(name, session.namespace)
    wishes = _Wishes(**options)
    if wishes.every and wishes.source:
        raise click.UsageError("--all imports what is declared: it takes no --from")

    async def work(client: ApiClient) -> None:
        stream = await _find(client, named, wishes)
        wanted = list(_wanted(stream, named, wishes))
        for tag in wanted:
            goal = f"{named.stream}:{tag['name']}"
            document = {
                "apiVersion": ImageStreamTag.KIND.api_version,
                "kind": ImageStreamTag.KIND.kind,
                "metadata": {"name": goal, "namespace": named.namespace},
                "tag": tag,
            }
            await client.call("PUT", ImageStreamTag, named.namespace, goal, "", document)
        names = [str(tag["name"]) for tag in wanted]
        asked = await client.get(ImageStream, named.namespace, named.stream)
        async with within(timeout, f"the import of {named.namespace}/{named.stream} has not ended"):
            done = await until(client, asked, lambda state: _is_answered(state, names))
        _tell(done, names)

    session.run(work)


async def _find(client: ApiClient, named: StreamTagName, wishes: _Wishes) -> ImageStream | None:
    try:
        return await client.get(ImageStream, named.namespace, named.stream)
    except NotFoundError:
        if wishes.source and wishes.confirm:
            return None
        if wishes.source:
            message = f"imagestream/{named.stream} does not exist; add --confirm to create it"
            raise CommandError(message, Exit.NOT_FOUND) from None
        raise


def _wanted(
    stream: ImageStream | None, named: StreamTagName, wishes: _Wishes
) -> Iterable[dict[str, Any]]:
    """Yield the declarations to write; raises CommandError when there are none."""
    declared = {tag.name: tag for tag in stream.spec.tags} if stream is not None else {}
    if wishes.every:
        found = [tag for tag in declared.values() if tag.imports]
        if not found:
            raise CommandError(f"no tag of {named.stream} imports anything", Exit.USAGE)
        for tag in found:
            yield _declaration(tag, wishes)
        return
    old = declared.get(named.tag)
    if wishes.source:
        changes = old is None or old.imports != wishes.source
        if changes and not wishes.confirm:
            was = f"imports {old.imports}" if old is not None and old.imports else "is not declared"
            message = f"{named} {was}; add --confirm to import {wishes.source}"
            raise CommandError(message, Exit.USAGE)
        source = {"kind": DOCKER_IMAGE, "name": wishes.source}
        yield {**_declaration(old or TagReference(name=named.tag), wishes), "from": source}
        return
    if old is None or not old.imports:
        message = f"{named} imports nothing; name its source with --from and --confirm"
        raise CommandError(message, Exit.USAGE)
    yield _declaration(old, wishes)


def _declaration(tag: TagReference, wishes: _Wishes) -> dict[str, Any]:
    """Return a tag that asks for its import anew: generation 0 (image/v1 TagReference)."""
    document: dict[str, Any] = tag.model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude_none=True
    )
    policy = dict(document.get("importPolicy") or {})
    policy |= {"scheduled": True} if wishes.scheduled else {}
    policy |= {"insecure": True} if wishes.insecure else {}
    return {**document, "generation": 0} | ({"importPolicy": policy} if policy else {})


def _is_answered(stream: ImageStream, names: Iterable[str]) -> bool:
    declared = {tag.name: tag.generation or 0 for tag in stream.spec.tags}
    for name in names:
        history = stream.status.tag(name)
        state = history.import_state if history is not None else None
        if name in declared and (state is None or state.generation < declared[name]):
            return False
    return True


def _tell(stream: ImageStream, names: Iterable[str]) -> None:
    """Print each tag's image; raises CommandError if an import failed."""
    histories: Mapping[str, NamedTagEventList] = {entry.tag: entry for entry in stream.status.tags}
    failures = []
    for name in names:
        history = histories.get(name)
        latest = history.latest if history is not None else None
        failed = [c for c in history.conditions if not c.is_true] if history is not None else []
        if failed:
            failures.append(f"{stream.name}:{name}: {failed[0].reason}: {failed[0].message}")
        elif latest is not None:
            click.echo(f"{stream.name}:{name} is {shortened(latest.docker_image_reference)}")
    if failures:
        raise CommandError("\n".join(failures))
