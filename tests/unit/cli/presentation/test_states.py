"""Colours of words of states, and tables that fit a terminal."""

import click
import pytest
from click.testing import CliRunner

from upwell.cli import main
from upwell.cli.presentation.states import echo_states, fitted


def coloured(line: str, *, color: bool) -> str:
    @click.command()
    def write() -> None:
        echo_states(line)

    return CliRunner().invoke(write, color=color).stdout.rstrip("\n")


def test_words_of_states_have_colours_on_a_terminal_alone() -> None:
    line = "web   Running   0/1 ready, failed"
    assert coloured(line, color=False) == line
    told = coloured(line, color=True)
    assert "\x1b[32mRunning\x1b[0m" in told
    assert "\x1b[31mfailed\x1b[0m" in told


@pytest.mark.parametrize("line", ["failed-jobs", "registry.test/Running", "Error.log", "current=1"])
def test_names_have_none(line: str) -> None:
    assert coloured(line, color=True) == line


def test_what_an_object_says_colours_nothing() -> None:
    assert "\\x1b[31m" in coloured("\x1b[31mred", color=True)


ROWS = [("NAME", "IMAGE", "MESSAGE"), ("shop", "registry.test/shop:1", "no such file\nor folder")]


def test_the_widest_columns_are_cut() -> None:
    titles, row = fitted(ROWS, 40)
    assert titles == ["NAME", "IMAGE", "MESSAGE"]
    assert row[0] == "shop"
    assert all(cell.endswith("…") for cell in row[1:])
    assert sum(map(len, row)) + 2 * 3 == 40


def test_a_narrow_terminal_leaves_eight_characters() -> None:
    assert [len(cell) for cell in list(fitted(ROWS, 5))[1]] == [4, 8, 8]


def test_a_wide_one_leaves_all() -> None:
    assert list(fitted(ROWS, 200))[1] == ["shop", ROWS[1][1], "no such file / or folder"]


@pytest.mark.parametrize(("given", "kept"), [("always", True), ("never", False)])
def test_the_option_outranks_the_terminal(given: str, *, kept: bool) -> None:
    with main.make_context("upwell", ["--color", given, "options"]) as context:
        assert context.color is kept


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with main.make_context("upwell", ["options"]) as context:
        assert context.color is False
    with main.make_context("upwell", ["--color", "always", "options"]) as context:
        assert context.color is True
