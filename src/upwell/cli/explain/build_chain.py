"""`upwell build-chain`: show the builds that depend on an image stream tag."""

import click

from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.policy.explain.build_chain import Chain
from upwell.policy.explain.graph import build_graph
from upwell.policy.images.streams import StreamTag
from upwell.store.interface import ApiClient, Selector


@click.command(
    "build-chain",
    epilog=examples(
        "upwell build-chain debian:11",
        "upwell build-chain shop:latest --reverse",
        "upwell build-chain debian:11 --all -o dot | dot -Tsvg > chain.svg",
    ),
)
@click.argument("tag", metavar="STREAM[:TAG]")
@click.option("--all", "all_namespaces", is_flag=True, help="Show builds of all namespaces.")
@click.option(
    "--trigger-only/--all-inputs",
    "triggers_only",
    default=True,
    show_default=True,
    help="Follow inputs that trigger builds, or all inputs.",
)
@click.option("--reverse", is_flag=True, help="Show the inputs of the tag instead.")
@click.option(
    "-o", "--output", type=click.Choice(["dot"]), help="Output format.  [default: indented text]"
)
@connection_options
@click.pass_obj
def build_chain(
    session: Session,
    tag: str,
    all_namespaces: bool,  # noqa: FBT001 - click passes options by name
    triggers_only: bool,  # noqa: FBT001 - the same
    reverse: bool,  # noqa: FBT001 - the same
    output: str | None,
) -> None:
    """Show the builds that a change of an image stream tag leads to, step by step.

    A build that is reached in two ways is shown twice; Upwell runs it once, after all its inputs.
    """
    root = StreamTag.named(tag.removeprefix("istag/"), session.namespace)

    async def work(client: ApiClient) -> None:
        selector = Selector("" if all_namespaces else session.namespace)
        configs = await client.list(BuildConfig, selector)
        streams = await client.list(ImageStream, selector)
        graph = build_graph([*configs.items, *streams.items])
        if root not in graph.nodes:
            raise CommandError(
                f"imagestreamtag {root} does not exist; `upwell get is -A` lists the streams",
                Exit.NOT_FOUND,
            )
        chain = Chain(graph, root, reverse, triggers_only, all_namespaces)
        cycle = chain.cycle()
        if cycle is not None:
            echo(cycle)
            return
        for line in chain.dot() if output == "dot" else chain.lines():
            echo(line)

    session.run(work)
