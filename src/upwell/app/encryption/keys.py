"""Encryption of what is kept on disk: rotation of all keys, and a watch of the first one."""

import asyncio
import logging
from dataclasses import replace
from typing import Protocol

from upwell.delivery.interface import OutboxError
from upwell.encryption.faults import EncryptionKeyError, WrongPinError
from upwell.encryption.files import SealedFiles
from upwell.encryption.keyring import Keyring
from upwell.machine.components import Components
from upwell.machine.private_file import DamagedFileError
from upwell.store.interface import StoreEncryption, StoreError, StoreKeys, UnavailableError

log = logging.getLogger(__name__)

_CHECK_SECONDS = 60.0


class SealedStore(Protocol):
    """A store whose texts are sealed."""

    @property
    def encryption(self) -> StoreEncryption:
        """Encryption of the file, and the progress of a rotation."""
        ...

    async def rotate(self) -> None:
        """Seal everything by a new data key; raises EncryptionKeyError or a StoreError."""
        ...


class SealedOutbox(Protocol):
    """An outbox whose events are sealed."""

    def encryption_left(self) -> int:
        """Return how many events a rotation has not passed yet."""
        ...

    async def rotate(self) -> None:
        """Seal all events by a new data key; raises EncryptionKeyError or OutboxError."""
        ...


class DataFolderKeys:
    """Keys of one data folder: of its key files, its outbox and its store."""

    def __init__(
        self, keyring: Keyring, files: SealedFiles, outbox: SealedOutbox, store: SealedStore | None
    ) -> None:
        """Without a store of its own, objects are a cluster's, which encrypts them itself."""
        self._keyring = keyring
        self._files = files
        self._outbox = outbox
        self._store = store
        self._rotation: asyncio.Task[None] | None = None
        self._fault = ""
        """Of the last rotation."""
        self._key_fault = ""

    def keys(self) -> StoreKeys:
        """Return the keys as the API asks for them."""
        return StoreKeys(self.state, self.rotate)

    def state(self) -> StoreEncryption:
        """Return what is encrypted, and how far a rotation is."""
        found = StoreEncryption() if self._store is None else self._store.encryption
        return replace(
            found,
            is_rotating=self._rotation is not None and not self._rotation.done(),
            rows_left=found.rows_left + self._outbox.encryption_left(),
            fault=self._key_fault or self._fault,
        )

    async def rotate(self) -> None:
        """Seal everything by new data keys, once for all who ask meanwhile; raises a StoreError."""
        if self._rotation is None or self._rotation.done():
            self._rotation = asyncio.create_task(self._rotate(), name="encryption:rotate")
        await asyncio.shield(self._rotation)

    async def _rotate(self) -> None:
        try:
            await asyncio.to_thread(self._files.rotate)
            await self._outbox.rotate()
            if self._store is not None:
                await self._store.rotate()
        except (EncryptionKeyError, OutboxError, OSError, DamagedFileError) as error:
            self._fault = f"not everything was sealed anew: {error}"
            raise UnavailableError(self._fault) from error
        except StoreError as error:
            self._fault = f"not everything was sealed anew: {error}"
            raise
        self._fault = ""

    async def watch(self, components: Components, seconds: float = _CHECK_SECONDS) -> None:
        """Report as component `encryption-key` whether the next start will find its key.

        What runs has its data keys, and goes on without.
        """
        if not self._keyring.encrypts:
            return
        component = components.add("encryption-key", required=False)
        while True:
            try:
                await asyncio.to_thread(self._keyring.check)
            except EncryptionKeyError as error:
                self._key_fault = f"{error}; the server goes on, and would not start again"
                if not component.state.faulty:
                    log.warning("the encryption key is missing", extra={"why": str(error)})
                component.fail("EncryptionKeyMissing", self._key_fault)
                if isinstance(error, WrongPinError):
                    return  # asking again and again would lock the token
            else:
                self._key_fault = ""
                component.recover()
            await asyncio.sleep(seconds)
