"""The user's own files: kubeconfig and logins."""

from pathlib import Path

from upwell.cli.core.errors import CommandError
from upwell.machine.private_file import write_private


def save_private(path: Path, text: str) -> None:
    """Write a file of mode 0600; raises CommandError."""
    try:
        write_private(path, text)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
