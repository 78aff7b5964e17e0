from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.gitops.git_host import GitHost

from upwell.gitops.git import GitRepositories
from upwell.gitops.interface import Author


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    """A running git host with nothing in it."""
    found = GitHost(tmp_path / "git-host")
    found.start()
    yield found
    found.stop()


@pytest.fixture
def repositories(tmp_path: Path) -> GitRepositories:
    return GitRepositories(tmp_path / "gitops", Author("Upwell", "upwell@example.test"))
