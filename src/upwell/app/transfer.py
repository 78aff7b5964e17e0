"""Composes what exports and imports objects, for the command line: the store of a data folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from upwell.encryption.keyring import Keyring
from upwell.machine.clock import now
from upwell.settings import FileSettings, read_file
from upwell.store.sqlite import SqliteStore


@asynccontextmanager
async def open_stopped_store(data: Path, config: Path | None) -> AsyncIterator[SqliteStore]:
    """Open the store of a data folder whose server is stopped; `config` names the keys.

    Raises a StoreError, as for a folder that is served, or SettingsError.
    """
    settings = read_file(config) if config else FileSettings()
    keyring = Keyring(settings.encryption.sources, data)
    store = await SqliteStore.open(data / "upwell.db", clock=now, keyring=keyring)
    try:
        yield store
    finally:
        await store.close()
