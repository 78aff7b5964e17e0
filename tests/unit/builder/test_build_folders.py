"""Folders of builds that come and go at the same time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from upwell.builder.folder import BuildFolder

_ROUNDS = 300


def test_a_build_that_ends_leaves_room_for_one_that_begins(tmp_path: Path) -> None:
    passage = tmp_path / "passage"

    def come_and_go(build_id: str) -> None:
        for _ in range(_ROUNDS):
            folder = BuildFolder(tmp_path / "builds", build_id, passage)
            folder.create()
            assert folder.temporary.is_dir()
            folder.remove()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(come_and_go, ["one", "two", "three"]))
    assert not passage.exists()
