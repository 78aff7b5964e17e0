"""`upwell new-app`: create an application with the objects that keep it on patched images."""

import os
from collections.abc import Sequence
from pathlib import Path

import click
import yaml

from upwell.api.template import Template
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import LoadedManifest, check_documents
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option, write_data
from upwell.cli.core.terminal import echo
from upwell.cli.new_app.options import NewAppOptions, application_options, chosen_options
from upwell.cli.new_app.plan import NewAppPlan, NewAppPlanner
from upwell.cli.objects.creation import apply_all, refuse_existing, try_all
from upwell.cli.objects.running import (
    route_addresses,
    should_wait,
    wait_until_running,
)
from upwell.cli.templates.sources import read_template
from upwell.cli.templates.values import requested_values, value_options
from upwell.policy.new_app.components import NewAppError
from upwell.policy.templates.process import ProcessRequest
from upwell.store.interface import ApiClient

_MODE = 0o600
"""Mode of saved manifests: variables and generated values may be passwords."""


@click.command(
    "new-app",
    epilog=examples(
        "upwell new-app python:3.11~https://git.example/shop.git --expose --save shop.yaml",
        "upwell new-app ./shop --name=shop --port=8000",
        "upwell new-app --image=docker.io/library/nginx:1.27 --name=front -e LEVEL=info",
        "upwell new-app -f template.yaml --param-file values.env",
        "upwell new-app python:3.11~https://git.example/shop.git --stages dev,staging,production"
        " --test 'python3 -m unittest' --approve production",
        "upwell new-app --image=registry.example/postgres:17 --volume /var/lib/postgresql/data",
        "upwell new-app debian:12~https://git.example/gate.git --strategy=docker -o yaml",
    ),
)
@click.argument("components", nargs=-1, metavar="[COMPONENT]...")
@application_options
@value_options
@output_option(Format.NAME, Format.YAML, Format.JSON)
@connection_options
@click.pass_context
def new_app(ctx: click.Context, components: tuple[str, ...], output: str) -> None:
    """Create applications from source, images or templates.

    A COMPONENT is BUILDER~REPOSITORY (Source-to-Image), or a REPOSITORY with a Dockerfile or source
    in a language of `upwell builders list`, which is cloned for a look at it, each with #BRANCH if
    need be; a folder that is a clone of one (./shop); an IMAGE, or a TAG of a stream; or the name
    of a Template.

    Each becomes an image stream that follows the base image, a BuildConfig that builds at each
    change, a stream for the result, a Deployment that runs it, and a Service. With --stages there
    is a Deployment and a Service for each stage, and a Pipeline that moves the image.

    With -o yaml or json the manifests are printed and nothing is created. Existing objects never
    change, except that the stream of a base image may get one more tag.
    """
    session: Session = ctx.ensure_object(Session)
    options, request = chosen_options(ctx), requested_values(ctx)
    templates = [read_template(source, session) for source in options.files]

    make_application(session, components, templates, (options, request), output)


def make_application(
    session: Session,
    components: Sequence[str],
    templates: Sequence[Template],
    asked: tuple[NewAppOptions, ProcessRequest],
    output: str,
) -> None:
    """Plan objects, and create or print them; raises CommandError."""
    options, request = asked

    async def work(client: ApiClient) -> None:
        planner = NewAppPlanner(client, session.namespace, options, request)
        try:
            plan = await planner.plan(components, templates)
        except NewAppError as error:
            raise CommandError(f"nothing was created: {error}", Exit.USAGE) from error
        manifests = check_documents(plan.documents, session, plan.namespaces)
        for note in plan.notes:
            echo(f"note: {note}", err=True)
        if output != Format.NAME:
            items = [manifest.document for manifest in manifests]
            _save(options.save, manifests)
            write_data({"apiVersion": "v1", "kind": "List", "items": items}, output)
            return
        await refuse_existing(client, manifests, plan.shared_streams)
        await _create(client, manifests, options)
        if options.dry_run:
            return
        _print_next_steps(plan, session.server)
        if not options.build_only and should_wait(options.wait):
            await wait_until_running(client, manifests, options.timeout)
            for address in await route_addresses(client, manifests):
                echo(address)

    session.run(work)


async def _create(
    client: ApiClient, manifests: Sequence[LoadedManifest], options: NewAppOptions
) -> None:
    """Apply all, after a dry run of each of them."""
    if not options.dry_run:
        await try_all(client, manifests)
        _save(options.save, manifests)
    await apply_all(client, manifests, dry_run=options.dry_run)


def _save(file: str, manifests: Sequence[LoadedManifest]) -> None:
    if not file:
        return
    documents = [manifest.document for manifest in manifests]
    text = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)
    try:
        descriptor = os.open(Path(file), os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        message = f"nothing was created: cannot save the manifests: {file}: {error.strerror}"
        raise CommandError(message, Exit.USAGE) from error
    echo(f"saved: {file}; `upwell apply -f {file}` applies it again", err=True)


def _print_next_steps(plan: NewAppPlan, server: str) -> None:
    for step in plan.next_steps:
        echo(f"next: {step}", err=True)
    for path in plan.webhooks:
        echo(f"webhook: {server.rstrip('/')}{path}", err=True)
    echo("`upwell status` shows the tree from the base image", err=True)
