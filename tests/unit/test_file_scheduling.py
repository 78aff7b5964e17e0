"""Scheduling of test files over workers of which one dies."""

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

_CONFTEST = """
from tests.support.file_scheduling import FileScheduling

def pytest_xdist_make_scheduler(config, log):
    return FileScheduling(config, log)
"""
_FILE = "def test_a(): pass\ndef test_b(): pass\ndef test_c(): pass\n"


def test_a_run_whose_worker_dies_ends_with_all_other_tests_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for number in range(8):
        (tmp_path / f"test_{number}.py").write_text(_FILE)
    dies = _FILE.replace("test_b(): pass", "test_b(): __import__('os')._exit(1)")
    (tmp_path / "test_2.py").write_text(dies)
    words = ["pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile"]
    done = subprocess.run(
        [sys.executable, "-m", *words, "--no-loadscope-reorder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "1 failed, 23 passed" in done.stdout, done.stdout
    assert "test_2.py::test_b" in done.stdout
