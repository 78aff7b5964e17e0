"""What a person does to rollouts: start the latest, cancel, retry.

The refusals of DeploymentConfigs are in OpenShift's own words (oc/pkg/cli/rollout): scripts
look for them.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import ClassVar

from upwell.api.apps import DeploymentConfig, RequestedRevision
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.policy.images.streams import StreamName
from upwell.policy.rollouts.history import Phase, find, last_good, wanted_revision, with_record
from upwell.policy.rollouts.pod_template import repeated_hash, template_hash
from upwell.policy.rollouts.settings import WORKLOADS, Workload, is_paused, template_of
from upwell.policy.rollouts.triggers import followers_of, images_of_all, with_images
from upwell.store.interface import ConflictError, NotFoundError, Store

_ATTEMPTS = 5
"""Against other writers of the same object: a person is not asked to try again at once."""


class RolloutRefusedError(Exception):
    """Nothing was done; `reason` is a Kubernetes StatusReason."""

    reason: ClassVar[str] = "Invalid"


class NoRolloutsError(RolloutRefusedError):
    """The kind has no such verb."""

    def __init__(self, key: ObjectKey, verb: str, kinds: tuple[type[Resource], ...]) -> None:
        names = ", ".join(kind.KIND.kind for kind in kinds)
        super().__init__(f"{key}: `{verb}` is for {names}")


class PausedError(RolloutRefusedError):
    """The workload is paused."""

    def __init__(self, key: ObjectKey, message: str) -> None:
        super().__init__(f"{message}: {key} has spec.paused; `rollout resume` first")


class InProgressError(RolloutRefusedError):
    """A rollout is under way already."""

    def __init__(self, revision: int) -> None:
        super().__init__(
            f"#{revision} is already in progress (Running); wait for it, or `rollout cancel` it"
        )


class NothingToDoError(RolloutRefusedError):
    """The newest rollout is not in the phase that the verb is for."""


type _Change = Callable[[Workload], Awaitable[Workload]]


async def latest(
    store: Store, kind: type[Resource], namespace: str, name: str, *, again: bool
) -> Resource:
    """Start a new rollout of a DeploymentConfig, whatever its triggers say.

    Containers get the newest images of all tags that they follow, those of triggers that are
    not automatic included; with `again` they keep what they have. Raises RolloutRefusedError.
    """

    async def change(workload: Workload) -> Workload:
        if not isinstance(workload, DeploymentConfig):
            raise NoRolloutsError(workload.key, "rollout latest", (DeploymentConfig,))
        if is_paused(workload):
            raise PausedError(workload.key, "cannot deploy a paused deployment config")
        records = workload.status.revisions
        if records and records[0].phase == Phase.PROGRESSING:
            raise InProgressError(records[0].revision)
        current = workload
        if not again:
            streams = await _streams(store, workload)
            images = images_of_all(workload, streams)
            current = await store.update(with_images(workload, images))
        declared = template_hash(template_of(current))
        known = find(records, declared)
        newest = max((one.revision for one in records), default=0)
        revision = declared if known is None else repeated_hash(declared, newest + 1)
        requested = RequestedRevision(template=declared, revision=revision)
        changes = {"requested": requested, "failed_hash": None}
        return await _with_status(store, current, changes)

    return await _changed(store, kind, (namespace, name), change)


async def cancel(store: Store, kind: type[Resource], namespace: str, name: str) -> Resource:
    """End the rollout that is under way: what served before serves again.

    Raises RolloutRefusedError.
    """

    async def change(workload: Workload) -> Workload:
        if is_paused(workload):
            raise PausedError(workload.key, "unable to cancel paused deployment")
        records = workload.status.revisions
        if not records or records[0].phase != Phase.PROGRESSING:
            raise NothingToDoError(f"{workload.key}: no rollout is in progress{_newest(workload)}")
        first = records[0]
        message = f"revision {first.revision} was cancelled by a person"
        updated = with_record(
            records, first.hash, phase=Phase.FAILED.value, message=message, aborted=True
        )
        good = last_good(updated, besides=first.hash)
        failed = wanted_revision(workload) if good is not None else workload.status.failed_hash
        return await _with_status(store, workload, {"revisions": updated, "failed_hash": failed})

    return await _changed(store, kind, (namespace, name), change)


async def retry(
    store: Store,
    kind: type[Resource],
    namespace: str,
    name: str,
    clock: Callable[[], datetime],
) -> Resource:
    """Roll out once more what has failed, hooks included. Raises RolloutRefusedError."""

    async def change(workload: Workload) -> Workload:
        if is_paused(workload):
            raise PausedError(workload.key, "unable to retry paused deployment config")
        records = workload.status.revisions
        if not records or records[0].phase != Phase.FAILED:
            raise NothingToDoError(
                f"{workload.key}: only failed deployments can be retried{_newest(workload)};"
                " `rollout latest` starts a new one"
            )
        anew = with_record(
            records,
            records[0].hash,
            phase=Phase.PROGRESSING.value,
            message="",
            aborted=None,
            hooks={},
            created=clock(),
        )
        return await _with_status(store, workload, {"revisions": anew, "failed_hash": None})

    return await _changed(store, kind, (namespace, name), change)


async def _changed(
    store: Store, kind: type[Resource], place: tuple[str, str], change: _Change
) -> Resource:
    """Change the object as it is now, again when somebody else was faster."""
    attempt = 0
    while True:
        workload = await store.get(kind, *place)
        if not isinstance(workload, WORKLOADS):
            raise NoRolloutsError(workload.key, "rollout", WORKLOADS)
        try:
            return await change(workload)
        except ConflictError:
            attempt += 1
            if attempt >= _ATTEMPTS:
                raise


async def _with_status(store: Store, workload: Workload, changes: Mapping[str, object]) -> Workload:
    status = workload.status.model_copy(update=dict(changes))
    return await store.update_status(workload.with_status(status))


async def _streams(store: Store, workload: Workload) -> dict[StreamName, ImageStream]:
    found: dict[StreamName, ImageStream] = {}
    for name in {entry.stream for entry in followers_of(workload).entries}:
        try:
            found[name] = await store.get(ImageStream, name.namespace, name.name)
        except NotFoundError:
            continue  # that container keeps its image
    return found


def _newest(workload: Workload) -> str:
    records = workload.status.revisions
    if not records:
        return ": there has been none"
    return f": rollout #{records[0].revision} is {records[0].phase.lower()}"
