"""Instances whose root is root outside, out of the records that the server keeps."""

import dataclasses
import os
from datetime import UTC, datetime
from pathlib import Path

from upwell.app.hardening.instance_ids import host_instances
from upwell.workload.instance_spec import InstanceSpec, Owner
from upwell.workload.podman.records import InstanceRecord, RecordStore
from upwell.workload.podman.users.ids import ANY_IDS


def test_records_tell_who_has_the_ids_of_the_host(tmp_path: Path) -> None:
    assert list(host_instances(tmp_path)) == []
    store = RecordStore(tmp_path / "workloads" / "instances")
    for name, users in (("old", None), ("own", ANY_IDS)):
        spec = InstanceSpec(f"web-{name}", Owner("Deployment", "shop", name), "rev", ())
        record = InstanceRecord.of(spec, 0, datetime(2026, 1, 1, tzinfo=UTC))
        store.save(dataclasses.replace(record, users=users))
    (store.root / "damaged").mkdir()
    (store.root / "damaged" / "record.json").write_text("{")
    expected = [] if os.geteuid() else [("Deployment", "shop", "old")]
    assert list(host_instances(tmp_path)) == expected
