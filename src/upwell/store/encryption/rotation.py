"""A rotation of all that a server keeps sealed: its key files, then its database."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from upwell.machine.private_file import DamagedFileError
from upwell.store.encryption.files import SealedFiles
from upwell.store.interface import StoreEncryption, StoreKeys, UnavailableError


class Rotations:
    """Begins rotations, and says whether one is under way."""

    def __init__(
        self,
        files: SealedFiles,
        state: Callable[[], StoreEncryption],
        rotate: Callable[[], Awaitable[None]],
    ) -> None:
        """`state` and `rotate` are those of the database."""
        self._files = files
        self._state = state
        self._rotate = rotate
        self._running = 0

    def keys(self) -> StoreKeys:
        """Return the keys as the API asks for them."""
        return StoreKeys(self.state, self.rotate)

    def state(self) -> StoreEncryption:
        """Return what is encrypted, and how far a rotation is."""
        found = self._state()
        return replace(found, is_rotating=found.is_rotating or self._running > 0)

    async def rotate(self) -> None:
        """Seal everything by new data keys; raises a StoreError."""
        self._running += 1
        try:
            await asyncio.to_thread(self._files.rotate)
            await self._rotate()
        except (OSError, DamagedFileError) as error:
            raise UnavailableError(f"a key file was not sealed anew: {error}") from error
        finally:
            self._running -= 1
