"""Loading of all tests in each of pytest-xdist's workers: what is costly once is done once.

Every worker collects every test. In a fresh clone all of them would compile the same modules at
the same moment, as they go through the tests in the same order.
"""

import compileall
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis.internal.conjecture import providers

_ROOT = Path(__file__).parents[2]


def compile_share(config: pytest.Config) -> None:
    """Compile one of as many shares as there are workers; the others find it compiled.

    Test modules are loaded for it: pytest compiles them with what their assertions tell. One that
    cannot be loaded is told of when it is collected.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None or sys.dont_write_bytecode:
        return
    _forgo_constants_of_modules()
    share = slice(int(worker["workerid"].removeprefix("gw")), None, worker["workercount"])
    for path in sorted((_ROOT / "src").rglob("*.py"))[share]:
        compileall.compile_file(path, quiet=2)
    for module in sorted(_test_modules(config.args))[share]:
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(module)


def _forgo_constants_of_modules() -> None:
    """Let hypothesis draw no constants of our modules, which each worker would parse for them.

    `make fuzz` and tests without pytest-xdist draw them.
    """
    providers._get_local_constants = lambda: providers._local_constants


def _test_modules(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the modules below the folders of a command line, by pytest's names for them."""
    for argument in arguments:
        for path in Path(argument).resolve().rglob("test_*.py"):
            yield ".".join(path.relative_to(_ROOT).with_suffix("").parts)
