import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.builder.test_docker_builds import plan
from tests.support.builds.base_images import BaseImages, Log, run, write_tree
from tests.support.gitops.http_servers import git_http_backend

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import BuildError
from upwell.git.interface import GitLimits, GitSource

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ann Author",
    "GIT_AUTHOR_EMAIL": "ann@example.test",
    "GIT_COMMITTER_NAME": "Col Committer",
    "GIT_COMMITTER_EMAIL": "col@example.test",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}
REFS = [
    *("", "main", "v1", "light", "topic/x", "refs/heads/topic/x", "refs/tags/v1"),
    *("commit", "part of a commit"),
]
PASSWORD = "correct-horse-battery"


class RepositoryOnDisk:
    """A git repository on disk with a history to fetch from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = f"file://{path}"
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *argv: str) -> str:
        return run("git", "-C", str(self.path), *argv, env=IDENTITY)

    def commit(self, message: str, **files: str) -> str:
        write_tree(self.path, {name.replace("__", "/"): text for name, text in files.items()})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> RepositoryOnDisk:
    repository = RepositoryOnDisk(tmp_path / "repository")
    repository.commit("first", app="1", sub__deep="x")
    repository.git("tag", "--annotate", "v1", "--message", "one")
    repository.git("tag", "light")
    repository.commit("second: a longer story", app="2")
    repository.git("branch", "topic/x")
    repository.commit("third", app="3")
    return repository


@pytest.mark.parametrize("ref", REFS)
async def test_a_source_is_fetched_at_any_ref(
    builder: BuildahBuilder, repository: RepositoryOnDisk, log: Log, ref: str
) -> None:
    old = repository.git("rev-parse", "main~2")
    commits = {"commit": old, "part of a commit": old[:9]}
    wanted = old if ref in commits else repository.git("rev-parse", f"{ref or 'main'}^{{}}")
    ref = commits.get(ref, ref)
    checkout = await builder.fetch("uid-git", GitSource(repository.uri, ref), log)
    assert checkout.revision is not None
    assert checkout.revision.commit == wanted
    assert (checkout.path / "app").read_text() == repository.git("show", f"{wanted}:app")
    assert wanted in log.text


async def test_a_dockerfile_mounts_the_source_that_was_fetched(
    builder: BuildahBuilder, images: BaseImages, repository: RepositoryOnDisk, log: Log
) -> None:
    checkout = await builder.fetch("uid-mount", GitSource(repository.uri), log)
    text = 'FROM base:1\nRUN --mount=type=bind,target=/in echo "it says $(cat /in/app)"\n'
    await builder.build(
        plan(images, "mount", context=checkout.path, dockerfile=text, push=None), log
    )
    assert f"it says {repository.git('show', 'main:app')}" in log.text


async def test_the_revision_says_who_and_when(
    builder: BuildahBuilder, repository: RepositoryOnDisk, log: Log
) -> None:
    checkout = await builder.fetch("uid-git", GitSource(repository.uri, "topic/x"), log)
    revision = checkout.revision
    assert revision is not None
    assert (revision.author_name, revision.author_email) == ("Ann Author", "ann@example.test")
    assert (revision.committer_name, revision.committer_email) == (
        "Col Committer",
        "col@example.test",
    )
    assert revision.message == "second: a longer story"
    assert revision.date == repository.git("show", "-s", "--format=%ad", "topic/x")


async def test_the_context_directory_is_cut_out_and_may_not_leave(
    builder: BuildahBuilder, repository: RepositoryOnDisk, log: Log
) -> None:
    checkout = await builder.fetch("uid-git", GitSource(repository.uri, "", "/sub"), log)
    assert [path.name for path in checkout.path.iterdir()] == ["deep"]

    (repository.path / "link").symlink_to("/etc")
    repository.commit("link")
    for wrong in ("nowhere", "../..", "sub/../sub/../..", "app", "link"):
        with pytest.raises(BuildError) as caught:
            await builder.fetch("uid-git", GitSource(repository.uri, "", wrong), log)
        assert caught.value.reason == "InvalidContextDirectory"
        assert "The supplied context directory does not exist." in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "ref", "message"),
    [
        ("file:///nowhere/at/all", "", "does not (exist|appear)"),
        ("{uri}", "no-such-branch", "no-such-branch"),
        ("{uri}", "--upload-pack=touch /tmp/x", "not a git ref"),
        ("{uri}", "a b", "not a git ref"),
        ("ext::sh -c true", "", "is not a git address"),
        ("--upload-pack=x", "", "is not a git address"),
        ("-u/bin/true", "", "is not a git address"),
        ("ssh://-oProxyCommand=true/x", "", "strange hostname|is not a git address"),
        ("-oProxyCommand=true@host:x", "", "is not a git address"),
        ("git@-oProxyCommand=true:x", "", "strange hostname|is not a git address"),
        ("fd::17/x", "", "is not a git address"),
        ("transport::http://127.0.0.1:1/x", "", "is not a git address"),
        ("http://127.0.0.1:1/x.git\n--upload-pack=x", "", "url cannot be parsed"),
        ("http://127.0.0.1:1/x.git", "", "127.0.0.1"),
    ],
)
async def test_a_source_that_cannot_be_had_says_why(
    builder: BuildahBuilder,
    repository: RepositoryOnDisk,
    log: Log,
    *,
    uri: str,
    ref: str,
    message: str,
) -> None:
    source = GitSource(uri.format(uri=repository.uri), ref)
    with pytest.raises(BuildError, match=message) as fetched:
        await builder.fetch("uid-git", source, log)
    assert fetched.value.reason == "FetchSourceFailed"
    assert fetched.value.retryable == (uri == "http://127.0.0.1:1/x.git")


async def test_local_repositories_need_permission(
    settings: BuildahSettings, repository: RepositoryOnDisk, log: Log
) -> None:
    strict = BuildahBuilder(replace(settings, allow_local_sources=False), dialer=None)
    for uri in (repository.uri, str(repository.path)):
        with pytest.raises(BuildError, match="local repositories are not allowed"):
            await strict.fetch("uid-git", GitSource(uri), log)


async def test_hooks_of_the_machine_do_not_run(
    builder: BuildahBuilder, repository: RepositoryOnDisk, log: Log, tmp_path: Path
) -> None:
    write_tree(repository.path / ".git/hooks", {"post-checkout": "#!/bin/sh\nexit 1\n"})
    checkout = await builder.fetch("uid-git", GitSource(repository.uri), log)
    assert not (checkout.path / ".git/hooks/post-checkout").exists()
    assert not (tmp_path / "ran").exists()


async def test_a_submodule_is_fetched_with_its_parent(
    builder: BuildahBuilder, repository: RepositoryOnDisk, log: Log, tmp_path: Path
) -> None:
    part = RepositoryOnDisk(tmp_path / "part")
    part.commit("part", piece="p")
    allow = ("-c", "protocol.file.allow=always")
    repository.git(*allow, "submodule", "--quiet", "add", part.uri, "part")
    repository.commit("with a part")
    checkout = await builder.fetch("uid-git", GitSource(repository.uri), log)
    assert (checkout.path / "part/piece").read_text() == "p"


async def test_a_source_may_not_grow_without_limit(
    settings: BuildahSettings, repository: RepositoryOnDisk, log: Log
) -> None:
    repository.commit("big", big=os.urandom(2_000_000).hex())
    limits = GitLimits(seconds=20, tree_bytes=1_000_000)
    builder = BuildahBuilder(replace(settings, git_limits=limits), dialer=None)
    with pytest.raises(BuildError, match="larger than 1000000 bytes"):
        await builder.fetch("uid-git", GitSource(repository.uri), log)


@pytest.fixture
async def private_server(repository: RepositoryOnDisk) -> AsyncIterator[str]:
    """The repository behind git's own HTTP service, and a password."""
    async with git_http_backend(repository.path.parent, "alice", PASSWORD) as place:
        yield f"{place}/repository/.git"


async def test_a_password_opens_a_private_repository_and_shows_nowhere(
    builder: BuildahBuilder, private_server: str, log: Log, settings: BuildahSettings
) -> None:
    source = GitSource(f"http://{private_server}", "main", "", "alice", PASSWORD)
    await builder.fetch("uid-git", source, log)
    in_address = GitSource(f"http://alice:{PASSWORD}@{private_server}", "main")
    await builder.fetch("uid-git", in_address, log)

    wrong = GitSource(f"http://alice:{PASSWORD}x@{private_server}")
    with pytest.raises(BuildError) as caught:
        await builder.fetch("uid-git", wrong, log)

    assert "Authentication failed" in str(caught.value)
    assert PASSWORD not in log.text + str(caught.value) + repr(source)
    kept = [path for path in settings.work_dir.rglob("*") if path.is_file()]
    assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()]
