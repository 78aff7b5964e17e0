"""`upwell describe`: show the details of objects."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from upwell.api.codec import encode
from upwell.api.core import Event
from upwell.api.meta import Resource
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import kept
from upwell.cli.core.output import Format, output_option, write_data
from upwell.cli.core.targets import TargetOptions, parse_targets, target_options
from upwell.cli.core.terminal import echo
from upwell.cli.explain.snapshot import read_snapshot
from upwell.cli.objects.descriptions import DescriptionContext, describe, render
from upwell.cli.presentation.states import echo_states
from upwell.machine import clock
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.store.interface import ApiClient, QuerySelector, StoreError
from upwell.store.kubernetes_errors import StoreForbiddenError


@click.command(
    "describe",
    epilog=examples(
        "upwell describe deployment/shop",
        "upwell describe build shop-1 shop-2",
        "upwell describe pods -l app=shop",
        "upwell describe -f shop.yaml",
        "upwell describe is/debian -o json",
    ),
)
@click.argument("what", nargs=-1, metavar="[KIND/NAME]...")
@target_options
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_context
def describe_command(ctx: click.Context, what: tuple[str, ...], output: str) -> None:
    """Show the details of objects: state, history, triggers, conditions and events.

    For a build also its causes, images, stages and the end of its log; for a workload its
    revisions and the instances that run.
    """
    session: Session = ctx.ensure_object(Session)
    chosen = parse_targets(session, kept(ctx, TargetOptions), what)

    async def work(client: ApiClient) -> None:
        found = await chosen.read(client)
        for at, resource in enumerate(found):
            context = await _context(client, resource)
            if output != Format.TABLE:
                write_data(_data(resource, context), output)
                continue
            if at:
                echo("\n")
            for line in render(describe(resource, context)):
                echo_states(line)

    session.run(work)


async def _context(client: ApiClient, resource: Resource) -> DescriptionContext:
    return DescriptionContext(
        await read_snapshot(client, resource.namespace),
        await _events(client, resource),
        await _instances(client, resource),
        clock.now(),
    )


async def _events(client: ApiClient, resource: Resource) -> Sequence[Event]:
    """Return the Events about an object: of one without a namespace, those of all namespaces.

    Such an Event lies in the namespace that it concerns (of an image policy, the image's), or in
    `default`: that alone is read with a token that cannot read others.
    """
    asked = f"involvedObject.kind={resource.KIND.kind},involvedObject.name={resource.name}"
    try:
        found = await client.list(Event, QuerySelector(resource.namespace, field_query=asked))
    except StoreForbiddenError:
        if resource.namespace:
            raise
        echo("showing events of namespace default only: your token cannot read others", err=True)
        found = await client.list(Event, QuerySelector("default", field_query=asked))
    return [event for event in found.items if _concerns(event, resource)]


def _concerns(event: Event, resource: Resource) -> bool:
    about = event.involved_object
    return (about.kind, about.name) == (resource.KIND.kind, resource.name)


async def _instances(client: ApiClient, resource: Resource) -> Sequence[Mapping[str, Any]]:
    """Return the running instances; none, with a warning, from a server without a runtime."""
    if not isinstance(resource, WORKLOADS):
        return []
    try:
        answer = await client.call(
            "GET", type(resource), resource.namespace, resource.name, "instances"
        )
    except StoreError as error:
        echo(f"cannot list the instances: {error}", err=True)
        return []
    items = answer.get("items")
    return items if isinstance(items, list) else []


def _data(resource: Resource, context: DescriptionContext) -> dict[str, Any]:
    return {
        "object": encode(resource),
        "events": [encode(event) for event in context.events],
        "instances": list(context.instances),
    }
