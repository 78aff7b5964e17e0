import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from errno import ENOSPC
from pathlib import Path

import pytest

from upwell.workload.instance_spec import InstanceSpec, Owner
from upwell.workload.interface import ServiceName
from upwell.workload.podman.hosts_files import HostsFiles, render
from upwell.workload.podman.records import InstanceRecord, RecordStore

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


def test_a_file_that_was_left_short_is_whole_after_the_next_publication(tmp_path: Path) -> None:
    files = created(tmp_path, [SHOP])
    (tmp_path / "web-1" / "namespace").write_text("")
    files.path("web-1").write_text("\n\n10.1")
    again = HostsFiles(tmp_path)
    (tmp_path / "web-2").mkdir()
    again.create(InstanceSpec("web-2", Owner("Deployment", "shop", "web"), "r", ()))
    again.publish([OTHER])
    assert "10.1.2.4 web.bank " in again.path("web-1").read_text()
    assert "10.1.2.4 web.bank " in again.path("web-2").read_text()


def test_a_publication_that_fails_is_written_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = created(tmp_path)

    def full(*_: object) -> int:
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            files.publish([SHOP])
    files.publish([SHOP])
    assert "10.1.2.3 web " in files.path("web-1").read_text()


def test_files_are_created_published_and_removed_by_many_at_once(tmp_path: Path) -> None:
    """Last publication is in every file that is left, whatever went on meanwhile."""
    files, records = HostsFiles(tmp_path / "instances"), RecordStore(tmp_path / "instances")
    files.publish([])
    owner = Owner("Deployment", "shop", "web")

    def come_and_go(worker: int) -> None:
        for turn in range(40):
            spec = InstanceSpec(f"web-{worker}-{turn % 3}", owner, "r", ())
            records.save(InstanceRecord.of(spec, 0, datetime(2026, 1, 1, tzinfo=UTC)))
            files.create(spec)
            records.change(spec.name, lambda now: replace(now, failure="x"))
            if turn % 3:
                records.remove(spec.name)
                records.change(spec.name, lambda now: replace(now, failure="y"))

    def publish() -> None:
        for turn in range(200):
            files.publish([ServiceName("shop", "web", f"10.1.2.{turn % 200}")])

    with ThreadPoolExecutor() as threads:
        work = [threads.submit(come_and_go, worker) for worker in range(6)]
        work += [threads.submit(publish) for _ in range(2)]
        for each in work:
            each.result()
    files.publish([SHOP])
    texts = [path.read_text() for path in (tmp_path / "instances").glob("*/hosts")]
    assert len(texts) == 6
    assert all("10.1.2.3 web " in text for text in texts)
