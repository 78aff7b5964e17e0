"""The record of ratios: `make benchmark` points out each that fell behind by a third."""

import os

import pytest
from tests.support.benchmarks.ratios import Ratios

# Where it is set, each start of a program compiles all of its modules: no installation does that.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_RATIOS = pytest.StashKey[Ratios]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept-ratios",
        action="store_true",
        help="record all ratios of this run, those that fell as well",
    )


@pytest.fixture
def ratios(pytestconfig: pytest.Config) -> Ratios:
    """Ratios to a peer, or to another way of the same, of this run."""
    return pytestconfig.stash.setdefault(_RATIOS, Ratios.of())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    found = config.stash.get(_RATIOS, None)
    if found is None:
        return
    accept = bool(config.getoption("--accept-ratios", default=False))
    if fallen := found.report():
        terminalreporter.section("Fell behind by a third", red=True)
        for line in fallen:
            terminalreporter.line(line, red=True)
        if not accept:
            terminalreporter.line("(ARGS=--accept-ratios records them as they are now)")
    elif count := len(found.measured):
        terminalreporter.line(f"None of {count} ratios fell by a third since it was recorded.")
    found.record(accept=accept)
