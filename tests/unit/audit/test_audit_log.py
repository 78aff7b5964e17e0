"""The audit log as the server uses it: what is recorded when, and what happens when it cannot."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.audit_logs import audit_log

from upwell.audit.events import AuditEvent, FieldChange
from upwell.audit.heads import HeadSigner
from upwell.audit.log import AuditFiles, AuditLog, AuditUnavailableError
from upwell.audit.verification import verify_chain
from upwell.machine.components import Components

EVENT = AuditEvent("ci", "127.0.0.1", "create", "builds", "", "shop", "app-1", 201)


def _now() -> datetime:
    return datetime(2024, 5, 1, tzinfo=UTC)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_what_is_recorded_stands_in_the_file(tmp_path: Path) -> None:
    log = audit_log(tmp_path, _now)
    await log.record(replace(EVENT, reason="night", changes=(FieldChange("spec.a", "1", "2"),)))
    (line,) = lines(tmp_path / "audit.log")
    assert line["time"] == "2024-05-01T00:00:00.000+00:00"
    assert (line["user"], line["verb"], line["resource"]) == ("ci", "create", "builds")
    assert (line["namespace"], line["name"], line["code"]) == ("shop", "app-1", 201)
    assert line["reason"] == "night"
    assert line["changes"] == [{"path": "spec.a", "old": "1", "new": "2"}]


async def test_the_denied_have_files_of_their_own(tmp_path: Path) -> None:
    log = audit_log(tmp_path, _now)
    await log.record(EVENT)
    await asyncio.gather(*(log.record(replace(EVENT, code=403)) for _ in range(500)))
    await asyncio.gather(*(log.record(replace(EVENT, code=code)) for code in (401, 429)))
    assert len(lines(tmp_path / "audit.log")) == 1
    assert len(lines(tmp_path / "audit-denied.log")) == 502


async def test_lines_that_come_together_are_all_there_in_their_order(tmp_path: Path) -> None:
    log = audit_log(tmp_path, _now)
    events = [replace(EVENT, name=str(number)) for number in range(300)]
    await asyncio.gather(*map(log.record, events))
    assert [line["name"] for line in lines(tmp_path / "audit.log")] == [e.name for e in events]


async def test_a_line_is_bounded(tmp_path: Path) -> None:
    log = audit_log(tmp_path, _now)
    changes = tuple(FieldChange("x" * 100_000, "y" * 100_000) for _ in range(1000))
    wide = "\U0001f4a3" * 100_000
    await log.record(AuditEvent(wide, wide, "get", wide, wide, wide, wide, 201, wide, changes))
    assert (tmp_path / "audit.log").stat().st_size < 64 * 1024
    assert lines(tmp_path / "audit.log")[0]["moreChanges"] == 980


async def test_what_cannot_be_written_is_told_and_refuses_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    component = Components().add("audit-log", required=False)
    log = audit_log(tmp_path / "gone", _now, component)
    with pytest.raises(AuditUnavailableError, match="cannot be written"):
        await log.record(EVENT)
    assert "audit log not written" in caplog.text
    assert component.state.reason == "AuditLogNotWritten"
    assert "1 requests are not in it" in component.state.message
    with pytest.raises(AuditUnavailableError, match="nothing is changed that cannot be recorded"):
        await log.require()

    (tmp_path / "gone").mkdir()
    await log.require()
    assert not component.state.faulty
    await log.record(EVENT)


async def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    (tmp_path / "audit.log").symlink_to(tmp_path / "other")
    with pytest.raises(AuditUnavailableError):
        await audit_log(tmp_path, _now).record(EVENT)
    assert (tmp_path / "other").read_text() == "kept"


async def test_a_stopped_server_leaves_signed_chains(tmp_path: Path) -> None:
    signer, component = HeadSigner.generate(), Components().add("audit-log")
    async with AuditLog.open(AuditFiles(tmp_path), signer, _now, component) as log:
        await log.record(EVENT)
        await log.record(replace(EVENT, code=403))
    for path in AuditFiles(tmp_path).paths:
        report = verify_chain(path, signer.key)
        assert (report.faults, report.unsigned) == ([], 0)


async def test_a_replica_names_itself_in_its_lines(tmp_path: Path) -> None:
    signer, component = HeadSigner.generate(), Components().add("audit-log")
    files = AuditFiles(tmp_path, replica="upwell-7d9f8")
    async with AuditLog.open(files, signer, _now, component) as log:
        await log.record(EVENT)
    assert lines(tmp_path / "audit.log")[0]["replica"] == "upwell-7d9f8"
    assert verify_chain(files.paths[0], signer.key).faults == []


async def test_whoever_leaves_early_leaves_a_line(tmp_path: Path) -> None:
    log = audit_log(tmp_path, _now)
    leaving = asyncio.ensure_future(log.record(EVENT))
    await asyncio.sleep(0)
    leaving.cancel()
    await log.record(replace(EVENT, name="after"))
    assert [line["name"] for line in lines(tmp_path / "audit.log")] == ["app-1", "after"]
