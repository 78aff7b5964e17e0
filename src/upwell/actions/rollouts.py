"""Rollouts that people start, cancel, retry and undo."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import cast

from upwell.api.apps import DeploymentConfig, RevisionRecord
from upwell.api.meta import Resource
from upwell.policy.builds.triggers import ImageBar, digest_of
from upwell.policy.images.streams import StreamTag
from upwell.policy.rollouts.history import wanted_revision
from upwell.policy.rollouts.image_ownership import is_pinned
from upwell.policy.rollouts.requests import (
    RolloutRefusedError,
    cancelled,
    naming_revision,
    newest_images,
    progressing_revision,
    require_revision,
    require_startable,
    retried,
    rolled_back,
    started,
)
from upwell.policy.rollouts.settings import Workload, template_of
from upwell.policy.rollouts.triggers import (
    Slot,
    followers_of,
    images_of_all,
    images_set,
    with_images,
)
from upwell.reconcilers.images.named_streams import read_streams
from upwell.store.interface import ConflictError, Store
from upwell.store.retry import update_with_retry

type _Rollback = tuple[Workload, RevisionRecord]
"""A workload, and the revision that it goes back to."""
type Permit = Callable[[Resource, Resource], Awaitable[Resource]]
"""Takes the wanted object and the stored one; returns the wanted one with the author that it has
then, or raises what its client's rights or the namespace's profile refuse it with."""
type BarOfChange = Callable[[StreamTag, str], Awaitable[ImageBar | None]]
"""Returns what bars the image that a tag names, a pull spec, while its change is not approved."""
type _Change = Callable[[Resource], Awaitable[Workload]]


async def nothing_barred(_tag: StreamTag, _image: str) -> ImageBar | None:
    """Return None: nothing waits for an approval."""
    return None


class RolloutActions:
    """Rollouts by hand. Methods return the workload; they raise RolloutRefusedError, StoreError.

    With `dry_run` they return it as it would be, and write nothing.
    """

    def __init__(
        self, store: Store, clock: Callable[[], datetime], bar: BarOfChange = nothing_barred
    ) -> None:
        """`bar` is asked of images that followed tags name now."""
        self._bar = bar
        self._store = store
        self._clock = clock

    async def latest(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        *,
        again: bool,
        dry_run: bool = False,
    ) -> Workload:
        """Start a rollout with the newest images of followed tags, whatever triggers wait for.

        But for approvals: an image whose change nobody has approved takes no other's place.
        Those of triggers that are not automatic are included. A DeploymentConfig is rolled out
        also where it has them already, and with `again` it keeps what it has.
        """
        asked: set[str] = set()

        async def change(resource: Resource) -> Workload:
            if isinstance(resource, DeploymentConfig) and progressing_revision(resource) in asked:
                return resource  # another writer was faster with the same images
            config = require_startable(resource, again=again)
            images = {} if again else await self._newest(config)
            wanted = newest_images(config, images)
            await self._require_approved(config, wanted)
            newer = with_images(config, wanted)
            if not isinstance(newer, DeploymentConfig):
                return newer if dry_run else await self._store.update(newer)
            begun = started(newer, self._clock())
            if dry_run:
                return begun
            if newer.spec == config.spec:
                return await self._store.update_status(begun)
            # The request first: a template that comes before it is taken for an image change,
            # and its rollout for another one's. What failed stays given up until then.
            failed = config.status.failed_hash
            named = begun.with_status(begun.status.model_copy(update={"failed_hash": failed}))
            asked.add(wanted_revision(begun))
            stored = await self._store.update_status(named)
            version = stored.resource_version
            return await self._store.update(begun.with_metadata(resource_version=version))

        return await self._changed(kind, (namespace, name), change)

    async def cancel(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        *,
        revision: int | None = None,
        dry_run: bool = False,
    ) -> Workload:
        """End the rollout that is under way, if `revision` names it: what served serves again."""

        async def change(resource: Resource) -> Workload:
            ended = cancelled(resource, self._clock(), revision)
            return ended if dry_run else await self._store.update_status(ended)

        return await self._changed(kind, (namespace, name), change)

    async def retry(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        *,
        revision: int | None = None,
        dry_run: bool = False,
    ) -> Workload:
        """Roll out once more what has failed, if `revision` names it, hooks included."""

        async def change(resource: Resource) -> Workload:
            begun = retried(resource, self._clock(), revision)
            return begun if dry_run else await self._store.update_status(begun)

        return await self._changed(kind, (namespace, name), change)

    async def roll_back(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        to_revision: int | None,
        permit: Permit,
        *,
        dry_run: bool = False,
    ) -> Workload:
        """Write the template of an earlier revision back, and hold automation away from it.

        Without `to_revision`, the last one that served in full before the declared one. A person's
        decision outranks triggers until the hold is lifted, and takes what editing the template
        takes: `permit` judges the object before anything is written. Raises ConflictError where
        somebody else changes the template meanwhile: their decision is not gone over.
        """
        asked = await self._store.get(kind, namespace, name)
        workload, record = require_revision(asked, to_revision)
        if dry_run:
            wanted = rolled_back(workload, record, self._clock())
            return cast("Workload", await permit(wanted, workload))
        declared, number = template_of(workload), record.revision

        async def unedited() -> _Rollback:
            workload, record = require_revision(
                await self._store.get(kind, namespace, name), number
            )
            if template_of(workload) != declared:
                raise ConflictError(workload.key, "its template was changed meanwhile")
            return workload, record

        async def write_back(rollback: _Rollback) -> Workload:
            return await self._write_back(rollback, permit)

        return await update_with_retry(unedited, write_back)

    async def _write_back(self, rollback: _Rollback, permit: Permit) -> Workload:
        workload, record = rollback
        wanted = await permit(rolled_back(workload, record, self._clock()), workload)
        named = naming_revision(workload, record)
        if named is not workload:
            stored = await self._store.update_status(named)
            wanted = wanted.with_metadata(resource_version=stored.resource_version)
        return cast("Workload", await self._store.update(wanted))

    async def _require_approved(self, workload: Workload, images: Mapping[Slot, str]) -> None:
        """Raise RolloutRefusedError if one of these waits for approval, and takes another's place.

        What runs nothing yet waits for nobody.
        """
        tags = {one.slot: one.tag for one in followers_of(workload).entries}
        for slot, before in images_set(workload).items():
            after = images.get(slot)
            if after is None or not is_pinned(before) or digest_of(before) == digest_of(after):
                continue
            if (bar := await self._bar(tags[slot], after)) is not None:
                raise RolloutRefusedError(f"{workload.key}: {tags[slot]} {bar.message}")

    async def _newest(self, workload: Workload) -> Mapping[Slot, str]:
        """Return the images that the followed tags name; a container without one keeps its own."""
        followed = {entry.stream for entry in followers_of(workload).entries}
        return images_of_all(workload, await read_streams(self._store, followed))

    async def _changed(
        self, kind: type[Resource], place: tuple[str, str], change: _Change
    ) -> Workload:
        """Change the object as it is now, again when somebody else was faster."""
        return await update_with_retry(lambda: self._store.get(kind, *place), change)
