"""Progress of what takes long: one line on a terminal, and nothing in a pipe or with --quiet."""

import sys
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from upwell.cli.core.terminal import are_notes_silenced, echo_anew

_STEP_SECONDS = 0.2
"""The least time between two texts of a line: a person reads no faster."""
_MIB = 1024 * 1024


class ProgressLine:
    """A line of stderr that says how far something is, and that is gone once that is over.

    What else is written meanwhile comes after `clear`.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        is_terminal: bool | None = None,
    ) -> None:
        is_terminal = sys.stderr.isatty() if is_terminal is None else is_terminal
        self._is_shown = is_terminal and not are_notes_silenced()
        self._monotonic = monotonic
        self._last, self._since = "", float("-inf")

    @property
    def is_shown(self) -> bool:
        """True on a terminal; elsewhere what is worth keeping is written in lines."""
        return self._is_shown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def show(self, text: str, *, at_once: bool = True) -> None:
        """Show a text in place of the last one; unless `at_once`, not more often than is read."""
        now = self._monotonic()
        if not self._is_shown or text == self._last:
            return
        if not at_once and now - self._since < _STEP_SECONDS:
            return
        self._last, self._since = text, now
        echo_anew(text)

    def show_bytes(self, what: str, done: int, total: int | None = None) -> None:
        """Show how many bytes of something are done."""
        of_all = f" of {total / _MIB:.1f}" if total is not None else ""
        self.show(f"{what}: {done / _MIB:.1f}{of_all} MiB", at_once=done == total)

    def clear(self) -> None:
        """Take the line away."""
        if self._last:
            self._last = ""
            echo_anew("")


async def counted(
    pieces: AsyncIterator[bytes], what: str, total: int | None = None
) -> AsyncIterator[bytes]:
    """Yield the pieces of something that is sent, and show how much of it is."""
    with ProgressLine() as line:
        done = 0
        async for piece in pieces:
            yield piece
            done += len(piece)
            line.show_bytes(what, done, total)
