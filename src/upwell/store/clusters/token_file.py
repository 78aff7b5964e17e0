"""A token in a file, which whoever issues it replaces before it expires."""

import threading
from pathlib import Path

MAX_TOKEN_BYTES = 64 * 1024


class RotatedTokenFile:
    """Reads the token again whenever the file has changed; keeps the last one meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token = ""
        self._stamp: tuple[int, int, int] | None = None
        self._lock = threading.Lock()

    def read(self) -> str:
        """Return the token; raises OSError if there was none yet, ValueError if it is no token."""
        with self._lock:
            try:
                found = self.path.stat()
                stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
                if stamp != self._stamp:
                    self._token, self._stamp = _read(self.path), stamp
            except (OSError, ValueError):
                if not self._token:
                    raise
        return self._token


def _read(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(MAX_TOKEN_BYTES + 1)
    token = raw.decode("ascii", "strict").strip()  # UnicodeDecodeError is a ValueError
    if not token or len(raw) > MAX_TOKEN_BYTES or not token.isprintable():
        raise ValueError(f"{path} holds no token")
    return token
