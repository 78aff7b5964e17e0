"""`upwell status`: the tree from base image to workload."""

import click

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.requests.running import RunningWorkload
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option, write_data
from upwell.cli.core.terminal import echo
from upwell.cli.explain.foreign_workloads import ForeignWorkloads
from upwell.cli.explain.snapshot import read_snapshot
from upwell.cli.explain.status_tree import StatusTree
from upwell.machine import clock
from upwell.store.interface import ApiClient, Selector


@click.command(
    epilog=examples(
        "upwell status", "upwell status -A", "upwell status --all -A", "upwell status -o json"
    )
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Show the objects of all namespaces.")
@click.option(
    "--all",
    "others",
    is_flag=True,
    help="Show the workloads of a cluster, too, whose images Upwell does not set.",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def status(
    session: Session,
    all_namespaces: bool,  # noqa: FBT001 - click passes options by name
    others: bool,  # noqa: FBT001 - the same
    output: str,
) -> None:
    """Show the tree from base image to workload, with digests, ages and outdated images.

    The tree includes the inputs of the namespace's objects, and the targets of its Pipelines in
    other namespaces, and what image policies say of each image. Components of the server that are
    faulty come first; what is wrong with other objects comes last: Routes and Services that are not
    served, Jobs and Pipelines that failed. While builds wait for their turn, it says how many, and
    how long all will take by what earlier ones took.

    On a cluster, --all adds the workloads that nobody gave to Upwell, by what their Pods run: what
    each image stands on, and how many images that has got since.
    """

    async def work(client: ApiClient) -> None:
        namespace = "" if all_namespaces else session.namespace
        components = (await client.list(ClusterOperator)).items
        snapshot = await read_snapshot(client, namespace)
        tree = StatusTree(snapshot, clock.now(), namespace, components)
        running = await client.list(RunningWorkload, Selector(namespace)) if others else None
        foreign = ForeignWorkloads(running.items) if running is not None else None
        if output != Format.TABLE:
            write_data(tree.data() | (foreign.data() if foreign is not None else {}), output)
            return
        lines = list(tree.lines())
        for line in (*tree.component_lines(), *lines):
            echo(line)
        if lines:
            echo(f"\n{tree.counts()}")
        for line in tree.backlog_lines():
            echo(line)
        faults = list(tree.other_lines())
        for line in faults:
            echo(line)
        if foreign is not None:
            for line in foreign.lines():
                echo(line)
            echo(foreign.counts())
        elif not lines and not faults:
            where = "any namespace" if all_namespaces else f"namespace {namespace}"
            elsewhere = "" if all_namespaces else "; `upwell status -A` shows all namespaces"
            echo(f"no objects in {where}; create some with `upwell apply -f`{elsewhere}", err=True)

    session.run(work)
