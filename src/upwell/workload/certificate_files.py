"""Certificates with their keys as files for the router: named by content, readable by us alone."""

import hashlib
from collections.abc import Sequence
from pathlib import Path


class CertificateFiles:
    """A folder of PEM files; writing what is there already changes nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, texts: Sequence[str]) -> Sequence[Path]:
        """Return the paths of these certificates, each with its key, and remove all others.

        What a running process has loaded it does not read again.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = []
        for text in dict.fromkeys(texts):
            path = self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pem"
            paths.append(path)
            if not path.exists():
                draft = path.with_suffix(".new")
                draft.unlink(missing_ok=True)
                draft.touch(mode=0o600)
                draft.write_text(text)
                draft.replace(path)
        for path in self._folder.iterdir():
            if path not in paths:
                path.unlink()
        return paths
