"""Snapshot of a workload: what is declared, what has been rolled out, what runs."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from upwell.api.apps import RevisionRecord
from upwell.machine.disk import DiskPressureError, PressureCheck
from upwell.policy.rollouts.history import (
    Records,
    begin,
    known_before,
    prune,
    wanted_revision,
)
from upwell.policy.rollouts.instance import build
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.settings import Workload, history_limit, template_of
from upwell.policy.rollouts.snapshot import (
    Obstacle,
    RolloutSnapshot,
    new_record,
    settings_in_force,
)
from upwell.policy.rollouts.target import TargetReason, choose
from upwell.reconcilers.authority import UNASKED, Authority, MissingRightError
from upwell.reconcilers.rollouts.images import TemplateImages
from upwell.reconcilers.rollouts.loading import Revisions
from upwell.registry.errors import RegistryError
from upwell.workload.interface import Instance

type BeginRevision = Callable[[Workload, str], Awaitable[RevisionRecord]]
"""Returns the record of a revision that begins, given its workload and hash.

Raises TemplateError, RegistryError or DiskPressureError if it cannot run now.
"""


class SnapshotReader:
    """Reads how workloads stand, and chooses which of their revisions shall serve."""

    def __init__(self, begin: BeginRevision, clock: Callable[[], datetime]) -> None:
        self._begin = begin
        self._clock = clock

    async def read(self, workload: Workload, instances: Sequence[Instance]) -> RolloutSnapshot:
        """Return what is, and what shall be; a new revision is already in the records."""
        wanted = wanted_revision(workload)
        records = _not_ahead(workload.status.revisions, self._clock())
        failed = workload.status.failed_hash
        if failed != wanted:
            failed = None  # the template has changed: it may be tried again some day
        settings, obstacle = settings_in_force(workload, wanted)
        chosen = choose(records, wanted, failed, may_begin=obstacle is None)
        if chosen.choice is TargetReason.BEGIN:
            try:
                new = await self._begin(workload, wanted)
            except (TemplateError, RegistryError, DiskPressureError) as error:
                waits = isinstance(error, TemplateError) and not isinstance(
                    error, MissingRightError
                )
                again = None if waits else error
                obstacle = Obstacle(
                    error.reason,
                    str(error),
                    error=again,
                    hurried=not waits,
                    is_image=isinstance(error, RegistryError),
                )
                chosen = choose(records, wanted, failed, may_begin=False)
            else:
                records = prune(begin(records, new), history_limit(workload))
        elif chosen.choice is not TargetReason.KEPT:
            obstacle = None
        return RolloutSnapshot(settings, wanted, chosen, records, failed, instances, obstacle)


class MachineRevisions:
    """Begins revisions on this machine: their images are resolved, and what they need is there."""

    def __init__(
        self,
        images: TemplateImages,
        revisions: Revisions,
        clock: Callable[[], datetime],
        pressure: PressureCheck,
        authority: Authority = UNASKED,
    ) -> None:
        self._pressure = pressure
        self._authority = authority
        self._images = images
        self._revisions = revisions
        self._clock = clock

    async def begin(self, workload: Workload, wanted: str) -> RevisionRecord:
        """Return the revision to begin; raises an error if it cannot run now."""
        if why := await self._authority.refusal(workload):
            raise MissingRightError(why)
        template = template_of(workload)
        known = known_before(workload, wanted)
        # What has run before needs no images, and may be the way out.
        if known is None and (why := self._pressure()):
            raise DiskPressureError(why)
        images = known.images if known else await self._images.pin(template, workload.namespace)
        record = new_record(workload, wanted, images, self._clock())
        build(await self._revisions.load(workload, record), 0)
        return record


def _not_ahead(records: Records, now: datetime) -> Records:
    """Count times in the future, which were written under a clock that was ahead, as now."""
    return tuple(_record_not_ahead(one, now) for one in records)


def _record_not_ahead(record: RevisionRecord, now: datetime) -> RevisionRecord:
    times = {field: getattr(record, field) for field in ("created", "live_at", "completed_at")}
    ahead = {field: now for field, time in times.items() if time is not None and time > now}
    return record.model_copy(update=ahead) if ahead else record
