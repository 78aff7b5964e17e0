"""`upwell doctor` on the disk, and on the variable CONTAINERS_CONF."""

from pathlib import Path

import pytest

from upwell.cli.doctor.containers_conf import check_containers_conf
from upwell.cli.doctor.room import check_disk, disk_usage
from upwell.machine.checks import HostCheckStatus
from upwell.machine.disk import MIB


async def test_the_disk_is_measured_where_the_folder_will_be(tmp_path: Path) -> None:
    check = await check_disk(tmp_path / "not" / "yet")
    assert "GiB free below" in check.detail
    assert not (tmp_path / "not").exists()


async def test_a_full_disk_is_told_with_what_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, size in (("registry/blobs", 3), ("workloads/claims/a/db", 5), ("logs/builds", 0)):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "file").write_bytes(bytes(size * MIB))
    usage = await disk_usage(tmp_path, tmp_path / "registry", tmp_path / "none")
    same = "images of containers 3 MiB"  # the other storage is the registry's folder here
    assert [str(one) for one in usage] == ["volumes 5 MiB", "images 3 MiB", same]

    monkeypatch.setattr("upwell.cli.doctor.room.ENOUGH_BYTES", 2**62)
    check = await check_disk(tmp_path)
    parts = check.detail.split("there are ")[1].split(", ")  # this machine's containers among them
    assert [one for one in parts if "of" not in one] == ["volumes 5 MiB", "images 3 MiB"]
    assert check.remedy.endswith("; or enlarge the disk")


async def test_uploads_and_copies_of_volumes_are_counted(tmp_path: Path) -> None:
    for place, size in (("inputs", 2), ("workloads/snapshots/a/db", 7)):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "file").write_bytes(bytes(size * MIB))
    usage = await disk_usage(tmp_path, tmp_path / "none", tmp_path / "none")
    assert [str(one) for one in usage] == ["copies of volumes 7 MiB", "builds 2 MiB"]


async def test_pieces_that_earlier_versions_have_left_are_counted(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    for place, size in (("container_images_storage12", 2), ("container_images_storage3", 3)):
        (temporary / place).mkdir(parents=True)
        (temporary / place / "1").write_bytes(bytes(size * MIB))
    (temporary / "others").write_bytes(bytes(9 * MIB))
    [usage] = await disk_usage(tmp_path, tmp_path / "none", temporary)
    assert str(usage) == "pieces of ended pulls 5 MiB"
    assert "rm -r" in usage.part.remedy


def test_what_containers_conf_sets_is_named(tmp_path: Path) -> None:
    file = tmp_path / "containers.conf"
    file.write_text('[engine]\nruntime = "runc"\n[containers]\npids_limit = 9\n')
    check = check_containers_conf(str(file))
    assert check.status is HostCheckStatus.OK
    assert f"{file} sets containers.pids_limit, engine.runtime for Podman" in check.detail
    file.write_text("[engine")
    broken = check_containers_conf(str(file))
    assert (broken.status, "no TOML" in broken.detail) == (HostCheckStatus.WARN, True)
    assert "No such file" in check_containers_conf(str(tmp_path / "none")).detail
