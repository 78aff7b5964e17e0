"""Placement of an instance: its volumes, with all that is in them, shown to its users."""

import asyncio

from upwell.workload.instance_spec import InstanceSpec
from upwell.workload.podman.api.connection import must_find
from upwell.workload.podman.api.service import PodmanSettings
from upwell.workload.podman.containers.creation import PlacedInstance
from upwell.workload.podman.hosts_files import HostsFiles
from upwell.workload.podman.records import InstanceRecord, RecordStore, writing
from upwell.workload.podman.tokens.renewal import InstanceTokens, NewTokens
from upwell.workload.podman.users.assignment import UserAssignment
from upwell.workload.podman.volumes import instance_volumes as volumes
from upwell.workload.podman.volumes.kept_volumes import KeptVolumes, with_mounts
from upwell.workload.podman.volumes.pins import Pins
from upwell.workload.podman.volumes.snapshots import settle_snapshots


class InstancePlacement:
    """Makes the volumes of instances before their containers, and releases them after."""

    def __init__(
        self,
        settings: PodmanSettings,
        records: RecordStore,
        hosts: HostsFiles,
        kept: KeptVolumes,
        pins: Pins,
        tokens: InstanceTokens,
        users: UserAssignment,
    ) -> None:
        self._settings = settings
        self._records = records
        self._hosts = hosts
        self._kept = kept
        self._pins = pins
        self._tokens = tokens
        self._users = users

    async def place(
        self, spec: InstanceSpec, record: InstanceRecord, tokens: NewTokens
    ) -> PlacedInstance:
        """Make the volumes of an instance, with all that is in them, and show them to its users.

        Raises InvalidVolumeError, RuntimeUnavailableError.
        """
        folder = self._records.folder(spec.name) / "volumes"
        claims = self._settings.data_dir / "claims"
        with writing(spec.name):
            await settle_snapshots(spec, claims, self._settings.data_dir / "snapshots")
            held = await asyncio.to_thread(self._tokens.mount, spec)
            places = await asyncio.to_thread(volumes.prepare, spec, folder, claims)
            await asyncio.to_thread(self._hosts.create, spec)
        places = {**places, **held}
        kept = await must_find(self._kept.provide(spec))
        if record.users is not None:
            await must_find(self._kept.fill(spec, kept))
            spec, folders = with_mounts(spec, kept)
            places, kept = {**places, **folders}, {}
        with writing(spec.name):
            record, sources = await self._users.show(spec, places, record, self._pins)
            record = await asyncio.to_thread(self._tokens.write, spec, held, record, tokens)
        return PlacedInstance(spec, record, sources, kept)

    async def release(self, name: str) -> None:
        """Take the mounts of an instance away, and its tokens; idempotent."""
        await asyncio.to_thread(self._pins.release, name)
        await asyncio.to_thread(self._tokens.release, name)

    async def release_all(self) -> None:
        """Take the mounts and tokens of every instance away."""
        await asyncio.to_thread(self._pins.clear)
        await asyncio.to_thread(self._tokens.release_all)
