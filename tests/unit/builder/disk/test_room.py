"""Room of a build, counted while the build goes on."""

from pathlib import Path

from upwell.builder.disk.room import BuildRoom, CacheInUse, RoomOnDisk
from upwell.machine.process import SYSTEM_PATH, ChildCommand, Launcher, ProcessResult


async def test_a_cache_whose_use_ends_while_it_is_counted_is_counted_once_more(
    tmp_path: Path,
) -> None:
    room = BuildRoom(0)

    class Ending(Launcher):
        async def capture(self, command: ChildCommand, limit: int) -> ProcessResult:
            counted = await super().capture(command, limit)
            if str(tmp_path / "cache") in command.argv:
                room.cache = None
            return counted

    for name in ("cache", "folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "cache" / "file").write_bytes(b"x" * 100_000)
    room.cache = CacheInUse(tmp_path / "cache", 0)
    disk = RoomOnDisk(Ending(str(tmp_path)), SYSTEM_PATH)
    with_cache = await room.look(disk, [tmp_path / "folder"], [], [])
    assert with_cache >= room.used + 100_000
    assert await room.look(disk, [tmp_path / "folder"], [], []) == room.used
