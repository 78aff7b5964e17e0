"""`upwell adopt`: take over what runs on this machine, one service at a time."""

import sys
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from upwell.api.codec import encode
from upwell.cli.adoption.cluster import propose, require_dry_run
from upwell.cli.adoption.engines import PODMAN, Engine, engines
from upwell.cli.adoption.following_options import snapshot_option
from upwell.cli.adoption.quadlets import stopped_quadlets
from upwell.cli.adoption.recorded import cut_off
from upwell.cli.adoption.takeover import TakeoverPlace, end_cut_off, take_over
from upwell.cli.adoption.upstream import upstream_images
from upwell.cli.core.connection import Session, cancel_at_end, connection_options
from upwell.cli.core.documents import check_documents
from upwell.cli.core.durations import TIMEOUT
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.output import Format, aligned, output_option, write_data
from upwell.cli.core.terminal import echo
from upwell.cli.notifications.options import notify_option
from upwell.cli.objects.creation import apply_all, refuse_existing
from upwell.cli.serve.options import data_dir_option
from upwell.formats.compose.inspected import InspectedContainer
from upwell.policy.adoption.following import FollowOptions, follow_plan
from upwell.policy.adoption.names import AdoptionError
from upwell.policy.adoption.objects import AdoptionPlan
from upwell.policy.adoption.takeover import (
    AdoptionCandidate,
    CurrentUpstream,
    TakeoverMethod,
    adoption_order,
    plan_rows,
    refuse_same_names,
    with_shared_volumes,
)
from upwell.store.interface import ApiClient

type Planned = tuple[Engine, AdoptionCandidate, AdoptionPlan]


@dataclass(slots=True)
class _AdoptOptions:
    """Options of one call."""

    watch: bool = False
    snapshot: bool = False
    notify: tuple[str, ...] = ()
    yes: bool = False
    dry_run: bool = False
    timeout: float = 300.0
    on: str = "machine"
    context: str = ""
    kubeconfig: Path | None = None


