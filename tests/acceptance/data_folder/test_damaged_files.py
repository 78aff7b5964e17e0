"""Files of the data folder that are damaged, and folders that cannot be served."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests.support.installation.data_folders import refused, refused_in
from tests.support.installation.installation import Installation, installation


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x93garbage\xff" * 5000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


REFUSED: list[tuple[str, Callable[[Path], None]]] = [
    ("admin.token", emptied),
    ("signing.key", emptied),
    ("deliveries.db", garbage),
    ("upwell.db", garbage),
    ("upwell.db", cut),
    ("tls/ca.key", emptied),
]
MADE_ANEW = [
    "instance-id",
    "inventory.db",
    "inventory.db-wal",
    "upwell.db-shm",
    "tls/server.pem",
    "containers.conf",
    "registries.conf",
]


@pytest.fixture
async def made() -> AsyncIterator[Installation]:
    async with installation() as running:
        running.stop()
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's folder: the paths of sockets are limited to 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="upwell-"))
    yield folder
    shutil.rmtree(folder)


async def test_damage_is_refused_by_name_or_mended(made: Installation) -> None:
    for name, damage in REFUSED:
        path = made.data_dir / name
        whole = path.read_bytes()
        damage(path)
        before = path.read_bytes()
        said = refused(made)
        assert path.name in said, (name, damage, said)
        assert "restore" in said, (name, damage, said)
        assert path.read_bytes() == before
        path.write_bytes(whole)

    for damage in (emptied, garbage):
        for name in MADE_ANEW:
            damage(made.data_dir / name)
        await made.start()
        made.stop()


@pytest.mark.parametrize(
    "name",
    ["upwell.db", "upwell.db.lock", "instance-id", "containers.conf"],
)
def test_a_folder_in_the_place_of_a_file_is_named(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    assert name in refused_in(folder)


def test_a_file_in_the_place_of_a_folder_is_named(folder: Path) -> None:
    (folder / "workloads").write_text("a file")
    assert "workloads" in refused_in(folder)


async def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    refused_mount = await asyncio.create_subprocess_exec(
        "mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder
    )
    if await refused_mount.wait():
        pytest.skip("mounting needs root")
    try:
        assert "Read-only file system" in refused_in(folder)
    finally:
        await (await asyncio.create_subprocess_exec("umount", folder)).wait()


async def test_a_second_server_is_told_of_the_first(made: Installation) -> None:
    await made.start()
    assert f"in use by process {made.pid}" in refused_in(made.data_dir)
