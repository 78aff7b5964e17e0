"""The commands' help: in step with docs/cli.md, complete, and quick to print."""

import subprocess
import sys

import click
import pytest
from tests.support.cli.reference import PAGE, render

from upwell.cli import main
from upwell.cli.program import COMMANDS

_OWN = sorted(COMMANDS.keys() - {"serve", "demo", "doctor"})


def _commands() -> list[tuple[str, click.Command]]:
    found = []
    for name in _OWN:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {inner}", part) for inner, part in command.commands.items()]
    return found


def test_the_page_is_the_help() -> None:
    assert PAGE.read_text() == render(), "run: python -m tests.support.cli.reference"


@pytest.mark.parametrize(("name", "command"), _commands())
def test_each_command_has_examples_and_each_option_its_help(
    name: str, command: click.Command
) -> None:
    assert f"upwell {name}" in (command.epilog or "")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            needs_default = not parameter.is_flag and not parameter.required
            if needs_default and not parameter.multiple:
                shown = parameter.show_default or "default" in parameter.help
                assert shown, parameter.name


@pytest.mark.parametrize("name", _OWN)
def test_the_list_of_commands_points_at_commands(name: str) -> None:
    assert COMMANDS[name].load().name == name


def test_the_help_imports_no_command_and_no_model() -> None:
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from upwell.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "heavy = {'pydantic', 'aiohttp', 'yaml', 'rich', 'upwell.app', 'upwell.cli.objects.get'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []
