"""`upwell builders`: builder images for languages, which Upwell builds and keeps patched."""

import click

from upwell.api.builds.config import BuildConfig
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option
from upwell.cli.new_app.new_app import make_application
from upwell.cli.new_app.options import NewAppOptions
from upwell.cli.presentation.states import echo_table
from upwell.policy.new_app.builders import BASE, BUILDERS
from upwell.policy.templates.process import ProcessRequest
from upwell.store.interface import ApiClient, Selector


@click.group(
    no_args_is_help=True,
    epilog=examples("upwell builders list", "upwell builders create python"),
)
def builders() -> None:
    """List and create builder images for languages.

    Each is made of a base image and the packages of its distribution, by a BuildConfig: a change of
    the base builds it anew, and then what was built with it.
    """


@builders.command("list", epilog=examples("upwell builders list"))
@connection_options
@click.pass_obj
def list_builders(session: Session) -> None:
    """List the builder images that there are, or can be."""

    async def work(client: ApiClient) -> None:
        configs = (await client.list(BuildConfig, Selector(session.namespace))).items
        there = {one.name for one in configs}
        rows = [("LANGUAGE", "IMAGE", "CREATED", "PACKAGES")]
        rows += [
            (
                one.language,
                f"{one.name}:latest",
                "yes" if one.name in there else "no",
                ",".join(one.packages),
            )
            for one in BUILDERS.values()
        ]
        echo_table(rows)

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
