"""Files that only the user can read."""

import os
from pathlib import Path

from upwell.cli.core.errors import CommandError


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 atomically; raises CommandError."""
    draft = path.with_name(f"{path.name}.new")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:  # noqa: PTH123 - the descriptor has the mode already
            file.write(text)
        draft.replace(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
