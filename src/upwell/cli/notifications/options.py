"""Option of commands that have somebody told of what becomes of an application."""

from collections.abc import Callable
from typing import Any, override

import click

from upwell.cli.core.kept_options import keep_option


class _Address(click.ParamType[str]):
    """URL of whoever is told; only the server knows whether Apprise takes it."""

    name = "url"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        address = str(value)
        scheme, separator, rest = address.partition("://")
        if not (scheme and separator and rest):
            # What it says may be a token: it is not repeated.
            self.fail(
                "that is no URL: write https://HOST/PATH for a webhook, or one of Apprise's, such"
                " as mailto://USER:PASSWORD@HOST",
                param,
                ctx,
            )
        return address


def notify_option(kind: type[Any]) -> Callable[[Any], Any]:
    """Return a decorator that adds `--notify`, kept in the field `notify` of `kind`."""
    return keep_option(
        kind,
        "notify",
        "--notify",
        type=_Address(),
        multiple=True,
        metavar="URL",
        help="Apprise URL (slack://, mailto://, …) or http(s) webhook to tell; repeatable.",
    )
