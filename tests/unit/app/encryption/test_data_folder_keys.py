"""Rotation of all that is sealed, and the watch of the key that the next start needs."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from upwell.app.encryption.keys import DataFolderKeys
from upwell.delivery.sqlite import SqliteOutbox
from upwell.encryption.files import SealedFiles
from upwell.encryption.keyring import Keyring
from upwell.encryption.keys import KeySource, write_new_key
from upwell.machine.clock import now
from upwell.machine.components import Components
from upwell.store.interface import UnavailableError
from upwell.store.sqlite import SqliteStore

PLAIN = b"0123456789abcdef\n"


class SealedFolder:
    """Sealed files and databases of one data folder."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self.key = folder / "one.key"
        write_new_key(self.key)
        self.components = Components()

    async def use(self, work: Callable[[DataFolderKeys], Awaitable[None]]) -> None:
        """Open it, do something, and close it."""
        keyring = Keyring([KeySource("file", str(self.key))], self.data)
        store = await SqliteStore.open(self.data / "upwell.db", clock=now, keyring=keyring)
        outbox = SqliteOutbox(self.data / "deliveries.db", keyring=keyring)
        files = SealedFiles(keyring)
        files.write(self.data / "signing.key", PLAIN)
        try:
            await work(DataFolderKeys(keyring, files, outbox, store))
        finally:
            outbox.close()
            await store.close()


@pytest.fixture
def made(tmp_path: Path) -> SealedFolder:
    return SealedFolder(tmp_path)


async def test_a_rotation_tells_what_it_could_not_seal(made: SealedFolder) -> None:
    async def work(encryption: DataFolderKeys) -> None:
        before = encryption.state().data_key
        await encryption.rotate()
        after = encryption.state()
        assert after.data_key != before
        assert (after.is_rotating, after.fault) == (False, "")

        path = made.data / "signing.key"
        whole = path.read_bytes()
        path.write_bytes(whole[:-9])
        with pytest.raises(UnavailableError, match=r"not everything.*signing\.key is damaged"):
            await encryption.rotate()
        assert "signing.key is damaged" in encryption.state().fault
        path.write_bytes(whole)
        hidden = made.key.rename(made.key.with_name("hidden"))
        with pytest.raises(UnavailableError, match=r"one\.key: .*restore it from a copy"):
            await encryption.rotate()
        hidden.rename(made.key)
        await encryption.rotate()
        assert encryption.state().fault == ""

    await made.use(work)


async def test_two_who_ask_get_one_rotation(made: SealedFolder) -> None:
    async def work(encryption: DataFolderKeys) -> None:
        keys = [encryption.state().data_key]
        both = asyncio.gather(encryption.rotate(), encryption.rotate())
        while not both.done():
            await asyncio.sleep(0)
            if encryption.state().data_key != keys[-1]:
                keys.append(encryption.state().data_key)
        assert len(keys) == 2
        assert not encryption.state().is_rotating

    await made.use(work)


@pytest.mark.parametrize("loss", ["gone", "replaced", "open"])
async def test_a_key_that_the_next_start_would_miss_is_told(made: SealedFolder, loss: str) -> None:
    whole = made.key.read_bytes()

    async def work(encryption: DataFolderKeys) -> None:
        component = made.components.add("encryption-key", required=False)
        watch = asyncio.create_task(encryption.watch(made.components, seconds=0.01))
        await reported(made.components, faulty=False)
        made.key.unlink()
        if loss != "gone":
            write_new_key(made.key)
        if loss == "open":
            made.key.write_bytes(whole)
            made.key.chmod(0o644)
        await reported(made.components, faulty=True)
        assert component.state.reason == "EncryptionKeyMissing"
        assert "one.key" in encryption.state().fault
        made.key.write_bytes(whole)
        made.key.chmod(0o600)
        await reported(made.components, faulty=False)
        assert encryption.state().fault == ""
        watch.cancel()

    await made.use(work)


async def reported(components: Components, *, faulty: bool) -> None:
    async with asyncio.timeout(60):
        async for (state,) in components.changes():
            if state.reported and state.faulty is faulty:
                return
