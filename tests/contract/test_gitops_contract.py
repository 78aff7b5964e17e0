"""Contract of repositories that say what runs: read, commit on top, never force."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.gitops.git_host import GitHost
from tests.support.gitops.repositories import CountedRepositories, InterferingRepositories

from upwell.git.interface import GitLimits, GitSource
from upwell.gitops.git import GitRepositories
from upwell.gitops.interface import (
    MAX_FILE_BYTES,
    Author,
    Draft,
    GitOpsRepositories,
    RepositoryClone,
    RepositoryError,
    TreeFile,
)

NOWHERE = "0" * 40
LIMIT_BYTES = 256 * 1024


@dataclass(frozen=True)
class RepositoryUnderTest:
    """A repository, and how it is opened."""

    repositories: GitOpsRepositories
    host: GitHost
    source: GitSource

    @asynccontextmanager
    async def fetched(self) -> AsyncIterator[tuple[RepositoryClone, str]]:
        """Open it and get its branch; give the clone and the branch's tip."""
        async with self.repositories.open(self.source) as clone:
            yield clone, (await clone.fetch(["main"]))["main"]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    host = GitHost(tmp_path / "host")
    yield host
    host.stop()


@pytest.fixture(params=["git protocol", "file", "wrapped"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, host: GitHost) -> RepositoryUnderTest:
    limits = GitLimits(seconds=20, tree_bytes=LIMIT_BYTES)
    author = Author("Upwell", "upwell@example.test")
    git = GitRepositories(tmp_path / "gitops", author, allow_local=True, limits=limits)
    match request.param:
        case "git protocol":
            host.start()
            return RepositoryUnderTest(git, host, GitSource(host.uri))
        case "file":
            return RepositoryUnderTest(git, host, GitSource(str(host.bare)))
        case _:
            wrapped = InterferingRepositories(CountedRepositories(git))
            return RepositoryUnderTest(wrapped, host, GitSource(str(host.bare)))


async def test_branches_are_where_the_remote_has_them(kept: RepositoryUnderTest) -> None:
    tip = kept.host.push("first", {"a.yaml": "a: 1\n"})

    async with kept.repositories.open(kept.source) as clone:
        assert await clone.tips(["gone", "main"]) == {"main": tip}
        assert await clone.tips([]) == {}
        assert await clone.fetch(["main"]) == await clone.fetch(["main"]) == {"main": tip}
        assert await clone.fetch([]) == {}
        with pytest.raises(RepositoryError):
            await clone.fetch(["main", "gone"])


async def test_history_is_told_from_its_newest_commit(kept: RepositoryUnderTest) -> None:
    first = kept.host.push("first", {"a.yaml": "1", "b.yaml": "1"})
    second = kept.host.push("second\n\nUpwell-Release: shop-1", {"b.yaml": "2"})

    async with kept.fetched() as (clone, tip):
        assert [(one.id, one.author) for one in await clone.history(tip)] == [
            (second, "Ann Author"),
            (first, "Ann Author"),
        ]
        assert [dict(one.trailers) for one in await clone.history(tip)] == [
            {"Upwell-Release": "shop-1"},
            {},
        ]
        assert await clone.touched(tip, ["a.yaml", "none"]) == first
        assert await clone.touched(tip, ["none"]) == ""
        assert await clone.contains(tip, tip)
        assert await clone.contains(tip, first)
        assert not await clone.contains(first, tip)
        assert not await clone.contains(tip, NOWHERE)


async def test_files_are_found_at_and_below_a_path(kept: RepositoryUnderTest) -> None:
    kept.host.push("first", {"x/a.yaml": "shop", "x/y/b.yaml": "gate\n", "*.yaml": "shop"})

    async with kept.fetched() as (clone, tip):
        assert [one.path for one in await clone.tree(tip, "x")] == ["x/a.yaml", "x/y/b.yaml"]
        assert [one.path for one in await clone.tree(tip, "*.yaml")] == ["*.yaml"]
        assert list(await clone.tree(tip, "x/none")) == []
        [file] = await clone.tree(tip, "x/y/b.yaml")
        assert (await clone.read(file), file.size) == ("gate\n", 5)
        assert await clone.containing(tip, "x", ["shop", "none"]) == {"x/a.yaml"}
        assert await clone.containing(tip, ".", ["shop"]) == {"x/a.yaml", "*.yaml"}
        assert await clone.containing(tip, "x", ["none"]) == set()
        assert await clone.containing(tip, "x", []) == set()


async def test_a_commit_is_made_here_and_moves_the_branch_when_it_is_pushed(
    kept: RepositoryUnderTest,
) -> None:
    kept.host.push("first", {"a.yaml": "a: 1\r\n", "run": "#!/bin/sh\n", "b": "b"})

    async with kept.fetched() as (clone, tip):
        files = {one.path: one for one in await clone.tree(tip, ".")}
        changes = {files["a.yaml"]: "a: 2\r\n", files["run"]: "#!/bin/ash\n"}
        commit = await clone.commit(Draft(tip, changes, "second\n"))
        assert kept.host.log() == ["first"]
        assert await clone.push(commit, "main")
        assert await clone.push(commit, "main")

    assert kept.host.git("rev-parse", "main") == commit
    assert kept.host.log(form="%s %an <%ae>")[0] == "second Upwell <upwell@example.test>"
    assert kept.host.git("diff", "--name-only", tip, commit).split() == ["a.yaml", "run"]
    assert kept.host.git("cat-file", "blob", "main:a.yaml").endswith("a: 2")
    assert kept.host.git("ls-tree", "main", "run").startswith("100755")


async def test_a_branch_that_has_moved_is_never_forced(kept: RepositoryUnderTest) -> None:
    kept.host.push("first", {"a.yaml": "a: 1\n"})

    async with kept.fetched() as (clone, tip):
        [file] = await clone.tree(tip, "a.yaml")
        commit = await clone.commit(Draft(tip, {file: "a: 2\n"}, "mine"))
        other = kept.host.push("other", {"b.yaml": "b"})
        assert not await clone.push(commit, "main")
        assert kept.host.git("rev-parse", "main") == other
        assert await clone.fetch(["main"]) == {"main": other}
        assert await clone.push(await clone.commit(Draft(other, {file: "a: 2\n"}, "mine")), "main")

    assert kept.host.log() == ["mine", "other", "first"]


async def test_what_was_committed_becomes_a_new_branch(kept: RepositoryUnderTest) -> None:
    kept.host.push("first", {"a.yaml": "a: 1\n"})

    async with kept.fetched() as (clone, tip):
        commit = await clone.commit(Draft(tip, {}, "second"))
        assert await clone.push(commit, "proposal")
        assert await clone.tips(["proposal", "main"]) == {"proposal": commit, "main": tip}


type Call = Callable[[RepositoryClone], Awaitable[object]]

FAULTS: dict[str, Call] = {
    "history": lambda clone: clone.history(NOWHERE),
    "touched": lambda clone: clone.touched(NOWHERE, ["a.yaml"]),
    "tree": lambda clone: clone.tree(NOWHERE, "."),
    "containing": lambda clone: clone.containing(NOWHERE, ".", ["x"]),
    "read": lambda clone: clone.read(TreeFile("a.yaml", NOWHERE, "100644", 1)),
    "commit": lambda clone: clone.commit(Draft(NOWHERE, {}, "x")),
    "push": lambda clone: clone.push(NOWHERE, "main"),
}
"""Calls about a commit or a file that nobody has."""


async def test_what_nobody_has_is_an_error_that_names_the_repository(
    kept: RepositoryUnderTest,
) -> None:
    kept.host.push("first", {"a.yaml": "a: 1\n"})

    async with kept.fetched() as (clone, _):
        for call in FAULTS.values():
            with pytest.raises(RepositoryError, match=r"config\.git"):
                await call(clone)


async def test_a_file_that_is_no_text_or_too_large_is_refused(kept: RepositoryUnderTest) -> None:
    kept.host.push("first", {"large": "x" * (MAX_FILE_BYTES + 1)})
    (kept.host.clone / "binary").write_bytes(b"\xff\xfe")
    kept.host.push("second", {})

    async with kept.fetched() as (clone, tip):
        for file in await clone.tree(tip, "."):
            with pytest.raises(RepositoryError):
                await clone.read(file)


async def test_a_repository_beyond_the_limit_is_refused(kept: RepositoryUnderTest) -> None:
    kept.host.push("first", {"small": "x"})
    noise = os.urandom(LIMIT_BYTES)
    (kept.host.clone / "large").write_bytes(noise + noise)
    kept.host.push("second", {})

    async with kept.repositories.open(kept.source) as clone:
        for _ in range(2):
            with pytest.raises(RepositoryError, match=f"larger than {LIMIT_BYTES} bytes"):
                await clone.fetch(["main"])


async def test_a_remote_that_is_away_is_an_error_and_can_be_asked_again(
    kept: RepositoryUnderTest,
) -> None:
    tip = kept.host.push("first", {"a.yaml": "a: 1\n"})
    away = kept.host.bare.with_suffix(".away")
    kept.host.bare.rename(away)

    async with kept.repositories.open(kept.source) as clone:
        for call in (clone.tips, clone.fetch):
            with pytest.raises(RepositoryError, match=r"config\.git"):
                await call(["main"])
        away.rename(kept.host.bare)
        assert await clone.fetch(["main"]) == {"main": tip}


@pytest.mark.parametrize(
    "uri", ["ext::sh -c true", "--upload-pack=true", "http://169.254.169.254/"]
)
async def test_an_address_that_is_none_is_refused(kept: RepositoryUnderTest, uri: str) -> None:
    with pytest.raises(RepositoryError):
        async with kept.repositories.open(GitSource(uri)) as clone:
            await clone.tips(["main"])


async def test_a_repository_is_open_once_at_a_time(kept: RepositoryUnderTest) -> None:
    kept.host.push("first", {"a.yaml": "a: 1\n"})
    entered: list[int] = []

    async def enter(number: int) -> None:
        async with kept.repositories.open(kept.source):
            entered.append(number)

    async with asyncio.TaskGroup() as group, kept.repositories.open(kept.source):
        tasks = [group.create_task(enter(number)) for number in range(2)]
        await asyncio.sleep(0.1)
        assert entered == []
        tasks[0].cancel()
    assert entered == [1]


async def test_the_callers_own_errors_pass_and_leave_the_repository_usable(
    kept: RepositoryUnderTest,
) -> None:
    tip = kept.host.push("first", {"a.yaml": "a: 1\n"})

    with pytest.raises(KeyError, match="mine"):
        async with kept.repositories.open(kept.source):
            raise KeyError("mine")
    async with kept.fetched() as (_, fetched):
        assert fetched == tip
