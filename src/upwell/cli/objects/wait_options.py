"""Options of commands that may wait until what they have made runs."""

from collections.abc import Callable
from typing import Any

from upwell.cli.core.durations import TIMEOUT
from upwell.cli.core.kept_options import keep_option


def wait_option(kind: type[Any], text: str) -> Callable[[Any], Any]:
    """Return a decorator that adds `--wait/--no-wait`, kept in the field `wait` of `kind`.

    None: it waits where a person looks on. `text` is its help.
    """
    return keep_option(
        kind, "wait", "--wait/--no-wait", default=None, show_default="on a terminal", help=text
    )


def timeout_option(kind: type[Any]) -> Callable[[Any], Any]:
    """Return a decorator that adds `--timeout`, kept in the field `timeout` of `kind`, in s."""
    return keep_option(
        kind,
        "timeout",
        "--timeout",
        type=TIMEOUT,
        default="10m",
        show_default=True,
        help="Time limit of --wait; 0 for none.",
    )
