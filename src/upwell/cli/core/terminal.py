r"""Output for people, in which nothing that an object says acts on the terminal.

Names, causes and logs are written by others. An escape sequence among them may retitle a window,
hide lines or answer for the person: so control characters are shown, as `\x1b`, and not sent.
"""

import re
import shutil
import sys
from collections.abc import Callable
from typing import IO, Any

import click

_CONTROLS = re.compile(
    # C0 but tab and line feed, DEL, C1; marks that turn the direction of text; no characters.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SEQUENCE = re.compile(
    rb"(?P<colour>\x1b\[[0-9;:]{0,32}m)|[\x00-\x07\x0b\x0c\x0e-\x1f\x7f]|\xc2(?P<c1>[\x80-\x9f])"
)
_CUT = re.compile(rb"(?:\x1b(?:\[[0-9;:]{0,32})?|\xc2)\Z")
"""End of a piece that the next one may make a colour, or a control character of."""


def shown(text: str) -> str:
    r"""Return text with its control characters as `\x1b` or `\u202e`; lines and tabs stay."""
    return _CONTROLS.sub(_escape, text)


def echo(
    text: object = "",
    *,
    err: bool = False,
    nl: bool = True,
    file: IO[Any] | None = None,
    style: Callable[[str], str] = str,
) -> None:
    """Write text for people to stdout or stderr, or `file`.

    With --quiet, of what goes to stderr only errors and warnings are written. `style` may add
    colours, which click leaves out where there is no terminal.
    """
    line = style(shown(str(text)))
    if not (err and are_notes_silenced() and not line.startswith(_NO_NOTES)):
        click.echo(line, err=err, nl=nl, file=file)


def echo_request(text: str) -> None:
    """Write to stderr what a person has to act on: --quiet leaves it."""
    click.echo(shown(text), err=True)


def echo_anew(line: str) -> None:
    """Write a line to a terminal's stderr in place of the last that was written so; "": remove it.

    What is longer than the terminal is wide is cut: of a line that wraps, the next one would
    replace the last row alone.
    """
    width = max(shutil.get_terminal_size().columns - 1, 1)
    text = shown(line).replace("\n", " ").replace("\t", " ")
    click.echo(f"{_ANEW}{text[:width]}", err=True, nl=False, color=True)


_ANEW = "\r\x1b[K"
"""To the beginning of the line, which is emptied (ECMA-48, EL)."""
_NO_NOTES = ("error: ", "warning: ", "cause: ")
_SILENT = "upwell.cli.core.terminal.silent"


def silence_notes(ctx: click.Context) -> None:
    """Have the present call write no notes (--quiet)."""
    ctx.meta[_SILENT] = True


def are_notes_silenced() -> bool:
    """Return whether the present call has --quiet."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and _SILENT in ctx.meta


def json_shown(text: str) -> str:
    """Return JSON with those control characters as JSON escapes that JSON itself lets stand."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_text(text: str) -> None:
    """Write text to stdout, without another line's end; what goes into a file is left as it is."""
    click.echo(shown(text) if sys.stdout.isatty() else text, nl=False)


class LogFilter:
    """A log on its way to a terminal: colours, returns and backspaces stay, the rest is shown.

    What goes into a file or a pipe is left as it is.
    """

    def __init__(self, *, is_terminal: bool | None = None) -> None:
        self._is_terminal = sys.stdout.isatty() if is_terminal is None else is_terminal
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        """Return what of the log may be written now."""
        if not self._is_terminal:
            return piece
        piece = self._rest + piece
        cut = _CUT.search(piece)
        self._rest = b"" if cut is None else cut[0]
        return _SEQUENCE.sub(_shown_bytes, piece[: len(piece) - len(self._rest)])

    def end(self) -> bytes:
        """Return what is left of a log that has ended."""
        rest, self._rest = self._rest, b""
        return _SEQUENCE.sub(_shown_bytes, rest)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - two digits


def _shown_bytes(found: re.Match[bytes]) -> bytes:
    if found["colour"] is not None:
        return found[0]
    return b"\\x%02x" % (found["c1"] or found[0])[0]
