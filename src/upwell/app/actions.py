"""What people ask for through the API, handed to the reconcilers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from upwell.api.build import BinaryInput, Build
from upwell.api.meta import Resource
from upwell.app.clock import now
from upwell.reconcilers import rollouts
from upwell.reconcilers.builds.requests import BuildRequests
from upwell.store.interface import RejectedError, Store


@dataclass(frozen=True, slots=True)
class ReconcilerActions:
    """What people ask for through the API, handed to the reconcilers."""

    store: Store
    builds: BuildRequests

    async def instantiate(
        self, namespace: str, build_config: str, request: Mapping[str, Any]
    ) -> Build:
        """Start a build now."""
        return await self.builds.instantiate(namespace, build_config, request)

    async def instantiate_binary(
        self, namespace: str, build_config: str, upload: BinaryInput, *, unless_built: bool
    ) -> Build:
        """Start a build of an upload now."""
        return await self.builds.instantiate_binary(
            namespace, build_config, upload, unless_built=unless_built
        )

    async def clone(self, namespace: str, build: str, request: Mapping[str, Any]) -> Build:
        """Make a build again now."""
        return await self.builds.clone(namespace, build, request)

    async def rollback(
        self, kind: type[Resource], namespace: str, name: str, to_revision: int
    ) -> Resource:
        """Roll a workload back; 0 means the revision before."""
        try:
            return await rollouts.rollback(
                self.store, kind, namespace, name, to_revision or None, now
            )
        except rollouts.RollbackError as error:
            raise RejectedError(str(error)) from error

    async def roll_out(
        self, kind: type[Resource], namespace: str, name: str, verb: str, *, again: bool
    ) -> Resource:
        """Start the latest, cancel or retry."""
        place = (self.store, kind, namespace, name)
        try:
            match verb:
                case "latest":
                    return await rollouts.latest(*place, again=again)
                case "cancel":
                    return await rollouts.cancel(*place)
                case "retry":
                    return await rollouts.retry(*place, now)
                case _:
                    raise RejectedError(f"{verb!r} is none of latest, cancel and retry")
        except rollouts.RolloutRefusedError as error:
            raise RejectedError(str(error)) from error
