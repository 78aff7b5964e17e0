"""Manual pages (man(7)) made from the help of the commands."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from upwell import __version__

_WIDTH = 78


def write_manual(root: click.Context, folder: Path) -> int:
    """Write `upwell.1` and a page for each command; return how many. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = dict(manual_pages(root))
    for name, text in pages.items():
        (folder / f"{name}.1").write_text(text, encoding="utf-8")
    return len(pages)


def manual_pages(root: click.Context) -> Iterator[tuple[str, str]]:
    """Yield the name and text of each page: `upwell`, `upwell-get`, `upwell-rollout-undo`, …."""
    for path, context in _contexts(root.command, "upwell", None):
        yield path.replace(" ", "-"), _page(path, context)


def _contexts(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[tuple[str, click.Context]]:
    context = click.Context(
        command,
        parent,
        name,
        **{**command.context_settings, "terminal_width": _WIDTH, "max_content_width": _WIDTH},
    )
    path = name if parent is None else context.command_path
    yield path, context
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            part = command.get_command(context, inner)
            if part is not None and not part.hidden:
                yield from _contexts(part, inner, context)


def _page(path: str, context: click.Context) -> str:
    command = context.command
    lines = [
        f'.TH "{path.replace(" ", "-").upper()}" 1 "" "upwell {__version__}" "Upwell Manual"',
        ".SH NAME",
        f"{_escaped(path.replace(' ', '-'))} \\- {_escaped(command.get_short_help_str(200))}",
        ".SH SYNOPSIS",
        f".B {_escaped(path)}",
        _escaped(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_paragraphs(command.help or ""),
    ]
    own = [one.get_help_record(context) for one in command.get_params(context)]
    if records := [one for one in own if one is not None]:
        lines.append(".SH OPTIONS")
        for names, text in records:
            lines += [".TP", f".B {_escaped(names)}", _escaped(text)]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for inner in command.list_commands(context):
            part = command.get_command(context, inner)
            if part is not None and not part.hidden:
                lines += [".TP", f".BR {_escaped(path.replace(' ', '-'))}\\-{_escaped(inner)} (1)"]
                lines.append(_escaped(part.get_short_help_str(200)))
    lines += _paragraphs(command.epilog or "", of_blocks=True)
    if context.parent is not None:
        lines += [".SH SEE ALSO", ".BR upwell (1),", ".BR upwell\\-options (1)"]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str, *, of_blocks: bool = False) -> Iterator[str]:
    """Yield paragraphs; those that click does not wrap begin with a backspace."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [line for line in paragraph.splitlines() if line.strip()]
        if lines and lines[0].strip() == "\b":
            title, *rest = lines[1:]
            if of_blocks:
                yield f".SH {_escaped(title.rstrip(':').upper())}"
            else:
                yield _escaped(title)
            yield from (".nf", *(_escaped(line.removeprefix("  ")) for line in rest), ".fi")
        elif lines:
            yield ".PP"
            yield _escaped(" ".join(line.strip() for line in lines))


def _escaped(text: str) -> str:
    """Return text in which roff finds no request and no escape (groff(7))."""
    text = " ".join(text.split("\n")).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
