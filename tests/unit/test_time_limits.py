"""Every test has a limit of time, and no unit test gets a second try; a killed run cleans up."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.paths import ROOT

_SHORT_CLEANUP = """\
from tests import conftest
from tests.conftest import pytest_exception_interact, pytest_runtest_setup

conftest.CLEANUP_SECONDS = 0.2
"""
_FAILS_THEN_IS_SLOW = """\
import time

import pytest

tries = []


@pytest.mark.flaky(reruns=1)
def test_slow():
    tries.append(1)
    assert len(tries) > 1
    time.sleep(0.4)  # longer than a cleanup may take
"""

_IS_KILLED = """\
import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest


@contextlib.asynccontextmanager
async def made(name):
    try:
        yield
    finally:
        await asyncio.sleep(0)
        Path(name).touch()


@pytest.fixture
async def fixture():
    async with made("fixture"):
        yield


async def test_killed(fixture):
    async with made("test"):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)
"""


def test_every_test_has_a_limit_of_time(request: pytest.FixtureRequest) -> None:
    unlimited = [
        one.nodeid
        for one in request.session.items
        if (limit := one.get_closest_marker("timeout")) is None or not 0 < limit.args[0] <= 3600
    ]
    assert unlimited == []


def test_only_tests_among_real_parts_are_tried_again(request: pytest.FixtureRequest) -> None:
    tried_again = {
        one.path.relative_to(request.config.rootpath).parts[1]
        for one in request.session.items
        if one.get_closest_marker("flaky") is not None
    }
    assert tried_again <= {"contract", "integration", "acceptance"}
    assert request.config.getoption("reruns") is None


def test_a_second_try_has_its_whole_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time left from a failure's cleanup would end the process in the middle of a long try."""
    (tmp_path / "conftest.py").write_text(_SHORT_CLEANUP)
    (tmp_path / "test_slow.py").write_text(_FAILS_THEN_IS_SLOW)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", tmp_path, "-o", "faulthandler_timeout=50"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert "1 passed, 1 rerun" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("shell", ["", "trap '' INT; "], ids=["foreground", "background"])
def test_a_run_that_is_ended_by_sigterm_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    """Or servers and containers of the test would go on without it."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_sessionstart")
    (tmp_path / "test_killed.py").write_text(_IS_KILLED)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytest_run = [sys.executable, "-m", "pytest", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        ["sh", "-c", f'{shell}exec "$@"', "sh", *pytest_run, "-o", "asyncio_mode=auto"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert (tmp_path / "test").exists()
    assert (tmp_path / "fixture").exists()
