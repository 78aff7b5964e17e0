"""`upwell release`: list, describe, compare and restore Releases."""

from collections.abc import Sequence

import click

from upwell.api.builds.build import Build
from upwell.api.codec import decode_as, encode
from upwell.api.promotion import Promotion, Release
from upwell.cli.builds.logs import ended_build
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import TIMEOUT, within
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_named
from upwell.cli.core.output import (
    MISSING,
    Format,
    aligned,
    format_age,
    full_name,
    output_option,
    write_objects,
    write_report,
)
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import watching
from upwell.cli.images.packages import compared_packages
from upwell.cli.promotion.release_text import commits_between, diff_data, diff_lines, release_lines
from upwell.cli.promotion.requests import named_pipeline, named_release, of_pipeline
from upwell.machine import clock
from upwell.policy.builds.triggers import digest_of
from upwell.store.interface import ApiClient, Change, ExpiredError, Selector


@click.group(
    no_args_is_help=True,
    epilog=examples(
        "upwell release list shop",
        "upwell release describe shop-7",
        "upwell release diff shop-6 shop-7",
    ),
)
def release() -> None:
    """List, describe, compare and restore the Releases of Pipelines."""


@release.command("list", epilog=examples("upwell release list", "upwell release list shop -o wide"))
@click.argument("pipeline", required=False, metavar="[PIPELINE]")
@output_option(Format.TABLE, Format.WIDE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def list_releases(session: Session, pipeline: str | None, output: str) -> None:
    """List Releases, newest first, with phase, verified stages and cause."""
    name = named_pipeline(pipeline) if pipeline else ""

    async def work(client: ApiClient) -> None:
        found = await of_pipeline(client, Release, session.namespace, name)
        found = sorted(found, key=lambda one: (one.spec.pipeline, -one.spec.number))
        if output not in {Format.TABLE, Format.WIDE}:
            write_objects(found, output, single=False)
            return
        for line in aligned([*_rows(found, wide=output == Format.WIDE)]):
            echo(line)
        if not found:
            echo(f"no releases in namespace {session.namespace}", err=True)

    session.run(work)


def _rows(found: Sequence[Release], *, wide: bool) -> list[tuple[str, ...]]:
    if not found:
        return []
    rows: list[tuple[str, ...]] = [
        ("RELEASE", "PHASE", "VERIFIED IN", "AGE", "CAUSE", *(("MESSAGE",) if wide else ()))
    ]
    for one in found:
        status = one.status
        verified = ",".join(stage.name for stage in status.verified) or MISSING
        age = format_age(one.metadata.creation_timestamp, clock.now())
        why = status.rejection.reason if status.rejection is not None else status.message
        message = (why or MISSING,) if wide else ()
        rows.append((one.name, status.phase, verified, age, one.spec.cause or MISSING, *message))
    return rows


@release.command(
    epilog=examples("upwell release describe shop-7", "upwell release describe shop-7 -o json")
)
@click.argument("name", metavar="RELEASE")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def describe(session: Session, name: str, output: str) -> None:
    """Show the components of a Release, its promotions and their checks."""

    async def work(client: ApiClient) -> None:
        found = await client.get(Release, session.namespace, named_release(name))
        promotions = await of_pipeline(client, Promotion, found.namespace, found.spec.pipeline)
        own = [one for one in promotions if one.spec.release == found.name]
        if output != Format.TABLE:
            data = {"release": encode(found), "promotions": [encode(one) for one in own]}
            write_report("ReleaseDescription", data, output)
            return
        for line in release_lines(found, own, clock.now()):
            echo(line)

    session.run(work)


@release.command(
    epilog=examples(
        "upwell release diff shop-6 shop-7", "upwell release diff shop-6 shop-7 -o json"
    )
)
@click.argument("old", metavar="RELEASE")
@click.argument("new", metavar="RELEASE")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def diff(session: Session, old: str, new: str, output: str) -> None:
    """Show the differences of two Releases: base images, packages and source commits."""

    async def work(client: ApiClient) -> None:
        before, after = [
            await client.get(Release, session.namespace, named_release(name)) for name in (old, new)
        ]
        builds = (await client.list(Build, Selector(session.namespace))).items
        packages = {}
        known = {one.name: one for one in before.spec.components}
        for component in after.spec.components:
            earlier = known.get(component.name)
            pair = (digest_of(earlier.image) if earlier else "", digest_of(component.image))
            if all(pair) and pair[0] != pair[1]:
                packages[component.name] = await compared_packages(client, *pair)
        commits = commits_between(before, after, builds)
        if output != Format.TABLE:
            write_report("ReleaseDifference", diff_data(before, after, packages, commits), output)
            return
        for line in diff_lines(before, after, packages, commits):
            echo(line)

    session.run(work)


@release.command(
    "of",
    epilog=examples(
        "upwell release of build/shop-12 --timeout 10m",
        "upwell promote $(upwell release of build/shop-12) --stage dev",
    ),
)
@click.argument("what", metavar="build/NAME")
@click.option(
    "-A",
    "--all-namespaces",
    is_flag=True,
    help="Search the Releases of all namespaces, not only of the build's.",
)
@click.option(
    "--timeout",
    type=TIMEOUT,
    default="0",
    show_default="none",
    help="Time limit of the wait; exit 5 when it has passed.",
)
@connection_options
@click.pass_obj
def of(session: Session, what: str, all_namespaces: bool, timeout: float) -> None:  # noqa: FBT001 - click passes options by name
    """Print the name of the newest Release with a build's image; wait for it if needed.

    A build that reused an image has the Release of the build that made the image.
    """
    [named] = parse_named([what], default=Build)
    where = Selector("" if all_namespaces else session.namespace)

    async def work(client: ApiClient) -> None:
        build = await client.get(Build, session.namespace, named.name)
        async with within(timeout, f"no release has the image of build/{build.name}"):
            digest = _digest(await ended_build(client, build))
            echo((await _release_of(client, where, digest)).name)

    session.run(work)


def _digest(build: Build) -> str:
    """Return the digest of an ended build's image; raises CommandError when it has none."""
    made = build.status.output.to if build.status.output is not None else None
    if made is None or not made.image_digest:
        raise CommandError(
            f"build/{build.name} is {build.status.phase} and has no image; `upwell logs"
            f" build/{build.name}` shows why"
        )
    return made.image_digest


async def _release_of(client: ApiClient, where: Selector, digest: str) -> Release:
    """Return the newest Release with an image, once there is one."""
    while True:
        listing = await client.list(Release, where)
        having = [one for one in listing.items if _has(one, digest)]
        if having:
            return max(having, key=lambda one: one.spec.number)
        since = listing.resource_version
        try:
            async with watching(client, Release, where, since=since) as events:
                async for event in events:
                    if event.change is not Change.DELETED and _has(event.resource, digest):
                        return event.resource
        except ExpiredError:
            continue


def _has(one: Release, digest: str) -> bool:
    return any(digest_of(component.image) == digest for component in one.spec.components)


@release.command(
    epilog=examples("upwell release restore shop-7 --reason 'the test was wrong, not the shop'")
)
@click.argument("name", metavar="RELEASE")
@click.option("--reason", required=True, help="Reason for lifting the rejection.")
@output_option(Format.TABLE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def restore(session: Session, name: str, reason: str, output: str) -> None:
    """Lift the rejection of a Release, and of others with the same images."""

    async def work(client: ApiClient) -> None:
        answer = await client.call(
            "POST",
            Release,
            session.namespace,
            named_release(name),
            "restore",
            {"reason": reason},
        )
        restored = decode_as(Release, answer)
        if output != Format.TABLE:
            write_objects([restored], output, single=True)
        else:
            echo(f"{full_name(restored)} restored")

    session.run(work)
