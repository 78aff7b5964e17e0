"""docs/hardening.md names every check of `upwell doctor --security`, and no other."""

import re

from tests.support.paths import ROOT

from upwell.policy.hardening.checks import NAMES

_COLUMNS = 4


def rows() -> list[list[str]]:
    """Return the cells of the lines of the list."""
    lines = (ROOT / "docs" / "hardening.md").read_text().splitlines()
    tables = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")]
    return [row for row in tables if row[0].strip() not in {"do", "---"}]


def test_the_list_and_the_checks_are_the_same() -> None:
    named = [match[1] for row in rows() if (match := re.fullmatch(r"`([a-z-]+)` ?", row[-1]))]
    assert len(named) == len(rows()), "a line without a check"
    assert sorted(named) == sorted(NAMES)


def test_every_line_says_what_it_defends_from_and_how() -> None:
    assert all(len(row) == _COLUMNS and all(cell.strip() for cell in row) for row in rows())
