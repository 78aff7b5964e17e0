"""Room on disk: the floor, and everything that counts as pressure."""

import errno
import os
from pathlib import Path

import pytest

from upwell.machine.disk import (
    GIB,
    MIB,
    DiskFault,
    DiskPressure,
    DiskSpace,
    KeptBackRoom,
    default_floor,
)

_BLOCK = 4096


class FileSystem:
    """Facts as statvfs(3) gives them."""

    def __init__(self, size: int, free: int) -> None:
        self.size, self.free = size, free
        self.inodes, self.free_inodes = 100_000, 50_000
        self.flags = 0
        self.fault: OSError | None = None

    def __call__(self, _: Path) -> os.statvfs_result:
        if self.fault is not None:
            raise self.fault
        blocks, free = self.size // _BLOCK, self.free // _BLOCK
        facts = (_BLOCK, _BLOCK, blocks, free, free)
        return os.statvfs_result((
            *facts, self.inodes, self.free_inodes, self.free_inodes, self.flags, 255
        ))  # fmt: skip


@pytest.fixture
def system() -> FileSystem:
    return FileSystem(100 * GIB, 50 * GIB)


@pytest.fixture
def disk(system: FileSystem, tmp_path: Path) -> DiskSpace:
    return DiskSpace([tmp_path], statvfs=system)


@pytest.mark.parametrize(
    ("size", "floor"),
    [
        (1000 * GIB, GIB),
        (10 * GIB, 512 * MIB),
        (GIB, 64 * MIB),
        (100 * MIB, 25 * MIB),
        (12 * MIB, 3 * MIB),
    ],
)
def test_the_floor_is_a_share_of_the_disk_within_bounds(size: int, floor: int) -> None:
    assert default_floor(size) == floor


def test_there_is_no_pressure_with_room(disk: DiskSpace, tmp_path: Path) -> None:
    disk.look()

    assert (disk.pressure(), disk.fault) == ("", None)
    assert disk.free == {tmp_path: 50 * GIB}


def test_pressure_begins_below_the_floor_and_ends_well_above_it(
    disk: DiskSpace, system: FileSystem, tmp_path: Path
) -> None:
    system.free = GIB - MIB
    disk.look()
    assert disk.fault is not None
    assert disk.fault.reason is DiskFault.FULL
    assert (
        f"{tmp_path} has less free than its floor of 1.0 GiB, of 100.0 GiB in all"
        in disk.pressure()
    )
    assert "free space" in disk.pressure()

    system.free = GIB + MIB
    disk.look()
    assert disk.pressure()

    system.free = GIB + GIB // 8
    disk.look()
    assert not disk.pressure()

    system.free = GIB + MIB
    disk.look()
    assert not disk.pressure()


def test_the_floor_can_be_set(system: FileSystem, tmp_path: Path) -> None:
    disk = DiskSpace([tmp_path], 60 * GIB, statvfs=system)
    disk.look()

    assert "its floor of 60.0 GiB" in disk.pressure()


def test_no_inodes_are_pressure_too(disk: DiskSpace, system: FileSystem) -> None:
    system.free_inodes = 10
    disk.look()

    assert "fewer inodes free than its floor of 1000, of 100000 in all" in disk.pressure()


def test_a_file_system_without_a_count_of_inodes_is_never_out_of_them(
    disk: DiskSpace, system: FileSystem
) -> None:
    system.inodes = system.free_inodes = 0
    disk.look()

    assert not disk.pressure()


def test_a_read_only_file_system_is_said_as_such(disk: DiskSpace, system: FileSystem) -> None:
    system.flags = os.ST_RDONLY
    disk.look()

    assert disk.fault is not None
    assert disk.fault.reason is DiskFault.READ_ONLY
    assert "mount it again" in disk.pressure()


def test_a_file_system_that_fails_is_said_as_such(disk: DiskSpace, system: FileSystem) -> None:
    system.fault = OSError(errno.EIO, "Input/output error")
    disk.look()

    assert disk.fault is not None
    assert disk.fault.reason is DiskFault.FAILED
    assert "Input/output error" in disk.pressure()


