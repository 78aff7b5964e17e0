"""`upwell help`: the help of commands, and pages about topics; `upwell options`."""

import shutil
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import click

from upwell.cli.core.connection import SHOWS_GLOBAL_OPTIONS, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.help.topics import pages_folder, sections, title_of, topics

_PAGE = "docs/"
"""Begins a topic whose name is a command's too."""


@click.command(
    "help",
    epilog=examples(
        "upwell help",
        "upwell help rollout undo",
        "upwell help topics",
        "upwell help troubleshooting no-server",
        "upwell help docs/rebase",
        "upwell help --man /usr/local/share/man/man1",
    ),
)
@click.argument("words", nargs=-1, metavar="[COMMAND... | TOPIC [SECTION] | topics]")
@click.option(
    "--man",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    show_default="none",
    metavar="FOLDER",
    help="Write the manual pages of all commands into a folder.",
)
@connection_options
@click.pass_context
def help_command(ctx: click.Context, words: tuple[str, ...], man: Path | None) -> None:
    """Show the help of a command, or a page about a topic.

    A topic is a page of the documentation; `docs/TOPIC` names the page of one that is a command
    too. A SECTION of it is named as links name it: `full-disk`.
    """
    if man is not None:
        from upwell.cli.help.manual import write_manual  # noqa: PLC0415 - of packagers

        echo(f"{write_manual(ctx.find_root(), man)} manual pages written to {man}", err=True)
        return
    if not words:
        echo(ctx.find_root().get_help())
        echo("\n`upwell help topics` lists the pages about topics.", err=True)
        return
    if words == ("topics",):
        _list_topics()
    elif (text := _help_of(ctx, words)) is not None:
        echo(text)
        if words[0] in topics(_folder()):
            echo(f"\n`upwell help {_PAGE}{words[0]}` shows the page about it.", err=True)
    else:
        _show_page(_page_text(ctx, words))


@click.command("options", epilog=examples("upwell options", "upwell get pods -n shop -v"))
@connection_options
@click.pass_context
def options(ctx: click.Context) -> None:
    """List the options that every command takes, before or after its name."""
    ctx.meta[SHOWS_GLOBAL_OPTIONS] = True
    formatter = ctx.make_formatter()
    records = [one.get_help_record(ctx) for one in ctx.command.params]
    with formatter.section("Options of every command"):
        formatter.write_dl([one for one in records if one is not None])
    echo(formatter.getvalue().rstrip())


def _folder() -> Path:
    folder = pages_folder()
    if folder is None:
        raise CommandError("the pages of the documentation are not installed here", Exit.NOT_FOUND)
    return folder


def _list_topics() -> None:
    rows = [(name, title_of(page)) for name, page in topics(_folder()).items()]
    width = max(len(name) for name, _ in rows)
    for name, title in rows:
        echo(f"{name.ljust(width)}  {title}")


def _help_of(ctx: click.Context, words: Sequence[str]) -> str | None:
    """Return the help of a command; None if the words name none."""
    context = ctx.find_root()
    for word in words:
        command = context.command
        if not isinstance(command, click.Group):
            return None
        found = command.get_command(context, word)
        if found is None:
            return None
        context = click.Context(found, parent=context, info_name=word)
    return context.get_help()


def _page_text(ctx: click.Context, words: Sequence[str]) -> str:
    """Return a page, or a section of it; raises click.UsageError."""
    known = topics(_folder())
    name, *rest = words
    topic = name.removeprefix(_PAGE).removesuffix(".md").lower()
    if topic not in known:
        root = ctx.find_root()
        assert isinstance(root.command, click.Group)  # noqa: S101 - for types: `upwell` is one
        near = get_close_matches(name, [*known, *root.command.list_commands(root)])
        hint = f"did you mean {', '.join(near)}?" if near else "`upwell help topics` lists topics"
        raise click.UsageError(f"{' '.join(words)!r} is no command and no topic; {hint}", ctx)
    text = known[topic].read_text(encoding="utf-8")
    if not rest:
        return text
    parts = sections(text)
    wanted = rest[0].lstrip("#").lower()
    if wanted not in parts or len(rest) > 1:
        raise click.UsageError(
            f"{topic} has no section {' '.join(rest)!r}: {', '.join(parts)}", ctx
        )
    return parts[wanted]


def _show_page(text: str) -> None:
    """Print a page as it is; on a terminal laid out, page by page."""
    if not sys.stdout.isatty():
        echo(text, nl=False)
        return
    from rich.console import Console  # noqa: PLC0415 - takes long to load
    from rich.markdown import Markdown  # noqa: PLC0415 - the same

    width = min(shutil.get_terminal_size().columns, 120)
    console = Console(width=width)
    with console.capture() as captured:
        console.print(Markdown(text))
    click.echo_via_pager(captured.get())