def _option(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(_AdoptOptions, target, *names, **facts)


@click.command(
    epilog=examples(
        "upwell adopt --dry-run",
        "upwell adopt",
        "upwell adopt web db --yes",
        "upwell adopt --watch --notify mailto://user:password@example.com",
        "upwell adopt web -o yaml",
        "upwell adopt --on kubernetes --dry-run",
    )
)
@click.argument("names", nargs=-1, metavar="[CONTAINER]...")
@_option(
    "on",
    "--on",
    type=click.Choice(["machine", "kubernetes"]),
    default="machine",
    show_default=True,
    help="Where the workloads run: this machine, or the cluster of a kubeconfig.",
)
@_option(
    "context",
    "--context",
    metavar="NAME",
    show_default="the kubeconfig's current one",
    help="Context of the kubeconfig.",
)
@_option(
    "kubeconfig",
    "--kubeconfig",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    show_default="KUBECONFIG, or ~/.kube/config",
    help="File that says how the cluster is reached.",
)
@_option("watch", "--watch", is_flag=True, help="Only tell of new images: all runs on as it is.")
@notify_option(_AdoptOptions)
@snapshot_option(_AdoptOptions)
@_option("yes", "--yes", is_flag=True, help="Begin without a question.")
@_option("dry_run", "--dry-run", is_flag=True, help="Show the plan; change nothing.")
@_option(
    "timeout",
    "--timeout",
    type=TIMEOUT,
    show_default="5m",
    help="Time for each new instance to become ready; then its old container stays.",
)
@data_dir_option("Data directory of `upwell serve`, into which volumes are copied.")
@output_option(Format.TABLE, Format.YAML, Format.JSON)
@connection_options
@click.pass_context
def adopt(ctx: click.Context, names: tuple[str, ...], data_dir: Path, output: str) -> None:
    """Take over the containers that run on this machine in Podman and Docker.

    Shows a plan first: what becomes of each container, how far its image is behind, and what its
    labels (Watchtower, Diun, WUD, Podman's auto-update) ask for. After a yes, one service after
    the other changes hands: its new instance starts beside the old container where no files are
    shared, which is stopped once that is ready. If anything fails, the old container runs again.

    -o yaml prints the objects; --watch makes only those that tell of new images.

    With --on kubernetes --dry-run it reads by kubectl which images of workloads Keel, Flux and
    Argo CD Image Updater set, and proposes streams and triggers in their place.
    """
    session: Session = ctx.ensure_object(Session)
    options = kept(ctx, _AdoptOptions)
    if options.on == "kubernetes":
        require_dry_run(names, dry_run=options.dry_run)
        propose(options.kubeconfig, options.context, output)
        return
    folder = data_dir.absolute()
    follow = FollowOptions(
        watch_only=options.watch, snapshot=options.snapshot, notify=options.notify
    )

    async def work(client: ApiClient) -> None:
        cancel_at_end()
        ends = output == Format.TABLE and not options.watch
        ended = await _end_cut_off(client, session, options) if ends else frozenset[str]()
        planned = await _plan(client, session, names, follow, ended)
        if ended and not planned:
            return
        if output != Format.TABLE:
            documents = [encode(one) for _, _, plan in planned for one in plan.objects]
            items = [one.document for one in check_documents(documents, session)]
            write_data({"apiVersion": "v1", "kind": "List", "items": items}, output)
            return
        _show_plan(planned, watch=options.watch)
        taken = [
            one for one in planned if options.watch or one[1].method is not TakeoverMethod.NEVER
        ]
        if options.dry_run or not taken:
            return
        if not (options.yes or _confirmed(taken, watch=options.watch)):
            return
        if options.watch:
            await _watch(client, session, taken)
            return
        place = TakeoverPlace(client, session, folder, options.timeout)
        for engine, candidate, plan in taken:
            await take_over(place, engine, candidate, plan)

    session.run(work)


def _show_plan(planned: Sequence[Planned], *, watch: bool) -> None:
    """Print the plan, and notes on each service."""
    for line in aligned(plan_rows(candidate for _, candidate, _ in planned)):
        echo(line)
    for _, candidate, plan in planned:
        for note in plan.notes:  # each begins with the service's name
            echo(f"note: {note}", err=True)
        for note in (*candidate.container.notes, *candidate.obstacles[1:]):
            echo(f"note: {candidate.name}: {note}", err=True)
        if candidate.is_watchable and not watch:
            command = f"`upwell adopt {candidate.container.name} --watch`"
            echo(f"next: {command} tells of the new images of what stays", err=True)


async def _end_cut_off(
    client: ApiClient, session: Session, options: _AdoptOptions
) -> AbstractSet[str]:
    """Offer to end the takeovers that a kill or a power cut left; raises CommandError.

    Returns the names, of services and containers, of those that are adopted now.
    """
    ended: set[str] = set()
    for takeover in cut_off():
        what = (
            f"{takeover.name}: its takeover of {takeover.program}/{takeover.container.name} was cut"
            f" off ({takeover.began})"
        )
        if takeover.namespace != session.namespace:
            echo(f"note: {what}; `upwell adopt -n {takeover.namespace}` ends it", err=True)
        elif options.dry_run or not (options.yes or sys.stdin.isatty()):
            echo(f"note: {what}; `upwell adopt --yes` ends it first", err=True)
        elif (
            options.yes or click.confirm(f"{what}. End it, or give it back?", err=True)
        ) and await end_cut_off(client, session, takeover):
            ended |= {takeover.name, takeover.container.name}
    return ended


async def _plan(
    client: ApiClient,
    session: Session,
    names: Sequence[str],
    follow: FollowOptions,
    ended: AbstractSet[str],
) -> list[Planned]:
    """Return what is to be adopted, with its objects; raises CommandError.

    `ended`: names of what is adopted already, by this call.
    """
    _refuse_files(names)
    found = await _containers()
    if names:
        known = {one.name for _, one in found}
        if missing := sorted(set(names) - ended - known - {one.service.name for _, one in found}):
            raise CommandError(
                f"no container {', '.join(missing)} runs here, nor is there a Quadlet of it; there"
                f" are: {', '.join(sorted(known)) or 'none'}",
                Exit.USAGE,
            )
        found = [one for one in found if {one[1].name, one[1].service.name} & set(names)]
    if not found and not ended:
        raise CommandError(
            "no containers run here in Podman or Docker, and there are no Quadlets: nothing to"
            " adopt; `upwell apply -f compose.yaml` takes a Compose file"
        )
    upstream = await upstream_images(
        client, session.namespace, (one.service.image for _, one in found if one.service.image)
    )
    owners = {one.name: engine for engine, one in found}
    candidates = adoption_order(
        AdoptionCandidate(engine.program, one, upstream.get(one.service.image, CurrentUpstream()))
        for engine, one in found
    )
    try:
        refuse_same_names(candidates)
        return [
            (
                owners[one.container.name],
                one,
                _objects(one, session.namespace, follow),
            )
            for one in candidates
        ]
    except AdoptionError as error:
        raise CommandError(f"nothing was changed: {error}", Exit.USAGE) from error


async def _containers() -> list[tuple[Engine, InspectedContainer]]:
    """Return what runs, then the Quadlets that do not; raises CommandError."""
    found: list[tuple[Engine, InspectedContainer]] = []
    for engine in await engines():
        containers = await engine.containers()
        if engine.program == PODMAN:
            units = {one.unit for one in containers}
            containers += await stopped_quadlets(units)
        found += [(engine, one) for one in with_shared_volumes(containers)]
    return found


def _refuse_files(names: Sequence[str]) -> None:
    """Say what to do with a file in the place of a container's name; raises CommandError."""
    for name in names:
        if Path(name).suffix in {".yaml", ".yml"} and Path(name).is_file():
            raise CommandError(
                f"{name} is a file: `upwell apply -f {name}` takes a Compose file, whether it runs"
                " or not; `upwell adopt` takes the containers that run",
                Exit.USAGE,
            )


def _objects(candidate: AdoptionCandidate, namespace: str, follow: FollowOptions) -> AdoptionPlan:
    """Return the objects of a container; none of one that stays. Raises AdoptionError."""
    if candidate.method is TakeoverMethod.NEVER and not follow.watch_only:
        return AdoptionPlan(())
    container = candidate.container
    return follow_plan(container.service, namespace, follow, container.project)


def _confirmed(taken: Sequence[Planned], *, watch: bool) -> bool:
    """Ask whether to begin; a call without a terminal is told how to say yes."""
    what = "watch" if watch else "take over"
    if not sys.stdin.isatty():
        echo(f"next: --yes begins to {what} {len(taken)} of them", err=True)
        return False
    return click.confirm(f"Begin to {what} {len(taken)} of them, one after the other?", err=True)


async def _watch(client: ApiClient, session: Session, taken: Sequence[Planned]) -> None:
    """Create the objects that tell of new images, and nothing else."""
    documents = [encode(one) for _, _, plan in taken for one in plan.objects]
    manifests = check_documents(documents, session)
    await refuse_existing(client, manifests)
    await apply_all(client, manifests)
