"""Removes what a plan says, each thing only if it still may go.

Records go first, then names, then content: killed anywhere, the next run finds what is left. What
the plan found is decided on once more after the tags are gone and before any manifest goes, since
a build that started meanwhile wrote down what it needs before it looked for it.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from upwell.api.image import Image, ImageStream, TagEvent
from upwell.api.requests.prune import KeptImage, PrunedItem, PruneStatus
from upwell.machine.clock import elapsed
from upwell.oci import Digest
from upwell.policy.images.imported import with_items
from upwell.policy.images.streams import StreamName, replace_tags
from upwell.policy.pruning.retention import (
    RetentionDecision,
    StaleManifest,
    StaleRevision,
    StaleTag,
)
from upwell.policy.pruning.rules import Rules
from upwell.reconcilers.pruning.plan import PruningPlan, PruningPlanner
from upwell.reconcilers.pruning.ports import StoredBuildLog, Stores
from upwell.reconcilers.pruning.storage import StoragePruning
from upwell.store.interface import ConflictError, NotFoundError

log = logging.getLogger(__name__)

MAX_REMOVALS = 500
"""Of each sort in one run, so that whoever asked for it gets an answer; the next goes on."""
_HOLDS_SECONDS = 10.0
"""For which manifests are removed by one decision, or for as long as it took to read what it was
made of: what has begun to run since is not seen."""
_SHOWN_KEPT = 500


@dataclass(frozen=True, slots=True)
class _Batch:
    """Part of a plan that one run takes."""

    revisions: Sequence[StaleRevision]
    images: Sequence[Image]
    tags: Sequence[StaleTag]
    manifests: Sequence[StaleManifest]

    @classmethod
    def of(cls, decision: RetentionDecision, limit: int) -> "_Batch":
        return cls(
            decision.revisions[:limit],
            decision.images[:limit],
            decision.tags[:limit],
            decision.manifests[:limit],
        )

    def is_part_of(self, decision: RetentionDecision) -> bool:
        return self != _Batch.of(decision, sys.maxsize)


class Pruning:
    """Runs the garbage collection, one run at a time; `elapsed` gives seconds from any origin."""

    def __init__(
        self,
        stores: Stores,
        *,
        max_removals: int = MAX_REMOVALS,
        elapsed: Callable[[], float] = elapsed,
    ) -> None:
        self._elapsed = elapsed
        self._stores = stores
        self._planner = PruningPlanner(stores)
        self._storage = StoragePruning(stores, self._planner)
        self._max_removals = max_removals
        self._running = asyncio.Lock()

    async def run(self, rules: Rules, *, confirm: bool) -> PruneStatus:
        """Remove what may go, or only say what would.

        Raises PruningRefusedError, StoreError, RegistryError or WorkloadError; what was removed
        until then is gone.
        """
        async with self._running:
            plan = await self._planner.plan(rules)
            batch = _Batch.of(plan.decision, self._max_removals)
            if confirm:
                items = await self._remove(plan, batch, rules)
            else:
                items = [
                    *(_revision_item(revision) for revision in batch.revisions),
                    *(PrunedItem(what="Image", name=i.name) for i in batch.images),
                    *(_tag_item(tag) for tag in batch.tags),
                    *(_manifest_item(manifest) for manifest in batch.manifests),
                    *map(_log_item, plan.logs),
                    *map(_package_list_item, plan.package_lists),
                ]
            beside = await self._storage.prune(plan, rules, confirm=confirm)
            items += beside.items
        status = PruneStatus(
            items=tuple(sorted(items, key=lambda item: (-item.bytes, item.what, item.name))),
            kept=tuple(islice(_kept(plan), _SHOWN_KEPT)),
            bytes=sum(item.bytes for item in items),
            left_out="; ".join(beside.left_out) or None,
            more=batch.is_part_of(plan.decision),
        )
        if confirm:
            log.info("pruned", extra={"items": len(status.items), "bytes": status.bytes})
        return status

    async def _remove(self, plan: PruningPlan, batch: _Batch, rules: Rules) -> list[PrunedItem]:
        done = [_revision_item(revision) for revision in await self._cut_histories(batch.revisions)]
        for image in batch.images:
            try:
                await self._stores.objects.delete(
                    type(image), "", image.name, resource_version=image.resource_version
                )
            except (NotFoundError, ConflictError):
                continue  # gone, or met again
            done.append(PrunedItem(what="Image", name=image.name))
        done += [
            _tag_item(tag)
            for tag in batch.tags
            if await self._stores.registry.expire_tag(tag.repository, tag.tag, tag.digest)
        ]
        done += await self._remove_manifests(plan, batch.manifests, rules)
        await self._stores.registry.collect(plan.now - rules.keep_younger_than)
        done += [_log_item(one) for one in plan.logs if self._stores.logs.remove(one.build_id)]
        done += [
            _package_list_item(digest)
            for digest in plan.package_lists
            if await self._stores.inventory.forget(digest)
        ]
        return done

    async def _cut_histories(self, stale: Sequence[StaleRevision]) -> Sequence[StaleRevision]:
        """Take revisions out of the streams; one that changes meanwhile is left to the next run."""
        by_stream: dict[StreamName, list[StaleRevision]] = {}
        for revision in stale:
            by_stream.setdefault(revision.stream, []).append(revision)
        cut: list[StaleRevision] = []
        for name, revisions in by_stream.items():
            try:
                stream = await self._stores.objects.get(ImageStream, name.namespace, name.name)
                there = _in_history(stream, revisions)
                if there:
                    await self._stores.objects.update_status(_without(stream, there))
            except (NotFoundError, ConflictError):
                continue
            cut += there
        return cut

    async def _remove_manifests(
        self, plan: PruningPlan, stale: Sequence[StaleManifest], rules: Rules
    ) -> list[PrunedItem]:
        done: list[PrunedItem] = []
        before = plan.now - rules.keep_younger_than
        still, holds_until = set[tuple[str, Digest]](), float("-inf")
        for entry in stale:
            if (began := self._elapsed()) >= holds_until:
                current = await self._planner.again(plan, rules)
                still = {(entry.repository, entry.digest) for entry in current.manifests}
                read = self._elapsed()
                holds_until = read + max(_HOLDS_SECONDS, read - began)
            if (entry.repository, entry.digest) in still:
                expire = self._stores.registry.expire_manifest
                if await expire(entry.repository, entry.digest, before):
                    done.append(_manifest_item(entry))
        return done


def _in_history(stream: ImageStream, stale: Sequence[StaleRevision]) -> list[StaleRevision]:
    """Return which of these revisions may go: the newest of a tag stays, and some may be gone."""
    earlier = {tag: history.items[1:] for tag, history in stream.status.by_tag().items()}
    return [one for one in stale if one.event in earlier.get(one.tag, ())]


def _without(stream: ImageStream, stale: Sequence[StaleRevision]) -> ImageStream:
    """Return the stream without these revisions, which it has; the newest of a tag stays."""
    gone: dict[str, list[TagEvent]] = {}
    for revision in stale:
        gone.setdefault(revision.tag, []).append(revision.event)
    histories, changed = stream.status.by_tag(), {}
    for tag, events in gone.items():
        newest, *earlier = histories[tag].items
        items = [newest, *(one for one in earlier if one not in events)]
        changed[tag] = with_items(histories[tag], items)
    return stream.with_status(replace_tags(stream.status, changed))


def _log_item(entry: StoredBuildLog) -> PrunedItem:
    reason = "its Build is gone"
    return PrunedItem(what="build log", name=entry.build_id, reason=reason, bytes=entry.size)


def _package_list_item(digest: Digest) -> PrunedItem:
    return PrunedItem(what="package list", name=str(digest), reason="its image is gone")


def _revision_item(revision: StaleRevision) -> PrunedItem:
    stream, event = revision.stream, revision.event
    return PrunedItem(
        what="tag revision",
        name=f"{stream.repository}:{revision.tag}@{event.image}",
        reason="beyond the revisions that are kept, and nothing else names it",
    )


def _tag_item(tag: StaleTag) -> PrunedItem:
    return PrunedItem(what="tag", name=f"{tag.repository}:{tag.tag}", reason=tag.reason)


def _manifest_item(manifest: StaleManifest) -> PrunedItem:
    return PrunedItem(
        what="image",
        name=f"{manifest.repository}@{manifest.digest}",
        reason=f"nothing names it; pushed {manifest.created:%Y-%m-%d}",
        bytes=manifest.freed,
    )


def _kept(plan: PruningPlan) -> Iterator[KeptImage]:
    for repository in plan.repositories:
        for manifest in repository.manifests:
            reason = plan.decision.kept.get(manifest.digest)
            if reason is not None:
                name = f"{repository.name}@{manifest.digest}"
                yield KeptImage(image=name, reason=reason)
