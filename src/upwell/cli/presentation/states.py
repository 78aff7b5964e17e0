"""Words of states, coloured on a terminal; tables that fit its width."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import click

from upwell.cli.core.output import aligned, column_widths, on_one_line
from upwell.cli.core.terminal import echo

_COLOURS: Mapping[str, Sequence[str]] = {
    "green": (
        *("Active", "Available", "Bound", "Complete", "Completed", "Ready", "Running"),
        *("Succeeded", "Verified", "current", "passed", "serves", "verified"),
    ),
    "red": (
        *("CrashLoopBackOff", "Degraded", "ErrImagePull", "Error", "Evicted", "Failed"),
        *("ImagePullBackOff", "OOMKilled", "Rejected", "failed", "rejected", "!"),
    ),
    "yellow": (
        *("Cancelled", "ContainerCreating", "New", "Paused", "Pending", "Progressing"),
        *("Terminating", "Unknown", "Verifying", "Waiting", "behind", "held", "outdated", "paused"),
    ),
}
_COLOUR_OF = {word: colour for colour, words in _COLOURS.items() for word in words}
_CUT = "…"
_NARROWEST = 8
"""Characters that are left of a column."""
_GAP = 3


def echo_states(line: str) -> None:
    """Write a line to stdout; on a terminal its words of states have colours (--color)."""
    echo(line, style=lambda text: _word().sub(_styled, text))


def echo_table(rows: Sequence[Sequence[str]], *, is_wide: bool = False) -> None:
    """Write rows with aligned columns; those that are not `is_wide` fit a terminal's width."""
    width = None if is_wide or not sys.stdout.isatty() else _terminal_width()
    for line in aligned(rows if width is None else list(fitted(rows, width))):
        echo_states(line)


def _terminal_width() -> int:
    import shutil  # noqa: PLC0415 - loads archives, which takes a hundredth of a second

    return shutil.get_terminal_size().columns


def fitted(rows: Sequence[Sequence[str]], width: int) -> Iterator[Sequence[str]]:
    """Yield rows whose widest columns are cut, so that a line has at most `width` characters.

    The first column stays whole, and no column becomes narrower than 8 characters or its title.
    """
    widths = column_widths(rows)
    least = [
        min(now, max(_NARROWEST, len(title))) for now, title in zip(widths, rows[0], strict=True)
    ]
    least[0] = widths[0]
    over = sum(widths) + _GAP * (len(widths) - 1) - width
    while over > 0:
        at = max(range(len(widths)), key=lambda one: widths[one] if widths[one] > least[one] else 0)
        if widths[at] <= least[at]:
            break
        widths[at] -= 1
        over -= 1
    for row in rows:
        yield [_cut(cell, wide) for cell, wide in zip(row, widths, strict=True)]


def _cut(cell: str, width: int) -> str:
    cell = on_one_line(cell)
    return cell if len(cell) <= width else cell[: width - len(_CUT)] + _CUT


@cache
def _word() -> re.Pattern[str]:
    """Return the pattern of a word of a state, which is no part of a name, a path or an image."""
    words = "|".join(sorted(map(re.escape, _COLOUR_OF), key=len, reverse=True))
    return re.compile(rf"(?<![^\s(\[])(?:{words})(?![^\s,;:)\]])")


def _styled(found: re.Match[str]) -> str:
    return click.style(found[0], fg=_COLOUR_OF[found[0]])
