"""`upwell builders`: builder images for languages, which Upwell builds and keeps patched."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.image import Image, ImageStream
from upwell.api.meta import Resource, format_time
from upwell.cli.builds.builds import request_build, require_success
from upwell.cli.builds.logs import ended_build
from upwell.cli.builds.requests import RequestChoice
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.names import Named
from upwell.cli.core.output import (
    MISSING,
    Format,
    format_age,
    full_name,
    output_option,
    write_report,
)
from upwell.cli.core.terminal import echo
from upwell.cli.new_app.new_app import make_application
from upwell.cli.new_app.options import NewAppOptions
from upwell.cli.presentation.states import echo_table
from upwell.machine import clock
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.images.streams import StreamTag
from upwell.policy.new_app.builders import BASE, BUILDERS, LanguageBuilder
from upwell.policy.templates.process import ProcessRequest
from upwell.store.interface import ApiClient, NotFoundError, Selector
from upwell.store.kubernetes_errors import StoreForbiddenError


@click.group(
    no_args_is_help=True,
    epilog=examples(
        "upwell builders list", "upwell builders create python", "upwell builders update"
    ),
)
def builders() -> None:
    """List, create and update builder images for languages.

    Each is made of a base image and the packages of its distribution, by a BuildConfig: a change of
    the base builds it anew, and then what was built with it.
    """


@builders.command("list", epilog=examples("upwell builders list", "upwell builders list -o wide"))
@output_option(Format.TABLE, Format.WIDE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def list_builders(session: Session, output: str) -> None:
    """List the builder images that there are, or can be, and how old they and their bases are.

    `-o wide` adds the packages of each.
    """

    async def work(client: ApiClient) -> None:
        found = await _built(client, session.namespace)
        if output not in {Format.TABLE, Format.WIDE}:
            write_report("BuilderList", [found[name].data() for name in BUILDERS], output)
            return
        now = clock.now()
        rows: list[tuple[str, ...]] = [
            ("LANGUAGE", "IMAGE", "BUILT", "BASE", "BASE MADE", "PACKAGES")
        ]
        rows += [found[name].row(now) for name in BUILDERS]
        is_wide = output == Format.WIDE
        echo_table(rows if is_wide else [row[:-1] for row in rows], is_wide=is_wide)

    session.run(work)


@dataclass(frozen=True, slots=True)
class _BuilderImage:
    """Builder image of a language, and how old it is."""

    builder: LanguageBuilder
    config: BuildConfig | None
    built: datetime | None
    base: str
    """Tag that it is built on; empty: there is none."""
    base_made: datetime | None

    def data(self) -> Mapping[str, Any]:
        """Return it as JSON data."""
        return {
            "language": self.builder.language,
            "image": f"{self.builder.name}:latest",
            "created": self.config is not None,
            "built": format_time(self.built) if self.built else None,
            "base": self.base or None,
            "baseMade": format_time(self.base_made) if self.base_made else None,
            "packages": list(self.builder.packages),
        }

    def row(self, now: datetime) -> tuple[str, ...]:
        """Return the row of a table."""
        built = f"{format_age(self.built, now)} ago" if self.built else "not yet"
        made = f"{format_age(self.base_made, now)} ago" if self.base_made else MISSING
        return (
            self.builder.language,
            f"{self.builder.name}:latest",
            "not created" if self.config is None else built,
            self.base or MISSING,
            made,
            ",".join(self.builder.packages),
        )


async def _built(client: ApiClient, namespace: str) -> Mapping[str, _BuilderImage]:
    """Return the builder image of each language."""
    here = Selector(namespace)
    objects: list[Resource] = []
    for kind in (ImageStream, BuildConfig, Build):
        objects += (await client.list(kind, here)).items
    snapshot = Snapshot(objects, namespace)
    configs = {config.name: config for config in snapshot.configs.values()}
    return {
        language: await _look_at(client, snapshot, builder, configs.get(builder.name))
        for language, builder in BUILDERS.items()
    }


async def _look_at(
    client: ApiClient, snapshot: Snapshot, builder: LanguageBuilder, config: BuildConfig | None
) -> _BuilderImage:
    if config is None:
        return _BuilderImage(builder, None, None, "", None)
    made = [
        one.status.completion_timestamp
        for one in snapshot.builds(config.key)
        if one.status.phase is BuildPhase.COMPLETE and one.status.completion_timestamp is not None
    ]
    base = next((StreamTag.parse(one.name) for one in snapshot.built_from(config)), None)
    latest = snapshot.latest(base) if base is not None else None
    age = await _made(client, latest.image) if latest is not None else None
    return _BuilderImage(builder, config, max(made, default=None), str(base or ""), age)


async def _made(client: ApiClient, image: str) -> datetime | None:
    """Return when an image was made, as its own configuration says."""
    try:
        found = await client.get(Image, "", image)
        return datetime.fromisoformat(str(found.docker_image_metadata.get("Created", "")))
    except (NotFoundError, StoreForbiddenError, ValueError):
        return None


@builders.command(
    "update",
    epilog=examples("upwell builders update", "upwell builders update python nodejs --wait"),
)
@click.argument("languages", nargs=-1, type=click.Choice(sorted(BUILDERS)), metavar="[LANGUAGE]...")
@click.option("-w", "--wait", is_flag=True, help="Wait for the ends; exit 1 if a build fails.")
@connection_options
@click.pass_obj
def update_builders(session: Session, languages: tuple[str, ...], wait: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Build builder images anew with the newest packages of their distribution: all, or these.

    What was built with them is built anew after that. A change of a base image does so by itself;
    a package that a builder adds to its base may be fixed while the base stays as it is.
    """
    wanted = [BUILDERS[one] for one in languages or BUILDERS]

    async def work(client: ApiClient) -> None:
        listed = (await client.list(BuildConfig, Selector(session.namespace))).items
        there = {one.name for one in listed}
        missing = [one.language for one in wanted if one.name not in there]
        if languages and missing:
            create = f"`upwell builders create {missing[0]}` creates it"
            raise CommandError(f"there is no {missing[0]}-builder here: {create}", Exit.NOT_FOUND)
        anew = RequestChoice(no_cache=True)
        started = [
            await request_build(client, session.namespace, Named(BuildConfig, one.name), anew)
            for one in wanted
            if one.name in there
        ]
        for build in started:
            echo(f"{full_name(build)} started")
        if not started:
            where = f"namespace {session.namespace}"
            echo(f"no builder images in {where}; `upwell builders list` lists them", err=True)
        for build in started if wait else ():
            require_success(await ended_build(client, build))

    session.run(work)


@builders.command(
    "create",
    epilog=examples(
        "upwell builders create python",
        "upwell builders create nodejs --base registry.example/debian:13",
        "upwell builders create python -o yaml",
    ),
)
@click.argument("language", type=click.Choice(sorted(BUILDERS)))
@click.option(
    "--base", default=BASE, show_default=True, help="Image of a Debian on which to build it."
)
@output_option(Format.NAME, Format.YAML, Format.JSON)
@connection_options
@click.pass_obj
def create_builder(session: Session, language: str, base: str, output: str) -> None:
    """Create the builder image of a language, and follow its base image."""
    builder = BUILDERS[language]
    options = NewAppOptions(name=builder.name, dockerfile=builder.dockerfile(base), build_only=True)
    make_application(session, [], [], (options, ProcessRequest()), output)
