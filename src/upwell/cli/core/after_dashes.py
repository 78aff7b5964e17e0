"""Commands whose words after `--` are those of another program."""

from typing import override

import click

_KEY = "upwell.cli.core.after_dashes"


class CommandAfterDashes(click.Command):
    """A command whose words after `--` are kept apart from its own."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_KEY] = tuple(args[at + 1 :])
            args = args[:at]
        return super().parse_args(ctx, args)


def words_after_dashes(ctx: click.Context) -> tuple[str, ...]:
    """Return the words after `--` of the present call."""
    words: tuple[str, ...] = ctx.meta.get(_KEY, ())
    return words
