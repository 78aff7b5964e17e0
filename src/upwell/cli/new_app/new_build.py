"""`upwell new-build`: a build with the streams that it needs, and nothing that runs its image."""

import sys

import click

from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option
from upwell.cli.new_app.new_app import make_application
from upwell.cli.new_app.options import build_options, chosen_options
from upwell.cli.templates.values import requested_values
from upwell.formats.dockerfile.parse import MAX_DOCKERFILE_BYTES


@click.command(
    "new-build",
    epilog=examples(
        "upwell new-build python:3.11~https://git.example/shop.git",
        "upwell new-build https://git.example/gate.git --context-dir=image --name=gate",
        "upwell new-build python:3.11 --binary --name=shop",
        "cat Dockerfile | upwell new-build --name=tools -D -",
    ),
)
@click.argument("components", nargs=-1, metavar="[COMPONENT]...")
@build_options
@output_option(Format.NAME, Format.YAML, Format.JSON)
@connection_options
@click.pass_context
def new_build(ctx: click.Context, components: tuple[str, ...], output: str) -> None:
    """Create builds from source, uploads or a Dockerfile.

    A COMPONENT is BUILDER~REPOSITORY or a REPOSITORY with a Dockerfile, as for `new-app`; with
    --binary it is the image to build from.

    Each becomes a BuildConfig that builds at each change of its source and its images, with the
    image streams of these and of the result. Nothing runs the result: see `upwell new-app`.
    """
    session: Session = ctx.ensure_object(Session)
    options = chosen_options(ctx)
    options.build_only = True
    if options.dockerfile == "-":
        options.dockerfile = sys.stdin.read(MAX_DOCKERFILE_BYTES + 1)
        if len(options.dockerfile) > MAX_DOCKERFILE_BYTES:
            raise CommandError(
                f"the Dockerfile is larger than {MAX_DOCKERFILE_BYTES} bytes", Exit.USAGE
            )
    make_application(session, components, [], (options, requested_values(ctx)), output)
