"""Words of other tools: each leads to a command that is there, and stands in no command's way."""

import click
import pytest

from upwell.cli import main
from upwell.cli.hints.habits import HABITS


def find(words: str) -> click.Command | None:
    """Return the command that words lead to; what follows a command is its arguments."""
    found: click.Command | None = main
    ctx = click.Context(main)
    for word in words.split():
        if not isinstance(found, click.Group) or word.startswith("-"):
            break
        found = found.get_command(ctx, word)
    return found


@pytest.mark.parametrize(("habit", "instead"), HABITS.items())
def test_a_habit_is_no_command_and_leads_to_one(habit: str, instead: str) -> None:
    assert find(habit) is None
    assert find(instead) is not None
