"""`upwell status`: the tree from base image to workload."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, override

import click

from upwell.api.apps import CronJob
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.cluster_operator import ClusterOperator
from upwell.api.core import Service
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion
from upwell.api.requests.running import RunningWorkload
from upwell.api.route import Route
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option, write_report
from upwell.cli.core.terminal import echo
from upwell.cli.explain.foreign_workloads import ForeignWorkloads
from upwell.cli.explain.snapshot import read_snapshot
from upwell.cli.explain.status_tree import StatusTree
from upwell.cli.hints.namespaces import absent_namespace
from upwell.cli.presentation.following import PrintedReport, print_on_changes
from upwell.cli.presentation.states import echo_states
from upwell.machine import clock
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.store.interface import ApiClient, Selector
from upwell.store.kubernetes_errors import KindNotServedError


@click.command(
    epilog=examples(
        "upwell status",
        "upwell status -A",
        "upwell status -w",
        "upwell status --all -A",
        "upwell status -o json",
    )
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Show the objects of all namespaces.")
@click.option(
    "--all",
    "others",
    is_flag=True,
    help="Show the workloads of a cluster, too, whose images Upwell does not set.",
)
@click.option(
    "-w",
    "--watch",
    is_flag=True,
    help="Print the tree again after each change, until interrupted.",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def status(
    session: Session,
    all_namespaces: bool,  # noqa: FBT001 - click passes options by name
    others: bool,  # noqa: FBT001 - the same
    watch: bool,  # noqa: FBT001 - the same
    output: str,
) -> None:
    """Show the tree from base image to workload, with digests, ages and outdated images.

    The tree includes the inputs of the namespace's objects, and the targets of its Pipelines in
    other namespaces, and what image policies say of each image. Below it stand the stages of
    Pipelines on other clusters, with what each cluster runs, and since when. Components of the
    server that are faulty come first; what is wrong with other objects comes last: Routes and
    Services that are not served, Jobs and Pipelines that failed. While builds wait for their turn,
    it says how many, and how long all will take by what earlier ones took.

    On a cluster, --all adds the workloads that nobody gave to Upwell, by what their Pods run: what
    each image stands on, and how many images that has got since.
    """
    request = _Request("" if all_namespaces else session.namespace, output, others=others)

    async def work(client: ApiClient) -> None:
        if watch:
            read = partial(_read, client, request)
            await print_on_changes(client, _WATCHED, request.namespace, read, output)
        else:
            (await _read(client, request)).write()

    session.run(work)


_NO_OTHERS = (
    "--all shows workloads of the cluster that the server runs on, and this one runs on no cluster:"
    " leave --all out; `upwell status -A` shows what other clusters run of its Pipelines"
)
_WATCHED: Sequence[type[Resource]] = (
    ClusterOperator,
    ImageStream,
    BuildConfig,
    Build,
    *WORKLOADS,
    CronJob,
    Pipeline,
    Promotion,
    Route,
    Service,
)
"""Kinds of whose changes the tree is made again."""


@dataclass(frozen=True, slots=True)
class _Request:
    namespace: str
    """Empty: all."""
    output: str
    others: bool


@dataclass(frozen=True, slots=True)
class _Shown(PrintedReport):
    """The tree at one time."""

    request: _Request
    tree: StatusTree
    foreign: ForeignWorkloads | None
    nothing: str
    """Sentence in place of an empty tree."""

    @override
    def said(self) -> Mapping[str, Any]:
        """Return the data without how long builds will take, which each look estimates anew."""
        data = self.data()
        builds = {name: data["builds"][name] for name in ("waiting", "running")}
        return {**data, "builds": builds}

    def data(self) -> dict[str, Any]:
        """Return the tree as JSON data."""
        return self.tree.data() | (self.foreign.data() if self.foreign is not None else {})

    @override
    def write(self) -> None:
        """Write the tree to stdout."""
        if self.request.output != Format.TABLE:
            write_report("Status", self.data(), self.request.output)
            return
        tree, foreign = self.tree, self.foreign
        lines, clusters = list(tree.lines()), list(tree.cluster_lines())
        for line in (*tree.component_lines(), *lines, *clusters):
            echo_states(line)
        if lines:
            echo(f"\n{tree.counts()}")
        for line in tree.backlog_lines():
            echo(line)
        faults = list(tree.other_lines())
        for line in faults:
            echo_states(line)
        if foreign is not None:
            for line in foreign.lines():
                echo(line)
            echo(foreign.counts())
        elif not lines and not clusters and not faults:
            echo(self.nothing, err=True)


async def _read(client: ApiClient, request: _Request) -> _Shown:
    components = (await client.list(ClusterOperator)).items
    snapshot = await read_snapshot(client, request.namespace)
    tree = StatusTree(snapshot, clock.now(), request.namespace, components)
    nothing = await _nothing(client, request.namespace, tree)
    if not request.others:
        return _Shown(request, tree, None, nothing)
    try:
        running = await client.list(RunningWorkload, Selector(request.namespace))
    except KindNotServedError as error:
        raise CommandError(_NO_OTHERS) from error
    return _Shown(request, tree, ForeignWorkloads(running.items), nothing)


async def _nothing(client: ApiClient, namespace: str, tree: StatusTree) -> str:
    """Return what an empty tree means; the server is asked where it is one of a namespace."""
    if not namespace:
        return "no objects in any namespace; create some with `upwell apply -f`"
    is_empty = next(tree.lines(), None) is None
    absent = await absent_namespace(client, namespace) if is_empty else ""
    what = absent or f"no objects in namespace {namespace}"
    return f"{what}; create some with `upwell apply -f`; `upwell status -A` shows all namespaces"
