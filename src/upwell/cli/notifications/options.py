"""Option of commands that have somebody told of what becomes of an application."""

from collections.abc import Callable
from typing import Any

from upwell.cli.core.kept_options import keep_option


def notify_option(kind: type[Any]) -> Callable[[Any], Any]:
    """Return a decorator that adds `--notify`, kept in the field `notify` of `kind`."""
    return keep_option(
        kind,
        "notify",
        "--notify",
        multiple=True,
        metavar="URL",
        help="Apprise URL (slack://, mailto://, …) or http(s) webhook to tell; repeatable.",
    )
