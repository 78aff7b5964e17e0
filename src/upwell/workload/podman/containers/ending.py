"""Ends of the containers of instances: stopped together, then removed with what they leave."""

import asyncio
import contextlib
from collections.abc import Sequence

from upwell.machine.tasks import side_by_side
from upwell.workload.interface import LogQuery
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.connection import PodmanNotFoundError, PodmanRefusedError
from upwell.workload.podman.api.service import PodmanSettings
from upwell.workload.podman.containers.cut_starts import end_unstarted
from upwell.workload.podman.containers.facts import ContainerFacts
from upwell.workload.podman.losses import record_losses
from upwell.workload.podman.previous_logs import PreviousLogs
from upwell.workload.podman.records import writing
from upwell.workload.podman.volumes.kept_volumes import KeptVolumes


class ContainerEnding:
    """Stops and removes containers of one instance, whose lock is held."""

    def __init__(
        self, settings: PodmanSettings, api: PodmanApi, previous: PreviousLogs, kept: KeptVolumes
    ) -> None:
        self._settings = settings
        self._api = api
        self._previous = previous
        self._kept = kept

    async def stop(self, containers: Sequence[ContainerFacts], grace_seconds: int) -> None:
        """Stop all at the same time; one that does not stop is removed by force later."""

        async def stop(container: ContainerFacts) -> None:
            # One that cannot be stopped in peace (its monitor is gone, say) is removed by force.
            with contextlib.suppress(PodmanNotFoundError, PodmanRefusedError):
                await self._api.stop(container.id, grace_seconds)

        async with side_by_side() as group:
            for container in containers:
                if container.running:
                    group.create_task(stop(container))

    async def end(
        self, containers: Sequence[ContainerFacts], grace_seconds: int, *, keep_logs: bool = False
    ) -> None:
        """Stop all at the same time, then remove, the owner of the shared network last."""
        await self.stop(containers, grace_seconds)
        await asyncio.to_thread(record_losses, self._settings, containers)
        for container in reversed(containers):
            with contextlib.suppress(PodmanNotFoundError):
                if keep_logs and container.started_at is not None:
                    with contextlib.suppress(PodmanRefusedError):  # lost with its container
                        log = self._api.logs(container.id, LogQuery(timestamps=True))
                        await self._previous.keep(container.instance, container.name, log)
                if container.started_at is None:
                    await asyncio.to_thread(end_unstarted, container.id)
                moved = await self._keep_files(container)
                await self._api.remove(container.id, volumes=moved)

    async def _keep_files(self, container: ContainerFacts) -> bool:
        """Keep what an earlier version's volumes hold; False: it is in them still."""
        with writing(container.instance):
            moved = [
                await self._kept.take_over(
                    container.owner, container.instance, container.name, volume
                )
                for volume in container.unkept
            ]
        return all(moved)
