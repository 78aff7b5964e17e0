"""Options of commands that follow images for services."""

from collections.abc import Callable
from typing import Any

from upwell.cli.core.kept_options import keep_option


def snapshot_option(kind: type[Any]) -> Callable[[Any], Any]:
    """Return a decorator that adds `--snapshot`, kept in the field `snapshot` of `kind`."""
    return keep_option(
        kind,
        "snapshot",
        "--snapshot",
        is_flag=True,
        help="Copy volumes before each update, and put them back when the new image never serves.",
    )
