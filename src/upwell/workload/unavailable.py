"""The runtime of a server that runs no containers itself, as on a cluster."""

# ruff: noqa: ARG002 - it refuses, whatever is asked for

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Never

from upwell.oci import Digest, Reference
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.instance_spec import InstanceSpec, Owner
from upwell.workload.interface import (
    WHOLE_LOG,
    ContainerFile,
    FileLimits,
    Instance,
    InstanceImage,
    Leftover,
    LogQuery,
    ServiceName,
)

_NOBODY: tuple[Owner, ...] = ()


class UnavailableRuntime:
    """Answers nothing: what runs is unknown here, which is not the same as that nothing does.

    Implements ReadableRuntime. Every question raises RuntimeUnavailableError, so that nothing is
    removed, and no check passes, for lack of knowledge.
    """

    def __init__(self, why: str, since: datetime) -> None:
        """`why` is a sentence for people; `since` the start of the server."""
        self._why = why
        self._since = since

    async def instances(self) -> Sequence[Instance]:
        """Refuse."""
        self._refuse()

    async def start(self, spec: InstanceSpec) -> None:
        """Refuse."""
        self._refuse()

    async def provide(self, spec: InstanceSpec) -> str:
        """Refuse."""
        self._refuse()

    async def local_image(self, image: Reference) -> Digest | None:
        """Return None: no image lies here."""
        return None

    async def stop(self, name: str, grace_seconds: float) -> None:
        """Refuse."""
        self._refuse()

    async def release_volumes(self, owner: Owner) -> None:
        """Refuse."""
        self._refuse()

    async def execute(
        self, name: str, command: tuple[str, ...], container: str = ""
    ) -> tuple[int, bytes]:
        """Refuse."""
        self._refuse()

    async def publish_names(self, names: Sequence[ServiceName]) -> None:
        """Refuse."""
        self._refuse()

    async def leftovers(self) -> Sequence[Leftover]:
        """Refuse."""
        self._refuse()

    async def remove_leftover(self, leftover: Leftover) -> None:
        """Refuse."""
        self._refuse()

    async def pulled_images(self) -> Sequence[InstanceImage]:
        """Refuse."""
        self._refuse()

    async def remove_pulled_image(self, image: InstanceImage) -> bool:
        """Refuse."""
        self._refuse()

    async def changes(self) -> AsyncIterator[Owner]:
        """Yield nothing, for ever."""
        await asyncio.Event().wait()
        for owner in _NOBODY:
            yield owner

    def logs(
        self, name: str, container: str = "", wanted: LogQuery = WHOLE_LOG
    ) -> AsyncIterator[bytes]:
        """Refuse."""
        self._refuse()

    async def read_files(
        self, name: str, path: str, limits: FileLimits, container: str = ""
    ) -> Sequence[ContainerFile]:
        """Refuse."""
        self._refuse()

    def well_since(self) -> datetime:
        """Return the start of the server: nothing of a runtime has disturbed anything."""
        return self._since

    def _refuse(self) -> Never:
        raise RuntimeUnavailableError(self._why)
