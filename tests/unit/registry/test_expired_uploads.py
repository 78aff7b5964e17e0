"""Uploads that nobody goes on with, and their folders."""

import os
from pathlib import Path

from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.embedded.uploads import Uploads
from upwell.registry.embedded.usage import StorageUsage

LIMIT = 1000


def folders(root: Path) -> list[str]:
    return [path.name for path in root.iterdir()]


async def test_an_expired_upload_leaves_no_folder(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, LIMIT, StorageUsage(tmp_path / "repositories", tmp_path))
    old = await uploads.start("team/app", "sha256")
    young = await uploads.start("team/web", "sha256")
    os.utime(tmp_path / "team+app" / old, (1, 1))

    assert uploads.expire(before=100) == 1
    assert folders(tmp_path) == ["team+web"]
    assert uploads.offset("team/web", young) == 0

    again = await uploads.start("team/app", "sha256")
    assert uploads.offset("team/app", again) == 0


async def test_a_start_removes_folders_without_uploads(tmp_path: Path) -> None:
    (tmp_path / "uploads" / "team+app").mkdir(parents=True)
    registry = EmbeddedRegistry(tmp_path, "registry.test")
    await registry.recover()
    assert list((tmp_path / "uploads").iterdir()) == []
