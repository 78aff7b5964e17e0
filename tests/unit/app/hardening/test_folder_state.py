"""The data folder, as the hardening list is told of it."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from upwell.app.hardening import look
from upwell.app.hardening.look import NoServerError, look_at_folder, look_at_server
from upwell.policy.hardening.installation import AdminUse

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def line(user: str, source: str, days: float) -> str:
    """Return a line of the audit log, of so many days ago."""
    time = (NOW - timedelta(days=days)).isoformat()
    return json.dumps({"seq": 1, "prev": "0", "time": time, "user": user, "source": source}) + "\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o750)
    for name, mode in (("upwell.db", 0o600), ("signing.key", 0o640), ("instance-id", 0o644)):
        (folder / name).touch()
        (folder / name).chmod(mode)
    return folder


def test_modes_of_secrets_are_told(data: Path) -> None:
    found = look_at_folder(data, NOW)

    assert (found.folder.mode, found.folder.owner) == (0o750, os.geteuid())
    modes = {Path(file.path).name: file.mode for file in found.secrets}
    assert modes == {"upwell.db": 0o600, "signing.key": 0o640}
    assert (found.admin_token_age, found.admin_uses) == (None, ())


def test_folders_that_keep_what_is_below_are_told(data: Path) -> None:
    for name, mode in (("workloads", 0o755), ("tls", 0o700), ("registry", 0o755)):
        (data / name).mkdir()
        (data / name).chmod(mode)
    (data / "workloads" / "tls.key").touch(mode=0o644)  # a mounted Secret's, say

    modes = {Path(file.path).name: file.mode for file in look_at_folder(data, NOW).secrets}

    assert modes == {"upwell.db": 0o600, "signing.key": 0o640, "workloads": 0o755, "tls": 0o700}


def test_uses_of_the_present_own_token_over_the_network_are_told(data: Path) -> None:
    token = data / "admin.token"
    token.touch(mode=0o600)
    made = (NOW - timedelta(days=10)).timestamp()
    os.utime(token, (made, made))
    (data / "audit.log").write_text(
        line("system:admin", "10.0.0.9", 11)  # the token of that time was replaced
        + line("system:admin", "10.0.0.7", 3)
        + line("system:admin", "10.0.0.7", 2)
        + line("system:admin", "127.0.0.1", 1)
        + line("system:admin", "uid 0", 1)
        + line("ci", "10.0.0.8", 1)
        + '["no", "event"]\n{"user": "system:admin"}\n\nhalf a li'
    )

    found = look_at_folder(data, NOW)
    assert found.admin_token_age == timedelta(days=10)
    assert found.admin_uses == (
        AdminUse("10.0.0.7", (NOW - timedelta(days=2)).isoformat()),
        AdminUse("127.0.0.1", (NOW - timedelta(days=1)).isoformat()),
    )


def test_of_a_large_log_the_end_is_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "_AUDIT_BYTES", 300)
    token = data / "admin.token"
    token.touch()
    os.utime(token, (0, 0))
    lines = [line("system:admin", f"10.0.0.{number}", 1) for number in range(9)]
    (data / "audit.log").write_text("".join(lines))

    uses = look_at_folder(data, NOW).admin_uses
    assert [use.source for use in uses] == ["10.0.0.7", "10.0.0.8"]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user")
def test_a_folder_that_another_user_asks_about_is_not_said_to_be_safe() -> None:
    with TemporaryDirectory(prefix="upwell-", dir="/tmp") as parent:
        Path(parent).chmod(0o755)
        data = Path(parent, "data")
        data.mkdir(mode=0o700)
        (data / "signing.key").touch(mode=0o644)
        os.seteuid(65534)
        try:
            with pytest.raises(PermissionError) as refused:
                look_at_folder(data, NOW)
        finally:
            os.seteuid(0)
        assert refused.value.filename == str(data)
        assert look_at_folder(data, NOW).secrets


async def test_without_a_server_nothing_is_said_of_one(data: Path) -> None:
    with pytest.raises(NoServerError, match="no server runs from"):
        await look_at_server(data, NOW)