def test_folders_on_one_file_system_count_once_and_may_be_missing(
    system: FileSystem, tmp_path: Path
) -> None:
    disk = DiskSpace([tmp_path, tmp_path / "not" / "yet"], statvfs=system)
    disk.look()

    assert disk.free.keys() == {tmp_path}


@pytest.mark.parametrize("put", ["nothing", "another"])
def test_an_open_database_that_was_removed_or_replaced_is_a_fault(
    system: FileSystem, tmp_path: Path, put: str
) -> None:
    database, other = tmp_path / "upwell.db", tmp_path / "other"
    disk = DiskSpace([tmp_path], statvfs=system, databases=[database])
    database.touch()
    other.touch()
    disk.look()
    assert not disk.pressure()

    if put == "nothing":
        database.unlink()
    else:
        other.replace(database)
    disk.look()

    assert disk.fault is not None
    assert disk.fault.reason is DiskFault.REMOVED
    assert str(database) in disk.fault.message


def test_a_disk_that_fills_up_is_told_long_before_it_is_full(
    disk: DiskSpace, system: FileSystem, tmp_path: Path
) -> None:
    def warning() -> DiskPressure | None:
        return disk.warning

    system.free = 21 * GIB
    disk.look()
    assert warning() is None
    assert disk.used[tmp_path] == pytest.approx(0.79)

    system.free = 20 * GIB - MIB
    disk.look()
    found = warning()
    assert found is not None
    assert found.reason is DiskFault.FILLING
    assert (
        f"{tmp_path} is about 80% full, or more, of 100.0 GiB; when less than 1.0 GiB"
        in found.message
    )
    assert "`upwell doctor` on the machine says what takes the room" in found.message
    assert disk.pressure() == ""  # nothing waits for it

    system.free = 25 * GIB
    disk.look()
    assert warning() is not None  # it does not come and go
    system.free = 30 * GIB
    disk.look()
    assert warning() is None


def test_room_is_kept_back_while_there_is_plenty(system: FileSystem, tmp_path: Path) -> None:
    kept_back = KeptBackRoom(tmp_path / "kept-back", system)

    kept_back.adjust(pressed=False)

    facts = (tmp_path / "kept-back").stat()
    assert (facts.st_size, facts.st_blocks * 512 >= facts.st_size) == (16 * MIB, True)
    assert facts.st_mode & 0o777 == 0o600


def test_a_copy_that_has_holes_keeps_no_room_until_it_is_filled(
    system: FileSystem, tmp_path: Path
) -> None:
    path = tmp_path / "kept-back"
    with path.open("wb") as file:
        file.truncate(16 * MIB)

    KeptBackRoom(path, system).adjust(pressed=False)

    assert path.stat().st_blocks * 512 >= 16 * MIB


def test_a_small_disk_keeps_less_back(system: FileSystem, tmp_path: Path) -> None:
    system.size = 64 * MIB

    KeptBackRoom(tmp_path / "kept-back", system).adjust(pressed=False)

    assert (tmp_path / "kept-back").stat().st_size == MIB


def test_what_is_kept_back_is_given_on_the_last_bytes_alone(
    system: FileSystem, tmp_path: Path
) -> None:
    kept_back = KeptBackRoom(tmp_path / "kept-back", system)
    kept_back.adjust(pressed=False)

    system.free = 17 * MIB
    kept_back.adjust(pressed=True)
    assert (tmp_path / "kept-back").exists()

    system.free = 15 * MIB
    kept_back.adjust(pressed=True)
    assert not (tmp_path / "kept-back").exists()

    system.free = 50 * GIB
    kept_back.adjust(pressed=False)
    assert (tmp_path / "kept-back").stat().st_size == 16 * MIB


def test_a_disk_that_does_not_answer_keeps_nothing_back(system: FileSystem, tmp_path: Path) -> None:
    system.fault = OSError(errno.EIO, "Input/output error")

    KeptBackRoom(tmp_path / "kept-back", system).adjust(pressed=False)

    assert not (tmp_path / "kept-back").exists()


def test_a_fault_says_the_same_while_it_lasts(disk: DiskSpace, system: FileSystem) -> None:
    system.free = 500 * MIB
    disk.look()
    first = disk.pressure()

    system.free = 400 * MIB
    disk.look()

    assert first
    assert disk.pressure() == first
