"""The folder of one build: its source tree, generated files and logins, removed as a whole."""

import json
import re
import shutil
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from upwell.builder.interface import RegistryLogin
from upwell.machine.folder import PrivateFolder, make_passage
from upwell.machine.redaction import basic_auth

_BUILD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DOCKER_HUB_AUTH_KEY = "https://index.docker.io/v1/"

_passages = threading.Lock()
"""Keeps an emptied passage from being removed before the folder that it was made for is in it."""


class BuildFolder(PrivateFolder):
    """A private folder below `parent`, named by the build's id.

    Its part `tmp` lies below `temporary_parent`, if that is given: a build whose root is nobody on
    this machine must be able to pass through to its own files there.
    """

    def __init__(self, parent: Path, build_id: str, temporary_parent: Path | None = None) -> None:
        if _BUILD_ID.fullmatch(build_id) is None:
            raise ValueError(f"not a build id: {build_id!r}")
        super().__init__(parent / build_id)
        self.source = self.path / "source"
        self.temporary = self.path / "tmp"
        self._passage = temporary_parent

    def create(self) -> None:
        """Make the folder; nothing happens if it is there."""
        super().create()
        if self._passage is None:
            self.temporary.mkdir(mode=0o700, exist_ok=True)
        elif not self.temporary.is_symlink():
            target = self._passage / self.path.name
            with _passages:
                make_passage(self._passage)
                target.mkdir(mode=0o711, exist_ok=True)
            self.temporary.symlink_to(target)
        (self.path / "hooks").mkdir(exist_ok=True)

    def make_source(self) -> None:
        """Make the source tree's folder, which must not be there yet.

        All may read it, in a folder that only we can enter: a build whose root is nobody on this
        machine mounts it (`RUN --mount=type=bind`).
        """
        self.source.mkdir(mode=0o755)

    def write_logins(self, logins: Iterable[RegistryLogin]) -> Path:
        """Write the auth file of containers-auth.json(5); return its path."""
        auths = {
            _auth_key(login.registry): {"auth": basic_auth(login.username, login.password)}
            for login in logins
        }
        return self.write("auth.json", json.dumps({"auths": auths}))

    def remove(self) -> None:
        """Delete the folder; idempotent."""
        if self._passage is not None:
            shutil.rmtree(self._passage / self.path.name, ignore_errors=True)
            with _passages, suppress(OSError):  # another build uses it
                self._passage.rmdir()
        super().remove()


def _auth_key(registry: str) -> str:
    return "docker.io" if registry in {_DOCKER_HUB_AUTH_KEY, "index.docker.io"} else registry
