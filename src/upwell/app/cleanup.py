"""Hourly cleanup: remains of interrupted pushes, and uploads that nothing names."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict
from datetime import timedelta

from upwell.api.builds.build import Build
from upwell.app.registries.replica_logs import RegistryLogs
from upwell.builder.logs.interface import KeptLogError
from upwell.machine.backoff import Backoff
from upwell.machine.clock import SteadyClock, elapsed
from upwell.machine.components import Components
from upwell.machine.disk import DiskFault
from upwell.machine.tasks import a_few_at_once
from upwell.oci import Digest
from upwell.registry.bucket.announcements import LOOKS
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.errors import RegistryError
from upwell.registry.hosting import ServedRegistry, StorageError
from upwell.store.interface import Selector, Store, StoreError
from upwell.uploads.interface import BinaryInputs, InputError
from upwell.workload.errors import WorkloadError

log = logging.getLogger(__name__)

_SECONDS = 3600.0
_UNDER_PRESSURE_SECONDS = 300.0
_UPLOADS_SECONDS = 60.0
"""Until uploads are looked at again: one that filled the disk is not idle when it has."""
_UNCERTAIN_SECONDS = 60.0
_DAMAGE_SECONDS = 5.0
_SHOWN = 5
_SCRUB_SECONDS = 24 * 3600.0
"""From the beginning of one look at all content to the beginning of the next."""
_LOOKS_AGAIN = Backoff(60.0, 3600.0)
"""Of content of a bucket that is damaged: all of it is read."""
_REMOVALS = 8
"""Logs that are removed at once."""
_GRACE = timedelta(hours=24)

type Named = Callable[[Store], Awaitable[Collection[Digest]]]
"""Returns the digests of all content that objects name."""


async def clean_registry(registry: ServedRegistry, clock: SteadyClock) -> None:
    """Remove what interrupted pushes left, every hour, while the clock tells what is old."""
    while True:
        if not clock.is_certain():
            await asyncio.sleep(_UNCERTAIN_SECONDS)
            continue
        try:
            removed = await registry.collect_garbage()
            log.debug("registry cleaned", extra=asdict(removed))
        except RegistryError as error:
            log.warning("registry not cleaned", extra={"why": str(error)})
        await asyncio.sleep(_SECONDS)


ON_DISK = (
    "damaged on the disk, and not served: push or build it again, or delete it. Until then nothing"
    " is removed from where a manifest or tag is damaged"
)
IN_BUCKET = (
    "damaged in the bucket, and not served: push or build it again, or delete it. It is read again"
    " at least once an hour, and served if it is whole"
)


async def watch_registry(
    registry: ServedRegistry, components: Components, advice: str = ON_DISK
) -> None:
    """Report as component `registry` what its storage has damaged, until it is whole or gone."""
    component = components.add("registry", required=False)
    while True:
        damage = await asyncio.to_thread(registry.damage)
        if damage:
            found = [f"{what} of {name}" for name, parts in damage.items() for what in parts]
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            component.fail(
                "ContentDamaged",
                f"{', '.join(found[:_SHOWN])}{more}: {advice}",
            )
        else:
            component.recover()
        await asyncio.sleep(_DAMAGE_SECONDS)


async def follow_bucket(
    bucket: BucketRegistry, components: Components, pause: float = LOOKS
) -> None:
    """Have pushes to other replicas told here; report as `registry-bucket` how the bucket is."""
    component = components.add("registry-bucket", required=False)

    def report(failure: StorageError | None) -> None:
        if failure is None:
            component.recover()
        else:
            component.fail(failure.reason, str(failure))

    await bucket.follow(report, pause)


async def scrub_registry(registry: ServedRegistry) -> None:
    """Look for content that the disk has changed, all of it again and again, slowly."""
    while True:
        began = elapsed()
        try:
            size = await registry.scrub()
            log.debug("registry verified", extra={"bytes": size})
        except RegistryError as error:
            log.warning("registry not verified", extra={"why": str(error)})
        await asyncio.sleep(max(_SECONDS, _SCRUB_SECONDS - (elapsed() - began)))


async def scrub_bucket(bucket: BucketRegistry) -> None:
    """Look again at content of a bucket that reads have met as damaged, while there is some."""
    looks = 0
    while True:
        await asyncio.sleep(_LOOKS_AGAIN.delay(looks + 1))
        looks = looks + 1 if bucket.damage() else 0
        try:
            await bucket.scrub()
        except RegistryError as error:
            log.warning("damaged content not read again", extra={"why": str(error)})


async def clean_uploads(store: Store, inputs: BinaryInputs, named: Named) -> None:
    """Remove what no object names any more, every hour."""
    while True:
        await asyncio.sleep(_SECONDS)
        try:
            freed = await inputs.remove_unused(await named(store), unused_for=_GRACE)
            log.debug("uploads cleaned", extra={"bytes": freed})
        except (StoreError, InputError, OSError) as error:
            log.warning("uploads not cleaned", extra={"why": str(error)})


async def clean_logs(store: Store, kept: RegistryLogs) -> None:
    """Remove shared logs whose Builds are gone, every hour."""
    while True:
        await asyncio.sleep(_SECONDS)
        await remove_old_logs(store, kept)


async def remove_old_logs(store: Store, kept: RegistryLogs) -> None:
    """Remove shared logs whose Builds are gone; what fails is tried the next time."""
    try:
        namespaces = await kept.cleaned_namespaces()
    except (StoreError, KeptLogError) as error:
        log.warning("logs of builds not cleaned", extra={"why": str(error)})
        return
    for namespace in namespaces:
        try:
            await _remove_old_logs(store, kept, namespace)
        except (StoreError, KeptLogError) as error:
            why = {"why": str(error), "namespace": namespace}
            log.warning("logs of builds not cleaned", extra=why)


async def _remove_old_logs(store: Store, kept: RegistryLogs, namespace: str) -> None:
    stored = await kept.stored(namespace)  # before the Builds: a log has one for as long as that
    if stored:
        builds = {one.uid for one in (await store.list(Build, Selector(namespace))).items}
        gone = (kept.remove(namespace, build_id) for build_id in stored if build_id not in builds)
        await a_few_at_once(gone, _REMOVALS)


async def free_space(
    components: Components, registry: ServedRegistry | None, prune: Callable[[], Awaitable[None]]
) -> None:
    """Remove what nothing needs as soon as a disk is nearly full, and again while it stays so.

    Uploads that nobody goes on with go first, and within a minute; `prune` removes by the ordinary
    rules, every five.
    """
    next_pruning = elapsed()
    async for _ in components.changes():
        while any(state.reason == DiskFault.FULL for state in components.states()):
            try:
                removed = 0 if registry is None else await registry.drop_idle_uploads()
                log.info("disk pressure: idle uploads removed", extra={"uploads": removed})
                if elapsed() >= next_pruning:
                    next_pruning = elapsed() + _UNDER_PRESSURE_SECONDS
                    await prune()
            except (StoreError, RegistryError, WorkloadError, OSError) as error:
                log.warning("disk pressure: space not freed", extra={"why": str(error)})
            await asyncio.sleep(_UPLOADS_SECONDS)
