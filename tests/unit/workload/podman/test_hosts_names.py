from collections.abc import Sequence
from pathlib import Path

from upwell.workload.interface import InstanceSpec, Owner, ServiceName
from upwell.workload.podman.hosts_files import HostsFiles, render

SHOP = ServiceName("shop", "web", "10.1.2.3")
OTHER = ServiceName("bank", "web", "10.1.2.4")


def created(root: Path, names: Sequence[ServiceName] = ()) -> HostsFiles:
    files = HostsFiles(root)
    (root / "web-1").mkdir()
    files.publish(names)
    files.create(InstanceSpec("web-1", Owner("Deployment", "shop", "web"), "r", (), hostname="w"))
    return files


def test_a_short_name_is_that_of_the_own_namespace() -> None:
    assert render([OTHER, SHOP], "shop") == (
        "10.1.2.4 web.bank web.bank.svc web.bank.svc.cluster.local\n"
        "10.1.2.3 web web.shop web.shop.svc web.shop.svc.cluster.local\n"
    )


def test_an_instance_knows_itself_and_what_was_published_before(tmp_path: Path) -> None:
    files = created(tmp_path, [SHOP])
    text = files.path("web-1").read_text()
    assert "127.0.0.1 localhost\n" in text
    assert "127.0.1.1 w\n" in text
    assert "10.1.2.3 web " in text


def test_a_file_that_is_mounted_is_changed_in_place(tmp_path: Path) -> None:
    files = created(tmp_path, [SHOP, OTHER])
    before = files.path("web-1").stat().st_ino
    with files.path("web-1").open() as mounted:
        files.publish([OTHER])
        assert "web.bank" in mounted.read()
    assert files.path("web-1").stat().st_ino == before
    assert "10.1.2.3" not in files.path("web-1").read_text()


def test_another_process_writes_the_files_that_it_finds(tmp_path: Path) -> None:
    created(tmp_path)
    again = HostsFiles(tmp_path)
    again.publish([SHOP])
    assert "10.1.2.3 web " in again.path("web-1").read_text()


def test_what_another_process_starts_before_it_publishes_knows_the_names(tmp_path: Path) -> None:
    created(tmp_path, [SHOP, OTHER])
    again = HostsFiles(tmp_path)
    (tmp_path / "bank-1").mkdir()
    again.create(InstanceSpec("bank-1", Owner("Job", "bank", "test"), "r", ()))
    text = again.path("bank-1").read_text()
    assert "10.1.2.4 web web.bank " in text
    assert "10.1.2.3 web.shop " in text
    again.publish([])
    assert "10.1.2" not in again.path("bank-1").read_text()
