"""A key that stays on a PKCS#11 token: SoftHSM, reached as a token of hardware is."""

import asyncio
import os
import shutil
import stat
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from upwell.app.encryption.keys import DataFolderKeys
from upwell.delivery.sqlite import SqliteOutbox
from upwell.encryption.faults import EncryptionKeyError, WrongPinError
from upwell.encryption.files import SealedFiles
from upwell.encryption.keyring import Keyring
from upwell.encryption.keys import KeySource
from upwell.machine.clock import now
from upwell.machine.components import Components
from upwell.store.interface import UnavailableError
from upwell.store.sqlite import SqliteStore

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
DATA_KEY = bytes(range(32))


class SoftToken:
    """A token with a PIN, and the folder that it is kept in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens = folder / "tokens"
        self.tokens.mkdir()
        self.pin = folder / "pin"
        self.pin.write_text("4321\n")
        self.pin.chmod(0o600)
        self.make("upwell")

    def make(self, label: str) -> None:
        """Make another token."""
        subprocess.run(
            [
                *("softhsm2-util", "--init-token", "--free", "--label", label),
                *("--so-pin", "12345678", "--pin", "4321"),
            ],
            check=True,
            capture_output=True,
        )

    def source(self, name: str = "data") -> KeySource:
        """Return a key of it."""
        query = f"module-path={MODULE}&pin-source={self.pin}"
        return KeySource.parse(f"pkcs11:token=upwell;object={name}?{query}")

    def take_away(self) -> Path:
        """Disconnect it."""
        gone = self.tokens.rename(self.folder / "gone")
        self.tokens.mkdir()
        return gone

    def bring_back(self, gone: Path) -> None:
        """Connect it again."""
        self.tokens.rmdir()
        gone.rename(self.tokens)


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftToken:
    if shutil.which("softhsm2-util") is None or not MODULE.exists():
        pytest.skip("needs Debian's softhsm2")
    configuration = tmp_path / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(configuration))
    return SoftToken(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def test_a_token_wraps_and_unwraps_and_tells_another_key(token: SoftToken, data: Path) -> None:
    first, second = token.source(), token.source("other")
    with pytest.raises(EncryptionKeyError, match=r"no AES key data.*new-key"):
        Keyring([first], data).wrap(DATA_KEY)
    first.make()
    second.make()
    with pytest.raises(EncryptionKeyError, match="may be what a database needs"):
        first.make()
    wrapped = Keyring([first], data).wrap(DATA_KEY)
    assert wrapped is not None
    assert DATA_KEY not in wrapped
    assert Keyring([first], data).unwrap(wrapped) == (DATA_KEY, True)
    assert Keyring([second, first], data).unwrap(wrapped) == (DATA_KEY, False)
    assert Keyring([second], data).unwrap(wrapped) is None
    assert Keyring([first], data).unwrap(wrapped[:-1]) is None


def test_each_fault_of_a_token_says_what_to_do(token: SoftToken, data: Path) -> None:
    source = token.source()
    source.make()
    keyring = Keyring([source], data)

    def fault(of: KeySource = source) -> str:
        with pytest.raises(EncryptionKeyError) as caught:
            Keyring([of], data).wrap(DATA_KEY)
        return str(caught.value)

    token.pin.chmod(0o644)
    assert "chmod 600" in fault()
    token.pin.chmod(0o600)
    token.pin.write_text("1111\n")
    with pytest.raises(WrongPinError, match=r"refuses the PIN at .*/pin: correct it"):
        keyring.wrap(DATA_KEY)
    token.pin.write_text("\n")
    assert "has no PIN" in fault()
    token.pin.unlink()
    assert "should have the PIN: No such file" in fault()
    token.pin.write_text("4321\n")
    token.pin.chmod(0o600)
    gone = token.take_away()
    assert "token upwell is not there: connect it" in fault()
    token.bring_back(gone)
    token.make("upwell")
    assert "2 tokens upwell: name one by serial=" in fault()
    library = source.value.replace(str(MODULE), "/usr/lib/nothing.so")
    assert "/usr/lib/nothing.so cannot be loaded" in fault(KeySource("pkcs11", library))
    token.pin.rename(data / "pin")
    inside = source.value.replace(str(token.pin), str(data / "pin"))
    assert "lies in the data folder" in fault(KeySource("pkcs11", inside))


async def test_a_token_that_goes_away_stops_no_server_but_its_next_start(
    token: SoftToken, data: Path
) -> None:
    source = token.source()
    await asyncio.to_thread(source.make)
    keyring = Keyring([source], data)
    async with AsyncExitStack() as stack:
        store = await SqliteStore.open(data / "upwell.db", clock=now, keyring=keyring)
        stack.push_async_callback(store.close)
        outbox = await asyncio.to_thread(
            lambda: SqliteOutbox(data / "deliveries.db", keyring=keyring)
        )
        stack.callback(outbox.close)
        keys = DataFolderKeys(keyring, SealedFiles(keyring), outbox, store)
        components = Components()
        watch = asyncio.create_task(keys.watch(components, seconds=0.1))
        await turned(components, faulty=False)
        gone = token.take_away()
        await turned(components, faulty=True)
        assert "token upwell is not there" in keys.state().fault
        with pytest.raises(UnavailableError, match="token upwell is not there"):
            await keys.rotate()
        await store.identify("one", ["a"])  # what is written goes on
        token.bring_back(gone)
        await turned(components, faulty=False)
        await keys.rotate()
        assert keys.state().fault == ""

        token.pin.write_text("1111\n")
        async with asyncio.timeout(120):
            await watch  # a wrong PIN is not tried again
        assert "refuses the PIN" in keys.state().fault
    with pytest.raises(EncryptionKeyError, match="refuses the PIN"):
        await SqliteStore.open(data / "upwell.db", clock=now, keyring=Keyring([source], data))
    token.pin.write_text("4321\n")
    again = await SqliteStore.open(data / "upwell.db", clock=now, keyring=Keyring([source], data))
    try:
        assert again.instance_id == "one"
    finally:
        await again.close()


async def turned(components: Components, *, faulty: bool) -> None:
    async with asyncio.timeout(120):
        async for states in components.changes():
            if states and states[0].reported and states[0].faulty is faulty:
                return


async def test_a_slow_token_holds_up_nothing(data: Path, tmp_path: Path) -> None:
    """The program waits for what the event loop writes: one that is held never writes."""
    pipe, program = tmp_path / "pipe", tmp_path / "kms"
    os.mkfifo(pipe)
    program.write_text(f"#!/bin/sh\nread -r line\nread -r go < {pipe}\necho $line\n")
    program.chmod(stat.S_IRWXU)
    keyring = Keyring([KeySource("exec", str(program))], data)

    async def answer() -> None:
        descriptor = await asyncio.to_thread(os.open, pipe, os.O_WRONLY)
        os.write(descriptor, b"go\n")
        os.close(descriptor)

    opening = asyncio.create_task(SqliteStore.open(data / "upwell.db", clock=now, keyring=keyring))
    await answer()
    async with AsyncExitStack() as stack:
        store = await opening
        stack.push_async_callback(store.close)
        outbox = SqliteOutbox(data / "deliveries.db")
        stack.callback(outbox.close)
        keys = DataFolderKeys(keyring, SealedFiles(keyring), outbox, store)
        rotation = asyncio.create_task(store.rotate())
        await answer()
        await rotation
        watch = asyncio.create_task(keys.watch(Components(), seconds=3600))
        await answer()
        watch.cancel()
