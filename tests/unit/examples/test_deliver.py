"""The example's `deliver`: it brings a Release into a stage, and says how its tests went there."""

import subprocess
from pathlib import Path

import pytest
from tests.support.paths import ROOT

DELIVER = ROOT / "examples" / "ci-buildbot" / "source" / "deliver"
UPWELL = """\
#!/bin/sh
echo "$*" >> calls
case "$*" in *" --failed "*) exit 1 ;; esac
"""


@pytest.mark.parametrize(("passes", "verdict"), [(True, "--passed"), (False, "--failed")])
def test_the_verdict_is_that_of_the_stages_tests(
    tmp_path: Path,
    passes: bool,  # noqa: FBT001 - pytest passes parameters by name
    verdict: str,
) -> None:
    upwell = tmp_path / "upwell"
    upwell.write_text(UPWELL)
    upwell.chmod(0o755)
    tests = tmp_path / "integration" / "test_stage.py"
    tests.parent.mkdir()
    tests.write_text(
        "import unittest\n\n\nclass Stage(unittest.TestCase):\n"
        f"    def test_it(self):\n        self.assertTrue({passes})\n"
    )
    done = subprocess.run(
        [DELIVER, "greeter-2", "dev"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    told = f"verify greeter-2 --stage dev {verdict} --evidence report-dev.txt --wait --timeout 15m"
    assert (tmp_path / "calls").read_text().splitlines() == [
        "promote greeter-2 --stage dev --wait-serving --timeout 30m",
        told,
    ]
    assert done.returncode == (0 if passes else 1), done.stderr
    assert ("FAILED (failures=1)" in done.stdout) is not passes
    assert (tmp_path / "report-dev.txt").read_text() in done.stdout
