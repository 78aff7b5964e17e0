"""Errors that end a command, and exit codes."""

from enum import IntEnum
from typing import IO, Any, override

import click

from upwell.cli.core.terminal import echo


class Exit(IntEnum):
    """Exit codes that a script can rely on."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    TIMEOUT = 5
    INTERRUPTED = 130


class CommandError(click.ClickException):
    """Error that ends the command; the message names the object and the next step."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc] # click declares it for the class only

    @override
    def show(self, file: IO[Any] | None = None) -> None:
        echo(f"error: {self.message}", file=file, err=file is None)
        from upwell.cli.hints.troubleshooting import section_of  # noqa: PLC0415 - of errors alone

        if section := section_of(self.message):
            echo(f"help: `upwell help troubleshooting {section}`", file=file, err=file is None)
