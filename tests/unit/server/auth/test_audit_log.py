"""The audit log's files."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from upwell.machine.components import Components
from upwell.policy.access.roles import Action
from upwell.server.auth.audit import AuditEvent, AuditLog

DEED = AuditEvent("ci", "127.0.0.1", Action("create", "builds", "shop", "app-1"), 201)


def _now() -> datetime:
    return datetime(2024, 5, 1, tzinfo=UTC)


def test_a_full_file_makes_room_for_another(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", _now, Components().add("audit-log"), max_bytes=1)
    for _ in range(9):
        log.record(DEED)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"audit.log.{number}" for number in range(1, 6)
    ]


def test_lines_of_older_files_come_later_in_number(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", _now, Components().add("audit-log"), max_bytes=1)
    for name in ("first", "second"):
        log.record(AuditEvent(name, "", DEED.action, 200))
    assert "second" in (tmp_path / "audit.log.1").read_text()
    assert "first" in (tmp_path / "audit.log.2").read_text()


def test_a_line_is_bounded(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", _now, Components().add("audit-log"))
    log.record(AuditEvent("ci", "", Action("get", "x" * 100_000), 403))
    assert (tmp_path / "audit.log").stat().st_size < 1000


def test_what_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    component = Components().add("audit-log", required=False)
    log = AuditLog(tmp_path / "gone" / "audit.log", _now, component)
    assert component.state.reason == "AuditLogNotWritten"
    log.record(DEED)
    assert "audit log not written" in caplog.text
    assert "1 requests are not in it" in component.state.message

    (tmp_path / "gone").mkdir()
    log.record(DEED)
    assert not component.state.faulty
