"""Takeover of one container: the new instance, then the old container's end, or everything back."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from upwell.api.apps import Deployment
from upwell.api.codec import encode
from upwell.api.conditions import find
from upwell.api.meta import Resource
from upwell.cli.adoption.engines import Engine, copy_volume
from upwell.cli.adoption.volume_copies import put_away_copies, volume_copies
from upwell.cli.core.connection import Session
from upwell.cli.core.documents import LoadedManifest, check_documents
from upwell.cli.core.durations import within
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import until
from upwell.cli.objects.creation import apply_all, refuse_existing, try_all
from upwell.policy.adoption.objects import AdoptionPlan
from upwell.policy.adoption.takeover import AdoptionCandidate, TakeoverMethod
from upwell.policy.adoption.workloads import begins_with, is_updated
from upwell.policy.rollouts.summary import RolloutState, rollout_of
from upwell.policy.routing.reachability import HOST_PORTS
from upwell.store.interface import ApiClient, NotFoundError, StoreError

PORT_SECONDS = 60.0
"""Time for the router to get a port that the old container has given up."""
BACK_SECONDS = 60.0
"""Time for the old container to get it back."""
RETRY_SECONDS = 0.5
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - binds nothing
"""Addresses that answer for those that stand for all of the machine."""


@dataclass(frozen=True, slots=True)
class TakeoverPlace:
    """Surroundings of takeovers: the server, the folder of its data, and the time for each."""

    client: ApiClient
    session: Session
    data_dir: Path
    seconds: float


async def take_over(
    place: TakeoverPlace, engine: Engine, candidate: AdoptionCandidate, plan: AdoptionPlan
) -> None:
    """Make a container a service of Upwell's; whatever fails, the container runs again.

    It begins with the image that runs, so that a newer one is an update with its rollback.
    Raises CommandError.
    """
    follows = check_documents([encode(one) for one in plan.objects], place.session)
    manifests, image = follows, candidate.running_image
    if image:
        objects = [encode(begins_with(one, image)) for one in plan.objects]
        manifests = check_documents(objects, place.session)
    await refuse_existing(place.client, manifests)
    await try_all(place.client, manifests)
    copies = volume_copies(place.data_dir, place.session.namespace, candidate)
    container, stopped, made = candidate.container, False, False
    try:
        if candidate.method is TakeoverMethod.STOP_FIRST:
            echo(f"{candidate.name}: stopping {engine.program}/{container.name}", err=True)
            stopped = True
            await engine.stop(container)
            for source, folder in copies:
                folder.mkdir(parents=True, exist_ok=True)
                await copy_volume(source, str(folder))
        made = True
        await apply_all(place.client, manifests)
        await _rolled_out(place, candidate)
        if not stopped:
            stopped = True
            await engine.stop(container)
        await _served(place, candidate)
    except BaseException:
        # An interruption too: whoever presses Ctrl-C wants their service back.
        await _give_back(place, manifests if made else ())
        put_away_copies(place.data_dir, [folder for _, folder in copies], used=made)
        if stopped:
            await _start_again(engine, candidate)
        state = "runs" if container.runs else "is as it was"
        echo(f"{candidate.name}: given back, {engine.program}/{container.name} {state}", err=True)
        raise
    if image:
        # One that nothing updates stays at its digest: its tag stands for another image now.
        updated = [
            one
            for one in follows
            if isinstance(one.resource, Deployment) and is_updated(one.resource)
        ]
        await apply_all(place.client, updated)
    left = (
        f"`{engine.program} rm {container.name}` removes what is left of the old container"
        if container.runs
        else f"{container.unit} does not start any more"
    )
    echo(f"{candidate.name}: adopted; {left}", err=True)


async def _start_again(engine: Engine, candidate: AdoptionCandidate) -> None:
    """Start the old container once the router has given its ports up; raises CommandError."""
    last: CommandError | None = None
    try:
        async with asyncio.timeout(BACK_SECONDS):
            while True:
                try:
                    await engine.start(candidate.container)
                except CommandError as error:
                    last = error
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    return
    except TimeoutError:
        raise CommandError(
            f"{candidate.name}: its old container does not start again, so nothing serves:"
            f" {last or 'no answer'}; start it by hand"
        ) from last


async def _rolled_out(place: TakeoverPlace, candidate: AdoptionCandidate) -> None:
    """Wait until the new instance is ready; raises CommandError, with the reason, if it never is.

    The objects that tell the reason go once it is given back.
    """
    deployment = await place.client.get(Deployment, place.session.namespace, candidate.name)
    state = f"{candidate.name}: the new instance is not ready"
    try:
        async with within(place.seconds, state):
            ended = await until(
                place.client,
                deployment,
                lambda one: rollout_of(one).state is not RolloutState.PROGRESSING,
            )
    except CommandError as error:
        last = await place.client.get(Deployment, place.session.namespace, candidate.name)
        why = f"{error.message}: {rollout_of(last).text}"
        raise CommandError(why, Exit(error.exit_code)) from error
    found = rollout_of(ended)
    if found.state is RolloutState.FAILED:
        raise CommandError(f"{candidate.name}: {found.text}")


async def _served(place: TakeoverPlace, candidate: AdoptionCandidate) -> None:
    """Wait until the ports of the machine answer; raises CommandError.

    The server tells of a port only once the router has failed to get it, so each is tried as well.
    """
    deployment = await place.client.get(Deployment, place.session.namespace, candidate.name)
    async with within(PORT_SECONDS, f"{candidate.name}: its ports are not served"):
        for port in candidate.container.service.ports:
            if port.host_port is not None and port.protocol == "tcp":
                await _answers(_LOOPBACK.get(port.host_ip, port.host_ip), port.host_port)
        await until(place.client, deployment, _has_ports)


async def _answers(address: str, port: int) -> None:
    """Wait until a connection to a port is accepted."""
    while True:
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            writer.close()
            return


def _has_ports(deployment: Deployment) -> bool:
    condition = find(deployment.status.conditions, HOST_PORTS)
    return condition is None or condition.status == "True"


async def _give_back(place: TakeoverPlace, manifests: Sequence[LoadedManifest]) -> None:
    """Delete what was made, in the opposite order."""
    for manifest in reversed(manifests):
        await _delete(place.client, manifest.resource)


async def _delete(client: ApiClient, resource: Resource) -> None:
    try:
        await client.delete(type(resource), resource.namespace, resource.name)
    except NotFoundError:
        return
    except StoreError as error:
        echo(f"{resource.key} is left: {error}", err=True)
