import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from upwell.oci import Reference
from upwell.workload.instance_spec import (
    ContainerSpec,
    ExecProbe,
    HttpProbe,
    InstanceSpec,
    Owner,
    ProbeSpec,
    TcpProbe,
)
from upwell.workload.podman.records import (
    ContainerEnd,
    InstanceRecord,
    InvalidNameError,
    RecordStore,
)
from upwell.workload.podman.users.ids import OwnIds
from upwell.workload.podman.volumes import mounts

OWNER = Owner("Deployment", "shop", "web")
SINCE = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
CHECKS: tuple[HttpProbe | TcpProbe | ExecProbe, ...] = (
    HttpProbe(8080, "/x", "https", (("Authorization", "Bearer t"),)),
    TcpProbe(81),
    ExecProbe(("a", "b")),
)


def record(name: str = "web-1") -> InstanceRecord:
    image = Reference.parse("localhost/web")
    containers = tuple(
        ContainerSpec(f"c{at}", image, env={"PASSWORD": "hunter2"}, readiness=ProbeSpec(check))
        for at, check in enumerate(CHECKS)
    )
    spec = InstanceSpec(name, OWNER, "rev", containers, logins=(("r", "u", "hunter2"),))
    return InstanceRecord.of(spec, restarts=3, begun_at=SINCE).with_readiness("id-1", SINCE)


def test_a_record_is_read_back_as_it_was(tmp_path: Path) -> None:
    RecordStore(tmp_path).save(record())
    assert RecordStore(tmp_path).load("web-1") == record()
    assert RecordStore(tmp_path).names() == ["web-1"]


def test_a_record_keeps_how_its_containers_ended(tmp_path: Path) -> None:
    end = ContainerEnd("web", "id-0", 137, SINCE, SINCE, out_of_memory=True)
    kept = replace(record(), ends=(end,))
    RecordStore(tmp_path).save(kept)
    assert RecordStore(tmp_path).load("web-1") == kept
    later = SINCE + timedelta(days=1)
    assert kept.with_times(lambda _: later).ends == (
        replace(end, started_at=later, ended_at=later),
    )


def test_a_record_keeps_the_ids_and_one_of_an_earlier_version_has_none(tmp_path: Path) -> None:
    own = replace(record(), users=OwnIds(2_000_300_000, (70_000,)))
    RecordStore(tmp_path).save(own)
    assert RecordStore(tmp_path).load("web-1") == own

    file = tmp_path / "web-1" / "record.json"
    document = json.loads(file.read_text())
    del document["users"]
    file.write_text(json.dumps(document))
    assert RecordStore(tmp_path).load("web-1") == record()


def test_a_record_is_ours_alone_and_holds_no_secret_of_the_workload(tmp_path: Path) -> None:
    RecordStore(tmp_path).save(record())
    file = tmp_path / "web-1" / "record.json"
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0
    assert "hunter2" not in file.read_text()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "web-1"}', "\0"])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    store = RecordStore(tmp_path)
    store.save(record())
    (tmp_path / "web-1" / "record.json").write_text(content)
    assert RecordStore(tmp_path).load("web-1") is None


def test_no_record_and_no_folder_are_nothing(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "absent")
    assert store.load("web-1") is None
    assert store.names() == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\0"])
def test_a_name_does_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidNameError):
        RecordStore(tmp_path).folder(name)


def test_readiness_belongs_to_one_container() -> None:
    changed = record().with_readiness("id-2", SINCE).with_readiness("id-1", None)
    assert dict(changed.ready_since) == {"id-2": SINCE}


def test_a_record_that_was_removed_meanwhile_is_not_made_again_by_a_change(tmp_path: Path) -> None:
    store, other = RecordStore(tmp_path / "instances"), RecordStore(tmp_path / "instances")
    store.save(record())
    other.remove("web-1")
    store.change("web-1", lambda now: now.with_post_start("id-1"))
    store.remove("web-1")
    assert (store.load("web-1"), store.names()) == (None, [])


def test_a_folder_whose_removal_was_cut_short_is_no_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RecordStore(tmp_path / "instances")
    store.save(record())
    with monkeypatch.context() as killed:
        killed.setattr(mounts, "remove_deep", lambda _: None)
        store.remove("web-1")
    assert store.names() == []
    assert list((tmp_path / "removed").iterdir())
    store.purge()
    assert not (tmp_path / "removed").exists()


def test_a_name_that_is_no_folder_has_no_record(tmp_path: Path) -> None:
    assert RecordStore(tmp_path).load("../web") is None


def test_a_change_that_the_disk_does_not_take_holds_and_is_written_later(tmp_path: Path) -> None:
    records = RecordStore(tmp_path)
    records.save(record())
    obstacle = tmp_path / "web-1" / "record.json.new"
    obstacle.mkdir()  # as good as a full disk: no draft can be written

    records.change("web-1", lambda now: now.with_readiness("id-2", SINCE))
    records.write_rest()

    assert (found := records.load("web-1")) is not None
    assert found.ready_since["id-2"] == SINCE
    assert RecordStore(tmp_path).load("web-1") == record()
    obstacle.rmdir()
    records.write_rest()
    assert RecordStore(tmp_path).load("web-1") == found
