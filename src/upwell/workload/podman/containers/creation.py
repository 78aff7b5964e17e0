"""Creation of the containers of one instance, whose volumes are in their places."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from upwell.workload.instance_spec import ContainerSpec, InstanceSpec
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.connection import PodmanRefusedError
from upwell.workload.podman.api.service import PodmanSettings
from upwell.workload.podman.api.stored_images import is_own
from upwell.workload.podman.containers.body import ContainerContext, create_body
from upwell.workload.podman.hosts_files import HostsFiles
from upwell.workload.podman.images.given_images import GivenImages
from upwell.workload.podman.records import InstanceRecord
from upwell.workload.podman.volumes.kept_volumes import KeptVolume
from upwell.workload.podman.volumes.pins import VolumePath

_log = logging.getLogger(__name__)

_STORAGE_ALONE = "in use by an external entity"
"""Podman's words when a name is that of a container in its storage which it does not know."""


@dataclass(frozen=True, slots=True)
class PlacedInstance:
    """An instance with the places of what its volumes show."""

    spec: InstanceSpec
    record: InstanceRecord
    sources: Mapping[VolumePath, Path]
    kept: Mapping[str, Sequence[KeptVolume]]


@dataclass(frozen=True, slots=True)
class CreatedContainers:
    """The IDs of an instance's containers."""

    first: Sequence[str]
    """Those to start now: the first init container, or all where there is none."""
    all: tuple[str, ...]


class ContainerCreation:
    """Creates containers in Podman, none of which runs yet."""

    def __init__(
        self, settings: PodmanSettings, api: PodmanApi, hosts: HostsFiles, given: GivenImages
    ) -> None:
        self._settings = settings
        self._api = api
        self._hosts = hosts
        self._given = given

    async def create(self, wanted: PlacedInstance) -> CreatedContainers:
        """Create all containers of an instance; the first that lasts owns the network of all.

        Raises PodmanNotFoundError, RuntimeUnavailableError.
        """
        spec = wanted.spec
        around = ContainerContext(
            upwell=self._settings.instance_id,
            network=self._settings.network_name,
            joins=None,
            hosts=self._hosts.path(spec.name),
            sources=wanted.sources,
            restarts=wanted.record.restarts,
            timeline=self._settings.timeline(),
            kept=wanted.kept,
            limits=self._settings.limits,
            users=wanted.record.users,
        )
        initial = [
            await self._create_one(spec, container, replace(around, init=number))
            for number, container in enumerate(spec.init)
        ]
        created: list[str] = []
        for container in spec.containers:
            joined = replace(around, joins=created[0] if created else None)
            created.append(await self._create_one(spec, container, joined))
        return CreatedContainers(initial[:1] or created, (*initial, *created))

    async def _create_one(
        self, spec: InstanceSpec, container: ContainerSpec, around: ContainerContext
    ) -> str:
        namespace, image = spec.owner.namespace, container.image.exact
        unverified = self._given.is_unverified(namespace, image)
        body = create_body(spec, container, replace(around, unverified=unverified))
        if is_own(image):
            body["image"] = await self._api.stored_name(image)
        try:
            return await self._api.create(body)
        except PodmanRefusedError as error:
            if _STORAGE_ALONE not in str(error):
                raise
            # A Podman that was killed in a creation leaves storage that it does not list.
            _log.warning("storage of an unknown container is removed", extra={"why": str(error)})
            await self._api.remove(body["name"])
            return await self._api.create(body)
