"""Render docs/cli.md from the commands' own help: `python tests/unit/cli/reference.py`."""

from collections.abc import Iterator
from pathlib import Path

import click

from upwell.cli import main
from upwell.cli.program import COMMANDS

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"
_ELSEWHERE = {"serve", "demo", "doctor"}
"""Commands that work on the machine itself; `upwell COMMAND --help` tells about them."""
_INTRODUCTION = """\
# The command line

`upwell` is a client of the API, of one machine and of a cluster alike, except for `serve`, `demo`
and `doctor`, which work on the machine itself (`upwell serve --help`).

The result of a command goes to stdout, everything else to stderr. Nothing is coloured. This page
is the commands' own help, and a test holds it to that.
"""


def render() -> str:
    """Return the text of the page."""
    parts = [_INTRODUCTION, _section("upwell", _help(main, "upwell", None))]
    for name in sorted(COMMANDS.keys() - _ELSEWHERE):
        command = main.get_command(click.Context(main), name)
        if command is not None:
            parts.extend(_sections(command, f"upwell {name}"))
    return "\n".join(parts)


def _sections(command: click.Command, path: str) -> Iterator[str]:
    yield _section(path, _help(command, path, None))
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from _sections(inner, f"{path} {name}")


def _help(command: click.Command, path: str, parent: click.Context | None) -> str:
    with click.Context(command, parent, path, terminal_width=88) as context:
        return command.get_help(context)


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(render())
