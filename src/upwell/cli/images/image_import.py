"""`upwell import-image`: import tags from their registry now."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import (
    ImageStream,
    ImageStreamSpec,
    ImageStreamTag,
    ImportMode,
    NamedTagEventList,
    TagReference,
)
from upwell.api.meta import ObjectMeta
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import TIMEOUT, within
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option, shortened, write_objects
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import until
from upwell.cli.images.import_preview import preview
from upwell.cli.images.stream_names import parse_stream_tag
from upwell.policy.images.repository_tags import (
    GENERATION_ANNOTATION,
    INSECURE_ANNOTATION,
    bulk_source,
    effective_tags,
    repository_generation,
)
from upwell.policy.images.streams import StreamTag
from upwell.store.interface import ApiClient, NotFoundError


@dataclass(frozen=True, slots=True)
class _ImportRequest:
    """Import options of one call."""

    source: str
    confirm: bool
    every: bool
    scheduled: bool
    insecure: bool
    reference_policy: str | None
    import_mode: str | None


@click.command(
    "import-image",
    epilog=examples(
        "upwell import-image debian:12",
        "upwell import-image debian:12 --from=docker.io/library/debian:12 --confirm --scheduled",
        "upwell import-image debian --from=docker.io/library/debian --all --confirm",
        "upwell import-image debian --all",
    ),
)
@click.argument("name", metavar="STREAM[:TAG]")
@click.option(
    "--from",
    "source",
    default="",
    show_default="none",
    help="Image to import; with --all, the repository.",
)
@click.option(
    "--confirm", is_flag=True, help="Create the stream or tag, or change its source, if needed."
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Import every tag that has a source; with --from, every tag of the repository.",
)
@click.option("--scheduled", is_flag=True, help="Import again at intervals.")
@click.option("--insecure", is_flag=True, help="Allow plain HTTP and unverified TLS.")
@click.option(
    "--reference-policy",
    type=click.Choice(["source", "local"]),
    default=None,
    show_default="as declared",
    help="Registry to pull the image from: its source or the internal one.",
)
@click.option(
    "--import-mode",
    type=click.Choice([str(mode) for mode in ImportMode]),
    default=None,
    show_default="as declared",
    help="Part of a multi-platform image to keep.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the images that the registry has now, and import nothing.",
)
@click.option(
    "--timeout",
    type=TIMEOUT,
    default="1m",
    show_default=True,
    help="Time limit of the wait; 0 for none.",
)
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def import_image(
    session: Session,
    /,
    name: str,
    timeout: float,
    dry_run: bool,  # noqa: FBT001 - click passes options by name
    output: str,
    **options: Any,
) -> None:
    """Import tags of a stream from their registry now, and wait for the result.

    Exits 1 if an import failed; the server keeps retrying.
    """
    named = parse_stream_tag(name, session.namespace)
    request = _ImportRequest(**options)
    whole = request.every and bool(request.source)

    async def work(client: ApiClient) -> None:
        stream = await _find(client, named, request, confirmed=dry_run or request.confirm)
        wanted = [] if whole else list(_wanted(stream, named, request, confirmed=dry_run))
        repository = _repository(stream, named, request, confirmed=dry_run)
        if dry_run:
            await preview(client, named, wanted, repository, insecure=request.insecure)
            return
        for tag in wanted:
            target = f"{named.stream}:{tag['name']}"
            document = {
                "apiVersion": ImageStreamTag.KIND.api_version,
                "kind": ImageStreamTag.KIND.kind,
                "metadata": {"name": target, "namespace": named.namespace},
                "tag": tag,
            }
            await client.call("PUT", ImageStreamTag, named.namespace, target, "", document)
        if repository:
            await _request_repository(client, named, stream, repository, insecure=request.insecure)
        names = [str(tag["name"]) for tag in wanted]
        asked = await client.get(ImageStream, named.namespace, named.stream)
        async with within(timeout, f"the import of {named.namespace}/{named.stream} has not ended"):
            done = await until(
                client, asked, lambda state: _is_answered(state, names, whole=bool(repository))
            )
        if output != Format.TABLE:
            write_objects([done], output, single=True)
        _print_results(done, names, whole=bool(repository), is_told=output == Format.TABLE)

    session.run(work)


async def _find(
    client: ApiClient, named: StreamTag, request: _ImportRequest, *, confirmed: bool
) -> ImageStream | None:
    try:
        return await client.get(ImageStream, named.namespace, named.stream)
    except NotFoundError:
        if request.source and confirmed:
            return None
        if request.source:
            message = f"imagestream/{named.stream} does not exist; add --confirm to create it"
            raise CommandError(message, Exit.NOT_FOUND) from None
        raise


def _wanted(
    stream: ImageStream | None, named: StreamTag, request: _ImportRequest, *, confirmed: bool
) -> Iterable[dict[str, Any]]:
    """Yield the declarations to write; raises CommandError when there are none."""
    declared = {tag.name: tag for tag in stream.spec.tags} if stream is not None else {}
    if request.every:
        found = [tag for tag in declared.values() if tag.imports]
        if not found and (stream is None or not stream.spec.docker_image_repository):
            raise CommandError(
                f"imagestream/{named.stream} has no tag with a source to import", Exit.USAGE
            )
        for tag in found:
            yield _declaration(tag, request)
        return
    old = declared.get(named.tag)
    if request.source:
        changes = old is None or old.imports != request.source
        if changes and not (request.confirm or confirmed):
            was = f"imports {old.imports}" if old is not None and old.imports else "is not declared"
            message = f"{named} {was}; add --confirm to import {request.source}"
            raise CommandError(message, Exit.USAGE)
        source = {"kind": DOCKER_IMAGE, "name": request.source}
        yield {**_declaration(old or TagReference(name=named.tag), request), "from": source}
        return
    if stream is not None and _is_implied(stream, named.tag):
        return
    if old is None or not old.imports:
        others = sorted(one.name for one in declared.values() if one.imports)
        tags = ", ".join(others)
        step = f"; its tags that do: {tags}, as `{named.stream}:{others[0]}`" if others else ""
        message = f"{named} imports from no registry; name an image with --from and --confirm{step}"
        raise CommandError(message, Exit.USAGE)
    yield _declaration(old, request)


def _declaration(tag: TagReference, request: _ImportRequest) -> dict[str, Any]:
    """Return a tag that requests its import again: generation 0 (image/v1 TagReference)."""
    document: dict[str, Any] = tag.model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude_none=True
    )
    policy = dict(document.get("importPolicy") or {})
    policy |= {"scheduled": True} if request.scheduled else {}
    policy |= {"insecure": True} if request.insecure else {}
    policy |= {"importMode": request.import_mode} if request.import_mode else {}
    changed: dict[str, Any] = {"importPolicy": policy} if policy else {}
    if request.reference_policy:
        changed["referencePolicy"] = {"type": request.reference_policy.capitalize()}
    return {**document, "generation": 0, **changed}


def _repository(
    stream: ImageStream | None, named: StreamTag, request: _ImportRequest, *, confirmed: bool
) -> str:
    """Return the repository to import as a whole; empty: none. Raises CommandError."""
    implied = stream is not None and _is_implied(stream, named.tag) and not request.source
    if not request.every and not implied:
        return ""
    known = ""
    if stream is not None:
        own = (stream.status.docker_image_repository or "").rsplit("/", 2)[0]
        known = bulk_source(stream, own) or ""
    if request.source and request.source != known and not (request.confirm or confirmed):
        was = f"imports {known}" if known else "imports no repository"
        message = f"{named.stream} {was}; add --confirm to import {request.source}"
        raise CommandError(message, Exit.USAGE)
    return request.source or known


def _is_implied(stream: ImageStream, tag: str) -> bool:
    """Return whether the tag is imported as part of the whole repository."""
    declared = any(one.name == tag and one.imports for one in stream.spec.tags)
    return not declared and any(one.name == tag for one in effective_tags(stream) if one.imports)


async def _request_repository(
    client: ApiClient,
    named: StreamTag,
    stream: ImageStream | None,
    repository: str,
    *,
    insecure: bool,
) -> None:
    """Declare the import of the repository, or request it again."""
    asked = repository_generation(stream.annotations if stream is not None else {}) + 1
    annotations = {GENERATION_ANNOTATION: str(asked)}
    if insecure:
        annotations[INSECURE_ANNOTATION] = "true"
    if stream is None:
        metadata = ObjectMeta(name=named.stream, namespace=named.namespace, annotations=annotations)
        spec = ImageStreamSpec(docker_image_repository=repository)
        await client.create(ImageStream(metadata=metadata, spec=spec))
        return
    patch = {
        "metadata": {"annotations": annotations},
        "spec": {"dockerImageRepository": repository},
    }
    await client.patch(ImageStream, named.namespace, named.stream, patch)


def _is_answered(stream: ImageStream, names: Iterable[str], *, whole: bool) -> bool:
    repository = stream.status.repository
    if whole and (
        repository is None
        or repository.source != stream.spec.docker_image_repository
        or repository.generation < repository_generation(stream.annotations)
    ):
        return False
    asked = {tag.name: tag.generation or 0 for tag in effective_tags(stream) if tag.imports}
    for name in asked if whole else names:
        history = stream.status.tag(name)
        state = history.import_state if history is not None else None
        if name in asked and (state is None or state.generation < asked[name]):
            return False
    return True


def _print_results(
    stream: ImageStream, names: Iterable[str], *, whole: bool, is_told: bool
) -> None:
    """Print each tag's image, unless told already; raises CommandError for a failed import."""
    histories: Mapping[str, NamedTagEventList] = {entry.tag: entry for entry in stream.status.tags}
    failures = []
    repository = stream.status.repository if whole else None
    if repository is not None:
        names = [tag.name for tag in effective_tags(stream) if tag.imports]
        failures += [f"{repository.source}: {c.reason}: {c.message}" for c in repository.conditions]
    for name in names:
        history = histories.get(name)
        latest = history.latest if history is not None else None
        failed = [c for c in history.conditions if not c.is_true] if history is not None else []
        if failed:
            failures.append(f"{stream.name}:{name}: {failed[0].reason}: {failed[0].message}")
        elif latest is not None and is_told:
            echo(f"{stream.name}:{name} is {shortened(latest.docker_image_reference)}")
    if repository is not None and repository.additional_tags:
        more = len(repository.additional_tags)
        echo(f"{more} more tags are not imported; status.repository lists them", err=True)
    if failures:
        raise CommandError("\n".join(failures))
