"""Render docs/cli.md from the commands' own help: `python -m tests.support.cli.reference`."""

from collections.abc import Iterator

import click
from tests.support.paths import ROOT

from upwell.cli import main
from upwell.cli.program import COMMANDS

PAGE = ROOT / "docs" / "cli.md"
_ELSEWHERE = {"serve", "demo", "doctor"}
"""Commands that work on the machine itself; `upwell COMMAND --help` tells about them."""
_INTRODUCTION = """\
# The command line

`upwell` is a client of the API, of one machine and of a cluster alike, except for `serve`, `demo`
and `doctor`, which work on the machine itself (`upwell serve --help`).

The result of a command goes to stdout, everything else to stderr; `--quiet` leaves errors and
warnings of the latter. On a terminal words of states have colours (`--color`, `NO_COLOR`), and
tables are cut to its width (`-o wide`: not). `upwell help` shows this help and the pages of the
documentation, `upwell options` the options of every command. This page is the commands' own help,
and a test holds it to that.
"""


def render() -> str:
    """Return the text of the page."""
    with click.Context(
        main, info_name="upwell", terminal_width=88, **main.context_settings
    ) as root:
        parts = [_INTRODUCTION, _section(root)]
        for name in sorted(COMMANDS.keys() - _ELSEWHERE):
            command = main.get_command(root, name)
            if command is not None:
                parts.extend(_sections(command, name, root))
    return "\n".join(parts)


def _sections(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    with click.Context(command, parent, name, terminal_width=88) as context:
        yield _section(context)
        for inner, part in commands_of(command):
            yield from _sections(part, inner, context)


def commands_of(command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands of a group by name, those too that it loads when they are called."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in sorted(command.list_commands(context)):
            if (part := command.get_command(context, name)) is not None:
                yield name, part


def _section(context: click.Context) -> str:
    text = context.command.get_help(context).rstrip()
    return f"## {context.command_path}\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(render())
