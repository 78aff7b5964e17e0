"""The tests that docs/threat-model.md names for attacks that once worked."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

HEADING = "## Attacks that once worked, and the tests that repeat them"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[list[str]]:
    """Return the cells of each line of the table."""
    text = (ROOT / "docs" / "threat-model.md").read_text()
    section = text.partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    return [line.strip("| ").split(" | ") for line in lines]


def missing(cell: str) -> Iterator[str]:
    """Yield the names of a cell, each of which should be a test, that name none."""
    for name in cell.split(", "):
        match = _TEST.fullmatch(name)
        path = ROOT / match[1] if match else None
        if match is None or path is None or not path.is_file() or match[2] not in defined_in(path):
            yield name


def defined_in(path: Path) -> set[str]:
    """Return the names of the tests of a module, those in classes too."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {
        one.name for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, functions)
    }
    return {name for name in found if name.startswith("test_")}


def test_each_attack_says_what_stops_it_and_names_tests_that_exist() -> None:
    found = rows()
    assert len(found) > 20
    assert [row for row in found if len(row) != 3] == []
    assert [name for row in found for name in missing(row[2])] == []


def test_a_test_that_is_gone_is_found() -> None:
    here = "tests/unit/test_threat_model.py"
    gone = [f"`{here}::test_gone`", f"`{here}::rows`", "`tests/gone.py::test_a`", "in words", ""]
    there = f"`{here}::test_a_test_that_is_gone_is_found`"
    assert list(missing(", ".join([there, *gone]))) == gone
