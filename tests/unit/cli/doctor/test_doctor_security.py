"""`upwell doctor --security`: what it writes, and its exit code."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from upwell.cli import main
from upwell.policy.hardening.checks import NAMES
from upwell.policy.hardening.findings import Finding, FlawSeverity

FINE = Finding("tls", FlawSeverity.OK, "", "it speaks TLS")
WARNED = Finding("token-ends", FlawSeverity.WARN, "token/ci", "it has no end", "make another")
FAILED = Finding("firewall", FlawSeverity.FAIL, "[network]", "off\nat all", "turn it on")


@pytest.mark.parametrize(
    ("findings", "code", "status", "conclusion"),
    [
        ([FINE], 0, "ok", "Everything that was looked at is as docs/hardening.md asks"),
        ([FINE, WARNED], 0, "warn", "could be safer: token-ends"),
        ([WARNED, FAILED, FAILED], 1, "fail", "failed: firewall; could be safer: token-ends"),
    ],
)
def test_the_worst_finding_decides(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    findings: list[Finding],
    code: int,
    status: str,
    conclusion: str,
) -> None:
    async def examine(data_dir: Path) -> list[Finding]:
        assert data_dir == tmp_path
        return findings

    monkeypatch.setattr("upwell.cli.doctor.security.examine_security", examine)
    command = ["doctor", "--security", "--data-dir", str(tmp_path)]

    table = CliRunner().invoke(main, command)
    assert (table.exit_code, table.output.splitlines()[-1]) == (code, conclusion)
    for one in findings:
        assert " ".join(one.reason.split()) in table.output
        assert one.object in table.output
        assert f"remedy: {one.remedy}" in table.output or not one.remedy

    document = CliRunner().invoke(main, [*command, "-o", "json"])
    found = json.loads(document.output)
    assert (document.exit_code, found["status"]) == (code, status)
    assert [set(one) for one in found["checks"]] == [
        {"name", "status", "object", "detail", "remedy"} for _ in findings
    ]
    assert [one["object"] for one in found["checks"]] == [one.object for one in findings]


def test_without_a_server_only_files_are_judged(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    done = CliRunner().invoke(main, ["doctor", "--security", f"--data-dir={tmp_path}", "-ojson"])

    checks = {one["name"]: one for one in json.loads(done.output)["checks"]}
    assert done.exit_code == 1
    assert checks["data-folder-mode"]["status"] == "fail"
    assert checks["private-files"]["status"] == "ok"
    assert checks["server"]["status"] == "fail"
    unseen = set(NAMES) - set(checks)
    assert {"tls", "token-ends", "host-access"} <= unseen
    assert all(name in checks["server"]["remedy"] for name in unseen)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    done = CliRunner().invoke(main, ["doctor", "--security", f"--data-dir={folder}", "-ojson"])

    [found] = json.loads(done.output)["checks"]
    assert (done.exit_code, found["status"], found["object"]) == (1, "fail", str(folder))
    assert not folder.exists()
