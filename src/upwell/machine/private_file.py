"""Files that only their owner can read."""

import os
from pathlib import Path


def write_private(path: Path, content: str | bytes, *, mode: int = 0o600) -> None:
    """Write a file so that a crash leaves the old one or the new one; raises OSError.

    Never wider open than `mode`, not even between creating and writing it.
    """
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - the descriptor has the mode already
        file.write(content.encode() if isinstance(content, str) else content)
    draft.replace(path)
