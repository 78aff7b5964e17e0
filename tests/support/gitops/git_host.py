"""A git host on loopback: a bare repository behind git's daemon, and people who push to it."""

import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.builds.base_images import run, write_tree
from tests.support.ports import free_port

PERSON = {
    "GIT_AUTHOR_NAME": "Ann Author",
    "GIT_AUTHOR_EMAIL": "ann@example.test",
    "GIT_COMMITTER_NAME": "Ann Author",
    "GIT_COMMITTER_EMAIL": "ann@example.test",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


@dataclass
class GitHost:
    """The repository `config.git`, and a person's clone of it."""

    folder: Path
    port: int = 0
    _daemon: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if shutil.which("git") is None:
            pytest.skip("install git")
        self.folder.mkdir()
        run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare), env=PERSON)
        run("git", "clone", "--quiet", str(self.bare), str(self.clone), env=PERSON)
        self.in_clone("switch", "--quiet", "--create", "main")

    @property
    def bare(self) -> Path:
        return self.folder / "config.git"

    @property
    def clone(self) -> Path:
        return self.folder / "person"

    @property
    def uri(self) -> str:
        return f"git://127.0.0.1:{self.port}/config.git"

    def start(self) -> None:
        """Serve on the port that it had before, or a free one."""
        self.port = self.port or free_port()
        self._daemon = subprocess.Popen(
            [
                *("git", "daemon", f"--base-path={self.folder}", "--export-all", "--reuseaddr"),
                *("--enable=receive-pack", "--listen=127.0.0.1", f"--port={self.port}"),
            ],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            else:
                return

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(10)
            self._daemon = None

    def push(self, message: str, files: Mapping[str, str], branch: str = "main") -> str:
        """Commit as a person, on top of what is there; return the commit."""
        if self.branches():
            self.in_clone("fetch", "--quiet", "origin")
        if branch in self.branches():
            self.in_clone("switch", "--quiet", "--force-create", branch, f"origin/{branch}")
        write_tree(self.clone, files)
        self.in_clone("add", "--all")
        self.in_clone("commit", "--quiet", "--message", message)
        self.in_clone("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        return self.in_clone("rev-parse", "HEAD")

    def in_clone(self, *argv: str) -> str:
        return run("git", "-C", str(self.clone), *argv, env=PERSON)

    def git(self, *argv: str) -> str:
        """Run git in the repository itself."""
        return run("git", "-C", str(self.bare), *argv, env=PERSON)

    def branches(self) -> list[str]:
        return self.git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").split()

    def log(self, branch: str = "main", form: str = "%s") -> list[str]:
        """Return one line for each commit, the newest first."""
        return self.git("log", f"--format={form}", branch).splitlines()

    def show(self, path: str, branch: str = "main") -> str:
        return self.git("show", f"{branch}:{path}") + "\n"
