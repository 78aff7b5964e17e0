"""Images of the common storage that were pulled for instances, and when they were used last.

The storage may be the machine's own: an image is only ours if it was not there before the pull, and
only while nobody has given it another name. What is not known to be ours stays for ever.
"""

import asyncio
import json
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from upwell.machine.clock import Clock
from upwell.machine.private_file import write_private
from upwell.oci import InvalidReferenceError, Reference
from upwell.workload.interface import InstanceImage
from upwell.workload.podman.api.connection import PodmanNotFoundError, PodmanRefusedError
from upwell.workload.podman.api.service import PodmanSettings
from upwell.workload.podman.api.stored_images import digests_of, has_containers, names_of

_log = logging.getLogger(__name__)

_FILE = "pulled-images"
_MACHINE = Path("/etc/machine-id")
"""machine-id(5)."""


class StoredImages(Protocol):
    """API of the runtime, as far as the removal of images needs it."""

    async def images(self) -> Sequence[Mapping[str, Any]]:
        """List all images of the storage."""
        ...

    async def remove_image(self, reference: Reference) -> None:
        """Remove an image; raises PodmanNotFoundError, PodmanRefusedError."""
        ...


class PulledImages:
    """Names of images with the times of their last use, in one file.

    The file names the storage that they lie in: with another one, or on another machine, where
    images of these names may be somebody else's, it counts for nothing. A use that a killed process
    has not written down is at most as old as the last look at the storage.
    """

    def __init__(self, settings: PodmanSettings, api: StoredImages, clock: Clock) -> None:
        self._file = settings.data_dir / _FILE
        self._storage = _storage(settings.storage_root)
        self._api = api
        self._clock = clock
        self._used: dict[Reference, datetime] = {}
        self._saving = asyncio.Lock()
        self._locks: WeakValueDictionary[Reference, asyncio.Lock] = WeakValueDictionary()
        """An image is not used while it is removed."""

    def load(self) -> None:
        """Read the file; blocks. Without it, what was pulled until now stays for ever."""
        try:
            document = json.loads(self._file.read_bytes())
            if document["storage"] == self._storage:
                self._used = {
                    Reference.parse(image): datetime.fromisoformat(used_at).astimezone(UTC)
                    for image, used_at in document["images"].items()
                }
        except FileNotFoundError:
            return
        except (
            OSError,
            ValueError,
            LookupError,
            AttributeError,
            TypeError,
            InvalidReferenceError,
        ) as error:
            _log.warning("pulled images not read", extra={"why": str(error)})

    async def add(self, image: Reference) -> None:
        """Note an image that was pulled, and that was not there before."""
        self._used[image] = self._clock.now()
        await self._save()

    async def use(self, image: Reference) -> None:
        """Note that an image is about to be used; waits for its removal, if that has begun."""
        async with self._lock(image):
            if image in self._used:
                self._used[image] = self._clock.now()

    async def find(self) -> Sequence[InstanceImage]:
        """Return those that lie in the storage, but none that has a name of somebody else's.

        What a container has is used at this moment, whoever's it is.
        """
        before = dict(self._used)
        documents = await self._api.images()
        self._forget_absent(before, documents)
        now = self._clock.now()
        found: list[InstanceImage] = []
        for document in documents:
            names = names_of(document)
            ours = [image for image in self._used if str(image) in names]
            for image in ours:
                # A time to come is of a clock that was ahead.
                is_now = has_containers(document) or self._used[image] > now
                self._used[image] = now if is_now else self._used[image]
            if len(ours) == len(names):
                found += (
                    InstanceImage(image, digests_of(document, image), self._used[image])
                    for image in ours
                )
        await self._save()
        return found

    def _forget_absent(
        self, before: Mapping[Reference, datetime], documents: Sequence[Mapping[str, Any]]
    ) -> None:
        """Forget what the storage has no more, but for what was pulled while it was listed."""
        present = {name for document in documents for name in names_of(document)}
        for image, used_at in before.items():
            if str(image) not in present and self._used.get(image) == used_at:
                del self._used[image]

    async def remove(self, image: InstanceImage) -> bool:
        """Remove an image unless it was used since it was found; return True if it is gone."""
        name = image.reference
        async with self._lock(name):
            if self._used.get(name) != image.used_at:
                return False
            try:
                await self._api.remove_image(name)
            except PodmanRefusedError as error:
                _log.debug("pulled image kept", extra={"image": str(name), "why": str(error)})
                return False
            except PodmanNotFoundError:
                pass
            self._used.pop(name, None)
        await self._save()
        return True

    def _lock(self, image: Reference) -> asyncio.Lock:
        return self._locks.setdefault(image, asyncio.Lock())

    async def _save(self) -> None:
        """Write the file; a full disk loses what was pulled since, which then stays."""
        async with self._saving:
            images = {str(image): used_at.isoformat() for image, used_at in self._used.items()}
            content = json.dumps({"storage": self._storage, "images": images})
            try:
                await asyncio.to_thread(write_private, self._file, content)
            except OSError as error:
                _log.warning("pulled images not noted", extra={"why": str(error)})


def _storage(root: Path | None) -> str:
    """Return what tells the storage at `root`, or the user's own, from every other one."""
    try:
        machine = _MACHINE.read_text().strip()
    except OSError:
        machine = ""
    return f"{machine} {os.geteuid()} {root or ''}"
