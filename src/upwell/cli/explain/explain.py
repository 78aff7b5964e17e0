"""`upwell explain`: the reasons for builds and rollouts."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import click

from upwell.api.apps import CronJob, Job
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.cluster_operator import ClusterOperator
from upwell.api.clusters.cluster import Cluster
from upwell.api.core import ResourceQuota, Service
from upwell.api.image import Image, ImageStream, ImageStreamTag
from upwell.api.image_policies.policy import ClusterImagePolicy, ImagePolicy
from upwell.api.meta import Resource, format_time
from upwell.api.networking.ingress import Ingress
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.api.route import Route
from upwell.api.waves.wave import Wave
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_one
from upwell.cli.core.output import (
    Format,
    full_name,
    output_option,
    shortened,
    write_report,
)
from upwell.cli.core.terminal import echo
from upwell.cli.explain.snapshot import read_snapshot
from upwell.cli.images.packages import (
    PackageChanges,
    compared_packages,
    package_data,
    package_lines,
)
from upwell.cli.presentation.states import echo_states
from upwell.formats.human_duration import human_duration
from upwell.machine import clock
from upwell.policy.builds.triggers import digest_of
from upwell.policy.explain.changes import explain, turn_of
from upwell.policy.explain.statement import Statement, Topic
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.waves.urgency import urgencies_in
from upwell.store.interface import ApiClient
from upwell.store.kubernetes_errors import StoreForbiddenError

_FEW = 8
"""Package changes that are listed unless the user asks for all."""
_KINDS = (
    *(Build, BuildConfig, ImageStream, ImageStreamTag, Image, *WORKLOADS, ClusterOperator),
    *(
        Route,
        Ingress,
        Service,
        CronJob,
        Job,
        Pipeline,
        Promotion,
        Release,
        ResourceQuota,
        ClusterImagePolicy,
        ImagePolicy,
    ),
    Cluster,
)

_DESCRIBED: Mapping[type[Resource], str] = {Wave: "upwell wave describe {name}"}
"""Commands that tell of kinds which have no explanation; `upwell describe` does of all others."""
_DESCRIBE = "upwell describe {kind}/{name}"

type _Changes = Mapping[tuple[str, str], PackageChanges]
"""Package changes by the digests of the old and new image."""


@click.command(
    "explain",
    epilog=examples(
        "upwell explain deployment/shop",
        "upwell explain build/shop-2 --packages=all",
        "upwell explain bc/gate -o json",
        "upwell explain istag/debian:12",
    ),
)
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@click.option(
    "--packages",
    type=click.Choice(["some", "all", "none"]),
    default="some",
    show_default=True,
    help="Number of package changes to list for each image change.",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def explain_command(session: Session, what: tuple[str, ...], packages: str, output: str) -> None:
    """Explain why an object was, or was not, built or rolled out.

    Goes from the running image back through promotions with their tests and approvals, tags and
    builds, to the upstream change that caused it, with the packages that differ. Then lists what
    is held back, by what, and until when. Of each image it says which image policies it has passed,
    and which refuse it or would; of an image policy, the images that it refuses or would. Of a
    component of the server (clusteroperator/router), a Route, Service, Job, Pipeline,
    ResourceQuota or Cluster it lists the faults; of a Route or Service also where it leads. Of a
    promotion it tells what it waits for, or how it ended, and where its release is from; of a
    release, where it is from, and where each of its promotions stands.
    """
    named = parse_one(what)
    if not issubclass(named.resource, _KINDS):
        known = ", ".join(kind.KIND.singular for kind in _KINDS)
        tells = _DESCRIBED.get(named.resource, _DESCRIBE)
        tells = tells.format(kind=named.resource.KIND.singular, name=named.name)
        raise CommandError(
            f"cannot explain {named}: supported kinds are {known}; `{tells}` tells of it",
            Exit.USAGE,
        )

    async def work(client: ApiClient) -> None:
        namespace = session.namespace if named.resource.KIND.namespaced else ""
        asked = await client.get(named.resource, namespace, named.name)
        snapshot = await read_snapshot(client, session.namespace)
        waves = await _waves(client) if isinstance(asked, Build | BuildConfig) else ()
        urgency = urgencies_in(snapshot, waves)
        turn = turn_of(snapshot, asked.key, clock.now(), urgency)
        statements = [*explain(snapshot, snapshot.workloads.get(asked.key, asked)), *turn]
        changes = {} if packages == "none" else await _compare(client, statements)
        if output != Format.TABLE:
            write_report("Explanation", _data(asked, statements, changes), output)
            return
        echo(full_name(asked))
        for line in _lines(statements, changes, limit=None if packages == "all" else _FEW):
            echo_states(line)

    session.run(work)


async def _waves(client: ApiClient) -> Sequence[Wave]:
    """Return the Waves, whose severity decides on turns; none to a token that cannot read them."""
    try:
        return (await client.list(Wave)).items
    except StoreForbiddenError:
        return ()


async def _compare(client: ApiClient, statements: Sequence[Statement]) -> _Changes:
    """Return the package changes of each image change."""
    found: dict[tuple[str, str], PackageChanges] = {}
    for statement in statements:
        pair = _pair(statement)
        if statement.topic is Topic.CAUSE and all(pair) and pair not in found:
            found[pair] = await compared_packages(client, *pair)
    return found


def _pair(statement: Statement) -> tuple[str, str]:
    return digest_of(statement.old), digest_of(statement.new)


def _lines(
    statements: Sequence[Statement], changes: _Changes, *, limit: int | None
) -> Iterator[str]:
    for statement in statements:
        indent = "  " * (statement.depth + 1)
        yield f"{indent}{shortened(statement.text)}{_when(statement)}"
        if statement.topic is Topic.CAUSE and _pair(statement) in changes:
            for line in package_lines(changes[_pair(statement)], limit):
                yield f"{indent}  {line}"


def _when(statement: Statement) -> str:
    if statement.at is None:
        return ""
    age = clock.now() - statement.at
    if age < timedelta(0):
        relative = f"in {human_duration(-age)}"
    elif statement.topic is Topic.NEXT:
        relative = "due now"
    else:
        relative = f"{human_duration(age)} ago"
    return f" ({statement.at:%Y-%m-%d %H:%M:%S}Z, {relative})"


def _data(asked: Resource, statements: Sequence[Statement], changes: _Changes) -> dict[str, Any]:
    return {
        "object": full_name(asked),
        "namespace": asked.namespace,
        "statements": [
            {
                "topic": str(statement.topic),
                "text": statement.text,
                "depth": statement.depth,
                "at": format_time(statement.at) if statement.at else None,
                "old": statement.old or None,
                "new": statement.new or None,
                "packages": package_data(changes.get(_pair(statement)))
                if statement.topic is Topic.CAUSE
                else None,
            }
            for statement in statements
        ],
    }
