"""Commands that create one object out of arguments: their options, and the object's document."""

from collections.abc import Callable
from typing import Any

import click

from upwell.cli.changes.creating import create_documents
from upwell.cli.changes.writing import WritingOptions, write_options
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import kept

type Document = dict[str, Any]

NAME_ARGUMENT = click.argument("name", metavar="NAME")
COMMAND_ARGUMENT = click.argument(
    "command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]"
)


def creates(name: str, *lines: str) -> Callable[[Callable[..., Document]], click.Command]:
    """Return a decorator for a function that makes the document of a new object.

    It makes a command of that name, with `lines` as examples, which creates the object; the
    options of writing and of the connection are added.
    """

    def decorate(make: Callable[..., Document]) -> click.Command:
        def run(*arguments: Any, **options: Any) -> None:
            ctx = click.get_current_context()
            session: Session = ctx.ensure_object(Session)
            create_documents(session, [make(*arguments, **options)], kept(ctx, WritingOptions))

        run.__doc__ = make.__doc__
        run.__click_params__ = getattr(make, "__click_params__", [])  # type: ignore[attr-defined]
        decorated = connection_options(run)
        return click.command(name, epilog=examples(*lines))(write_options()(decorated))

    return decorate


def new_object(api_version: str, kind: str, name: str, **fields: Any) -> Document:
    """Return the document of an object of a kind; `fields` stand beside its metadata."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}
