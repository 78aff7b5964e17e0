"""Contract of fetched sources: a ref becomes a commit, a commit a tree of the build's own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.builds.base_images import Log
from tests.support.builds.memory_builds import FakeBuilder, commit_of
from tests.support.gitops.git_host import GitHost

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import Builder, BuildError
from upwell.git.interface import GitSource
from upwell.registry.embedded import EmbeddedRegistry

BUILD, DOCKERFILE = "uid-1", "FROM base\n"
PASSWORD = "correct-horse-battery"
ABSENT = "none"


@dataclass
class GitSources:
    """A builder, and a repository that has `main`, the tag `v1` and the folder `sub`."""

    builder: Builder
    uri: str
    commit: Callable[[str], str]
    """The commit at a ref."""
    lose: Callable[[], Callable[[], object]]
    """Take the repository away; return what brings it back."""

    def at(self, ref: str = "", context_dir: str = "") -> GitSource:
        return GitSource(self.uri, ref, context_dir, username="ann", password=PASSWORD)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    host = GitHost(tmp_path / "host")
    host.push("first", {"Dockerfile": "FROM older\n"})
    host.in_clone("tag", "--annotate", "v1", "--message", "one")
    host.in_clone("push", "--quiet", "origin", "v1")
    host.push("second", {"Dockerfile": DOCKERFILE, "sub/Dockerfile": DOCKERFILE})
    yield host
    host.stop()


@pytest.fixture(params=["git protocol", "file", "memory"])
def sources(request: pytest.FixtureRequest, tmp_path: Path) -> GitSources:
    if request.param == "memory":
        return in_memory(tmp_path)
    host: GitHost = request.getfixturevalue("host")
    settings = BuildahSettings(tmp_path / "work", temporary_dir=tmp_path, allow_local_sources=True)
    if request.param == "git protocol":
        host.start()
    uri = host.uri if request.param == "git protocol" else host.bare.as_uri()

    def commit(ref: str) -> str:
        return host.git("rev-parse", f"{ref or 'HEAD'}^{{commit}}")

    def lose() -> Callable[[], object]:
        away = host.bare.rename(host.bare.with_suffix(".away"))
        return lambda: away.rename(host.bare)

    return GitSources(BuildahBuilder(settings, dialer=None), uri, commit, lose)


def in_memory(folder: Path) -> GitSources:
    registry = EmbeddedRegistry(folder / "registry", "registry.test")
    builder = FakeBuilder(registry, folder / "builds")
    builder.dockerfile = DOCKERFILE
    builder.missing = {ABSENT}
    uri = "https://git.test/shop.git"

    def lose() -> Callable[[], object]:
        builder.missing.add(uri)
        return lambda: builder.missing.discard(uri)

    return GitSources(builder, uri, commit_of, lose)


@pytest.mark.parametrize("ref", ["", "main", "v1", "refs/heads/main"])
async def test_a_tree_is_fetched_at_a_ref(sources: GitSources, ref: str) -> None:
    log = Log()
    checkout = await sources.builder.fetch(BUILD, sources.at(ref), log)

    assert (checkout.path / "Dockerfile").is_file()
    assert checkout.revision is not None
    assert checkout.revision.commit == sources.commit(ref)
    assert checkout.revision.author_name
    assert sources.uri in log.text
    assert PASSWORD not in log.text


async def test_the_branch_of_a_repository_is_told(sources: GitSources, host: GitHost) -> None:
    builder = sources.builder
    if not isinstance(builder, BuildahBuilder):
        pytest.skip("a server asks for no branch")
    assert await builder.default_branch(sources.at()) == "main"
    host.git("update-ref", "--no-deref", "HEAD", host.git("rev-parse", "main"))
    assert await builder.default_branch(sources.at()) == ""  # it is at a commit
    sources.lose()
    assert await builder.default_branch(sources.at()) == ""


async def test_what_was_fetched_can_be_fetched_again_by_its_commit(sources: GitSources) -> None:
    first = await sources.builder.fetch(BUILD, sources.at("main"), Log())
    assert first.revision is not None
    (first.path / "left").write_text("by an attempt before")

    again = await sources.builder.fetch(BUILD, sources.at(first.revision.commit), Log())

    assert (again.path, again.revision) == (first.path, first.revision)
    assert (again.path / "Dockerfile").read_text() == DOCKERFILE
    assert not (again.path / "left").exists()


async def test_each_build_has_a_tree_of_its_own(sources: GitSources) -> None:
    one = await sources.builder.fetch(BUILD, sources.at(), Log())
    two = await sources.builder.fetch("uid-2", sources.at(), Log())

    (one.path / "Dockerfile").unlink()
    assert (two.path / "Dockerfile").exists()


async def test_the_context_may_be_a_folder_of_the_tree(sources: GitSources) -> None:
    checkout = await sources.builder.fetch(BUILD, sources.at("main", "sub"), Log())

    assert checkout.path.name == "sub"
    assert (checkout.path / "Dockerfile").read_text() == DOCKERFILE


@pytest.mark.parametrize("folder", [ABSENT, "../host"])
async def test_a_context_that_is_not_in_the_tree_is_an_error(
    sources: GitSources, folder: str
) -> None:
    with pytest.raises(BuildError, match="context directory does not exist") as caught:
        await sources.builder.fetch(BUILD, sources.at("main", folder), Log())
    assert (caught.value.reason, caught.value.retryable) == ("InvalidContextDirectory", False)


async def test_a_ref_that_is_not_there_is_an_error(sources: GitSources) -> None:
    log = Log()
    with pytest.raises(BuildError, match=ABSENT) as caught:
        await sources.builder.fetch(BUILD, sources.at(ABSENT), log)
    assert caught.value.reason == "FetchSourceFailed"
    assert PASSWORD not in f"{caught.value} {log.text}"


async def test_a_repository_that_is_away_is_an_error_and_can_be_back(sources: GitSources) -> None:
    bring_back = sources.lose()
    with pytest.raises(BuildError) as caught:
        await sources.builder.fetch(BUILD, sources.at("main"), Log())
    assert caught.value.reason == "FetchSourceFailed"
    assert PASSWORD not in str(caught.value)
    bring_back()
    await sources.builder.fetch(BUILD, sources.at("main"), Log())
