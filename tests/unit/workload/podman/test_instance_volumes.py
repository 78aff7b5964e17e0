from collections.abc import Mapping
from pathlib import Path

import pytest

from upwell.workload.errors import ForbiddenError
from upwell.workload.instance_spec import (
    EmptyDir,
    Files,
    HostPath,
    InstanceSpec,
    Owner,
    VolumeClaim,
)
from upwell.workload.podman.volumes import instance_volumes as volumes
from upwell.workload.podman.volumes.instance_volumes import InvalidVolumeError


def spec(**named: EmptyDir | HostPath | VolumeClaim | Files) -> InstanceSpec:
    return InstanceSpec("web-1", Owner("Deployment", "shop", "web"), "rev", (), volumes=named)


def prepare(wanted: InstanceSpec, folder: Path) -> Mapping[str, Path]:
    return volumes.prepare(wanted, folder, folder / "claims")


def test_a_claim_is_a_folder_that_another_instance_finds_again(tmp_path: Path) -> None:
    first = volumes.prepare(
        spec(data=VolumeClaim("shop", "orders")), tmp_path / "a", tmp_path / "claims"
    )
    (first["data"] / "order").write_text("42")
    again = volumes.prepare(
        spec(data=VolumeClaim("shop", "orders")), tmp_path / "b", tmp_path / "claims"
    )
    assert (again["data"] / "order").read_text() == "42"
    with pytest.raises(InvalidVolumeError):
        prepare(spec(data=VolumeClaim("shop", "..")), tmp_path)


@pytest.mark.parametrize("path", ["/srv/data/../secret", "/srv", "/srv/database", "srv/data", ""])
def test_a_host_path_beside_the_allowed_one_is_refused(path: str) -> None:
    with pytest.raises(ForbiddenError, match="allowed-host-paths"):
        volumes.refuse_forbidden(spec(data=HostPath(path)), ("/srv/data",))


def test_a_link_out_of_an_allowed_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "link").symlink_to("/etc")
    allowed = (str(tmp_path / "allowed"),)
    volumes.refuse_forbidden(spec(data=HostPath(f"{tmp_path}/allowed/deep/er")), allowed)
    with pytest.raises(ForbiddenError):
        volumes.refuse_forbidden(spec(data=HostPath(f"{tmp_path}/allowed/link")), allowed)


def test_files_have_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    content = {"a": b"1", "deep/b": b"2"}
    places = prepare(spec(config=Files(content, 0o440)), tmp_path)
    assert (places["config"] / "deep/b").read_bytes() == b"2"
    assert (places["config"] / "a").stat().st_mode & 0o777 == 0o440


def test_files_that_are_no_longer_wanted_go(tmp_path: Path) -> None:
    prepare(spec(config=Files({"old": b""})), tmp_path)
    places = prepare(spec(config=Files({"new": b""})), tmp_path)
    assert [path.name for path in places["config"].iterdir()] == ["new"]


def test_scratch_space_keeps_what_it_holds(tmp_path: Path) -> None:
    place = prepare(spec(tmp=EmptyDir()), tmp_path)["tmp"]
    (place / "kept").touch()
    assert (prepare(spec(tmp=EmptyDir()), tmp_path)["tmp"] / "kept").exists()
    assert place.stat().st_mode & 0o777 == 0o777, "a container may run as any user"


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", ""])
def test_a_file_does_not_leave_its_volume(tmp_path: Path, path: str) -> None:
    with pytest.raises(InvalidVolumeError):
        prepare(spec(config=Files({path: b""})), tmp_path / "volumes")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["..", "a/b", ""])
def test_a_volume_is_one_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidVolumeError):
        prepare(spec(**{name: EmptyDir()}), tmp_path)
