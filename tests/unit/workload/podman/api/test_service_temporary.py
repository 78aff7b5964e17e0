"""The folder of large files of Podman's service: what stays in it, and what goes."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from upwell.workload.podman.api.temporary import ServiceTemporary


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ServiceTemporary]:
    made = ServiceTemporary(tmp_path / "temporary")
    yield made
    made.close()


def test_what_an_ended_service_left_goes_and_what_containers_are_entered_by_stays(
    folder: ServiceTemporary,
) -> None:
    folder.renew()
    for name in ("container_images_storage12", "intermediate-mountpoint-0.0"):
        (folder.path / name).mkdir()
    (folder.path / "container_images_storage12" / "1").write_bytes(b"piece")
    (folder.path / "podman-archive").write_bytes(b"piece")
    assert folder.size() == len(b"piece"), "what is being pulled, and nothing else"
    folder.renew()
    assert [one.name for one in folder.path.iterdir()] == ["intermediate-mountpoint-0.0"]
    assert folder.size() == 0
    folder.close()
    folder.remove()
    assert not folder.path.exists()
    folder.remove()


def test_the_folder_is_locked_against_cleaning_while_a_service_uses_it(
    folder: ServiceTemporary,
) -> None:
    folder.renew()
    cleaner = os.open(folder.path, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.close()
        fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(cleaner)
