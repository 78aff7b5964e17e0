"""Ids for an instance that starts: a range of its own where that can be."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from upwell.workload.errors import ForbiddenError, RuntimeUnavailableError
from upwell.workload.instance_spec import InstanceSpec, InstanceUsers
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.service import PodmanSettings
from upwell.workload.podman.records import InstanceRecord, RecordStore
from upwell.workload.podman.users.ids import MORE, OwnIds, TooManyIdsError, assigned, named_ids
from upwell.workload.podman.users.namespaces import mapped_ids
from upwell.workload.podman.users.support import NOT_SHIFTED, id_fault, shifts_layers
from upwell.workload.podman.volumes.mounts import UnmappableError
from upwell.workload.podman.volumes.pins import Pins, VolumePath

_log = logging.getLogger(__name__)

_SWITCHED_OFF = "[workloads] user-namespaces is false"


class UserAssignment:
    """Gives instances their ids; what they have is in their records."""

    def __init__(self, settings: PodmanSettings, api: PodmanApi, records: RecordStore) -> None:
        self._settings = settings
        self._api = api
        self._records = records
        self._fault: str | None = None
        self._looking = asyncio.Lock()

    async def choose(self, spec: InstanceSpec, record: InstanceRecord | None) -> OwnIds | None:
        """Return the ids for a start; None: the host's. `record` is that of the start before.

        No other task gets the same if the caller records them before it waits for anything. What
        ran with the host's ids does so until it is rolled out again. Images are there. Raises
        ForbiddenError for an instance that must have its own, and cannot, and
        RuntimeUnavailableError for what may pass: a lack of room brings nobody the host's ids.
        """
        if spec.users is InstanceUsers.HOST or _has_begun_without(spec, record):
            return None
        if fault := await self._why_not():
            _do_without(spec, fault)
            return None
        images = {one.image for one in (*spec.init, *spec.containers) if one.security.user is None}
        more = named_ids(spec, [await self._api.image_user(image) for image in images])
        mapped = await asyncio.to_thread(mapped_ids)
        others = {
            found.users.first
            for name in self._records.names()
            if name != spec.name and (found := self._records.load(name)) and found.users
        }
        try:
            ids = assigned(self._settings.instance_id, mapped | others, more)
        except TooManyIdsError:
            # Else whoever names many would have the host's without the right to them.
            raise ForbiddenError(
                f"{spec.name} names more than {MORE} user and group ids above 65535: name fewer,"
                " or set spec.hostUsers to true"
            ) from None
        if ids is None:
            raise RuntimeUnavailableError("other instances have all ranges of ids: end some")
        if record is not None and record.users is not None:
            return replace(ids, first=record.users.first)
        return ids

    async def show(
        self,
        spec: InstanceSpec,
        places: Mapping[str, Path],
        record: InstanceRecord,
        pins: Pins,
    ) -> tuple[InstanceRecord, Mapping[VolumePath, Path]]:
        """Return what the mounts of an instance show, and its record.

        When the file system of a volume has no other ids to give, it gets the host's, if it may.
        """
        try:
            found = await asyncio.to_thread(pins.sources, spec, places, record.users)
        except UnmappableError as error:
            _do_without(spec, f"{error.filename}: {error.strerror}")
            record = replace(record, users=None)
            self._records.save(record)
            found = await asyncio.to_thread(pins.sources, spec, places)
        return replace(record, pins=pins.names(spec.name)), found

    async def _why_not(self) -> str:
        """Return why no instance gets ids of its own; looked at once."""
        async with self._looking:
            if self._fault is None:
                self._fault = await self._look()
                if self._fault:
                    _log.warning("instances run with the host's ids", extra={"why": self._fault})
            return self._fault

    async def _look(self) -> str:
        if not self._settings.user_namespaces:
            return _SWITCHED_OFF
        try:
            fault = await id_fault(self._settings.data_dir)
        except OSError as error:
            why = f"user namespaces cannot be tried: {error.strerror or error}"
            raise RuntimeUnavailableError(why) from error
        if fault:
            return fault
        settings = self._settings
        shifts = await shifts_layers(settings.storage_options(), settings.variables())
        if shifts is None:
            shifts = await self._api.shifts_layers()
        return "" if shifts else NOT_SHIFTED


def _has_begun_without(spec: InstanceSpec, record: InstanceRecord | None) -> bool:
    """Return True if the same instance had the host's ids before, and may have them."""
    if record is None or spec.users is InstanceUsers.OWN:
        return False
    return record.revision == spec.revision and record.users is None


def _do_without(spec: InstanceSpec, why: str) -> None:
    """Let an instance have the host's ids, if it may; raises ForbiddenError."""
    if spec.users is InstanceUsers.OWN:
        raise ForbiddenError(
            f"{spec.name} has hostUsers: false, and gets no user namespace: {why}; see"
            " `upwell doctor`, or leave hostUsers out"
        )
    extra = {"instance": spec.name, "why": why}
    _log.info("instance runs with the host's ids", extra=extra)
