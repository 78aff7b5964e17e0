"""Takeover of one container: the new instance, then the old container's end, or everything back."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from upwell.api.apps import Deployment
from upwell.api.codec import encode
from upwell.api.conditions import find
from upwell.api.meta import Resource, format_time
from upwell.cli.adoption.engines import COPY_SECONDS, Engine, OldContainer, copy_volume
from upwell.cli.adoption.recorded import RecordedTakeover, taken_up, under_way
from upwell.cli.adoption.volume_copies import put_away_copies, require_room, volume_copies
from upwell.cli.core.connection import Session
from upwell.cli.core.documents import LoadedManifest, check_documents
from upwell.cli.core.durations import within
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import until
from upwell.cli.objects.creation import apply_all, refuse_existing, try_all
from upwell.machine import clock
from upwell.policy.adoption.objects import AdoptionPlan
from upwell.policy.adoption.takeover import AdoptionCandidate, TakeoverMethod
from upwell.policy.adoption.workloads import begins_with, during_takeover, is_updated
from upwell.policy.rollouts.report import PROGRESSING
from upwell.policy.rollouts.snapshot import HELD
from upwell.policy.rollouts.starts.takeover import IS_HELD
from upwell.policy.rollouts.summary import RolloutState, rollout_of, serving
from upwell.policy.routing.reachability import HOST_PORTS
from upwell.store.interface import ApiClient, NotFoundError, StoreError

PORT_SECONDS = 60.0
"""Time for the router to get a port that the old container has given up."""
BACK_SECONDS = 60.0
"""Time for the old container to get it back."""
RETRY_SECONDS = 0.5
_NO_LIMIT = 86400.0
"""Time for an instance that may take any (`--timeout 0`), after which its faults are told."""
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - binds nothing
"""Addresses that answer for those that stand for all of the machine."""


@dataclass(frozen=True, slots=True)
class TakeoverPlace:
    """Surroundings of takeovers: the server, the folder of its data, and the time for each."""

    client: ApiClient
    session: Session
    data_dir: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class _Stages:
    """Manifests of what a container becomes: held back first, then free to begin."""

    place: TakeoverPlace
    objects: Sequence[Resource]

    def manifests(self, start: str) -> list[LoadedManifest]:
        """Return all of them; `start` is `held`, or the time at which an instance may start."""
        seconds = (self.place.seconds or _NO_LIMIT) + COPY_SECONDS + PORT_SECONDS + BACK_SECONDS
        until = _text(clock.now() + timedelta(seconds=seconds))
        documents = [encode(during_takeover(one, start, until)) for one in self.objects]
        return check_documents(documents, self.place.session)


async def take_over(
    place: TakeoverPlace, engine: Engine, candidate: AdoptionCandidate, plan: AdoptionPlan
) -> None:
    """Make a container a service of Upwell's; whatever fails, the container runs again.

    It begins with the image that runs, so that a newer one is an update with its rollback.
    Raises CommandError.
    """
    image = candidate.running_image
    begins = [begins_with(one, image) if image else one for one in plan.objects]
    # What nothing updates stays at its digest: its tag stands for another image now.
    ends = [
        one if isinstance(one, Deployment) and is_updated(one) else first
        for one, first in zip(plan.objects, begins, strict=True)
    ]
    follows = check_documents([encode(one) for one in ends], place.session)
    stages = _Stages(place, begins)
    held = stages.manifests(IS_HELD)
    await refuse_existing(place.client, held)
    await try_all(place.client, held)
    copies = volume_copies(place.data_dir, place.session.namespace, candidate)
    await require_room(candidate.name, copies)
    takeover = RecordedTakeover(
        began=_text(clock.now()),
        program=engine.program,
        container=OldContainer.of(candidate.container),
        namespace=place.session.namespace,
        name=candidate.name,
        data_dir=str(place.data_dir),
        copies=tuple(str(folder) for _, folder in copies),
        documents=tuple(one.document for one in follows),
    )
    with under_way(takeover):
        await _change_hands(place, candidate, takeover, stages, copies)
        await _follow(place.client, follows)
        await _retire(engine, takeover)
        takeover.forget()


async def end_cut_off(client: ApiClient, session: Session, takeover: RecordedTakeover) -> bool:
    """End a takeover that was cut off: forward if the new instance serves, else back.

    Returns True if it is adopted now. Raises CommandError; then its record stays.
    """
    engine = Engine(takeover.program)
    manifests = check_documents(takeover.documents, session)
    with taken_up(takeover):
        if await _serves(client, takeover):
            with suppress(CommandError):  # it may be stopped, or gone
                await engine.stop(takeover.container)
            await _follow(client, manifests)
            await _retire(engine, takeover)
            takeover.forget()
            return True
        await _give_back(client, manifests)
        folders = [Path(one) for one in takeover.copies]
        put_away_copies(Path(takeover.data_dir), folders, used=True)
        try:
            await _start_again(engine, takeover.container, takeover.name)
        except CommandError as error:
            raise CommandError(
                f"{error.message}; if it is gone for good, `rm {takeover.path}` forgets it"
            ) from error
        takeover.forget()
    echo(f"{takeover.name}: given back, {takeover.program}/{takeover.container.name}", err=True)
    return False


async def _serves(client: ApiClient, takeover: RecordedTakeover) -> bool:
    """Return True if what a container becomes serves, and has the container's ports.

    It does so as well while an update of it goes on, or has failed.
    """
    try:
        found = await client.get(Deployment, takeover.namespace, takeover.name)
    except NotFoundError:
        return False
    condition = find(found.status.conditions, HOST_PORTS)
    if condition is not None and condition.status != "True":
        return False
    return serving(found) is not None


async def _change_hands(
    place: TakeoverPlace,
    candidate: AdoptionCandidate,
    takeover: RecordedTakeover,
    stages: _Stages,
    copies: Sequence[tuple[str, Path]],
) -> None:
    """Have the new instance serve in the place of the container; whatever fails, back again."""
    engine, old = Engine(takeover.program), takeover.container
    stopped = made = begun = False
    try:
        if held_first := candidate.method is TakeoverMethod.STOP_FIRST:
            # What cannot be pulled, or is refused, is known while the container still serves.
            made = True
            await apply_all(place.client, stages.manifests(IS_HELD))
            await _images_there(place, candidate)
            echo(f"{candidate.name}: stopping {engine.program}/{old.name}", err=True)
            stopped = True
            await engine.stop(old)
            for source, folder in copies:
                folder.mkdir(parents=True, exist_ok=True)
                await copy_volume(source, str(folder))
        made = begun = True
        begins = stages.manifests(_text(clock.now()))
        await apply_all(place.client, begins, is_told=not held_first)
        await _rolled_out(place, candidate)
        if not stopped:
            stopped = True
            await engine.stop(old)
        await _served(place, candidate)
    except BaseException:
        # An interruption too: whoever presses Ctrl-C wants their service back.
        await _give_back(place.client, stages.manifests(IS_HELD) if made else ())
        put_away_copies(place.data_dir, [folder for _, folder in copies], used=begun)
        if stopped:
            await _start_again(engine, old, candidate.name)
        state = "runs" if old.runs else "is as it was"
        echo(f"{candidate.name}: given back, {engine.program}/{old.name} {state}", err=True)
        takeover.forget()
        raise


async def _follow(client: ApiClient, follows: Sequence[LoadedManifest]) -> None:
    """Have what began with the image that ran follow its tag, and be told of from here on."""
    await apply_all(client, [one for one in follows if isinstance(one.resource, Deployment)])


async def _retire(engine: Engine, takeover: RecordedTakeover) -> None:
    """Keep the old container from starting by itself, and say what is left of it."""
    old = takeover.container
    left = f"`{engine.program} rm {old.name}` removes what is left of the old container"
    if not old.runs:
        left = f"{old.unit} does not start any more"
    try:
        await engine.retire(old)
    except CommandError as error:
        left = f"its old container may start again at a reboot: {error.message}"
    echo(f"{takeover.name}: adopted; {left}", err=True)


async def _start_again(engine: Engine, container: OldContainer, name: str) -> None:
    """Start the old container once the router has given its ports up; raises CommandError."""
    last: CommandError | None = None
    try:
        async with asyncio.timeout(BACK_SECONDS):
            while True:
                try:
                    await engine.start(container)
                except CommandError as error:
                    last = error
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    return
    except TimeoutError:
        raise CommandError(
            f"{name}: its old container does not start again, so nothing serves:"
            f" {last or 'no answer'}; start it by hand"
        ) from last


async def _images_there(place: TakeoverPlace, candidate: AdoptionCandidate) -> None:
    """Wait until the new instance has its images, and could start; raises CommandError if not."""
    deployment = await place.client.get(Deployment, place.session.namespace, candidate.name)
    waits = f"{candidate.name}: its images are not there"

    def is_decided(one: Deployment) -> bool:
        return _is_held(one) or rollout_of(one).state is not RolloutState.PROGRESSING

    try:
        async with within(place.seconds, waits):
            found = await until(place.client, deployment, is_decided)
    except CommandError as error:
        last = await place.client.get(Deployment, place.session.namespace, candidate.name)
        why = f"{error.message}: {rollout_of(last).text}"
        raise CommandError(why, Exit(error.exit_code)) from error
    if not _is_held(found):
        raise CommandError(f"{candidate.name}: {rollout_of(found).text}")


def _is_held(deployment: Deployment) -> bool:
    progressing = find(deployment.status.conditions, PROGRESSING)
    return progressing is not None and progressing.reason == HELD


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


def _text(time: datetime) -> str:
    return format_time(time.replace(microsecond=0))


def _has_ports(deployment: Deployment) -> bool:
    condition = find(deployment.status.conditions, HOST_PORTS)
    return condition is None or condition.status == "True"


async def _give_back(client: ApiClient, manifests: Sequence[LoadedManifest]) -> None:
    """Delete what was made, in the opposite order."""
    for manifest in reversed(manifests):
        await _delete(client, manifest.resource)


async def _delete(client: ApiClient, resource: Resource) -> None:
    try:
        await client.delete(type(resource), resource.namespace, resource.name)
    except NotFoundError:
        return
    except StoreError as error:
        echo(f"{resource.key} is left: {error}", err=True)
