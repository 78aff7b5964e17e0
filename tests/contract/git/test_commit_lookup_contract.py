"""Contract of commits that are asked for: a ref of a repository, and the commit that it names."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.builds.remote_commits import FakeCommits
from tests.support.gitops.git_host import GitHost

from upwell.git.interface import CommitLookup, GitError, GitSource
from upwell.git.remote import GitCommits

PASSWORD = "correct-horse-battery"


@dataclass
class AskedRepository:
    """A repository that has `main`, the annotated tag `v1` of it, and no `absent`."""

    lookup: CommitLookup
    uri: str
    commit: str
    lose: Callable[[], object]
    """Take the repository away."""

    def at(self, ref: str = "") -> GitSource:
        return GitSource(self.uri, ref, username="ann", password=PASSWORD)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    host = GitHost(tmp_path / "host")
    host.push("first", {"file": "1"})
    host.in_clone("tag", "--annotate", "v1", "--message", "one")
    host.in_clone("push", "--quiet", "origin", "v1", "main:feature/main", "main:feature/absent")
    yield host
    host.stop()


@pytest.fixture(params=["git protocol", "file", "memory"])
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> AskedRepository:
    if request.param == "memory":
        uri, commit = "https://git.test/shop.git", "a" * 40
        fake = FakeCommits({uri: commit})
        fake.missing = {"absent"}
        return AskedRepository(fake, uri, commit, fake.heads.clear)
    host: GitHost = request.getfixturevalue("host")
    if request.param == "git protocol":
        host.start()
    uri = host.uri if request.param == "git protocol" else host.bare.as_uri()
    lookup = GitCommits(tmp_path / "commits", allow_local=True)
    away = host.bare.with_suffix(".away")
    return AskedRepository(
        lookup, uri, host.git("rev-parse", "main"), lambda: host.bare.rename(away)
    )


@pytest.mark.parametrize("ref", ["", "main", "refs/heads/main", "v1", "refs/tags/v1"])
async def test_a_ref_names_a_commit(asked: AskedRepository, ref: str) -> None:
    assert await asked.lookup.commit_of(asked.at(ref)) == asked.commit


async def test_a_ref_that_is_not_there_is_an_error(asked: AskedRepository) -> None:
    with pytest.raises(GitError, match="absent") as caught:
        await asked.lookup.commit_of(asked.at("absent"))
    assert PASSWORD not in str(caught.value)


async def test_a_repository_that_is_away_is_an_error(asked: AskedRepository) -> None:
    asked.lose()
    with pytest.raises(GitError) as caught:
        await asked.lookup.commit_of(asked.at("main"))
    assert PASSWORD not in str(caught.value)
