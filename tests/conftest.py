"""Settings of all tests: time limits, second tries, and the profile of hypothesis."""

import faulthandler
import gc
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from hypothesis import HealthCheck, settings
from tests.support.collection import compile_share
from tests.support.file_scheduling import FileScheduling

from upwell.server.asgi.logs import LineFormatter

SECONDS = {
    "unit": 60,
    "contract": 300,
    "integration": 600,
    "acceptance": 900,
    "benchmarks": 3600,
}
"""The longest that a test of each folder may take: several times what it needs."""

TRIED_AGAIN = frozenset({"contract", "integration", "acceptance"})
"""Folders of tests among real parts, which a busy machine may fail: once more, and it is shown."""

CLEANUP_SECONDS = 120
"""The longest that fixtures may take to clean up after a failure."""

# How fast a machine is says nothing of the code.
settings.register_profile("upwell", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("upwell")


def pytest_sessionstart() -> None:
    """Let SIGTERM do as Ctrl-C does: what fixtures have started is ended.

    Shells start what runs in the background with Ctrl-C ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


@pytest.fixture(scope="session", autouse=True)
def _no_logins_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what the developer has logged in to, or adopts, out of all commands that tests run."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Show log records of failed tests with their fields, which say why; messages are constant."""
    logging_plugin = config.pluginmanager.get_plugin("logging-plugin")
    if logging_plugin is not None:
        logging_plugin.report_handler.setFormatter(LineFormatter())


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Load all tests without looks for garbage: nearly everything that is made then stays."""
    gc.disable()
    compile_share(session.config)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FileScheduling | None:
    return FileScheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    counts = Counter(item.nodeid for item in items)
    if doubled := [nodeid for nodeid, count in counts.items() if count > 1]:
        raise pytest.UsageError(f"pytest-xdist runs one of several tests with an id: {doubled[:3]}")
    # The marker would win over `--reruns`, which is of a plugin that `-p no:` may leave out.
    tried_again = TRIED_AGAIN if config.getoption("reruns", default=0) is None else frozenset()
    tests = f"{Path(__file__).parent}/"
    for item in items:
        folder = str(item.path).removeprefix(tests).partition("/")[0]
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS[folder]))
        if folder in tried_again:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Limit the cleanup too: a failure ends the timers of pytest and its plugins."""
    if isinstance(node, pytest.Item):
        _end_process_after(CLEANUP_SECONDS, node.config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give a second try its whole time, not what the cleanup before it has left."""
    _end_process_after(float(item.config.getini("faulthandler_timeout")), item.config)


def _end_process_after(seconds: float, config: pytest.Config) -> None:
    if not config.getoption("usepdb"):
        stderr = config.stash[fault_handler_stderr_fd_key]
        faulthandler.dump_traceback_later(seconds, file=stderr, exit=True)
