"""Clones by git against git's own daemon and its HTTP service."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.builder.test_git_hardening import SshServer, ssh_server  # noqa: F401
from tests.support.gitops.git_host import PERSON, GitHost
from tests.support.gitops.http_servers import git_http_backend
from tests.support.outbound.silent_server import silent_server

from upwell.git.interface import GitLimits, GitSource
from upwell.gitops.git import GitRepositories
from upwell.gitops.interface import Author, Draft, RepositoryError

PASSWORD = "correct-horse-battery"


async def test_a_commit_changes_its_file_and_nothing_else(
    host: GitHost, repositories: GitRepositories
) -> None:
    first = host.push("first", {"deploy/a.yaml": "a: 1\r\n", "deploy/b.yaml": "b: 1\n", "run": "x"})
    (host.clone / "run").chmod(0o755)
    (host.clone / "link").symlink_to("/etc/passwd")
    second = host.push("second", {})

    async with repositories.open(GitSource(host.uri)) as clone:
        assert await clone.tips(["main", "gone"]) == {"main": second}
        assert await clone.fetch(["main"]) == {"main": second}
        files = {one.path: one for one in await clone.tree(second, ".")}
        assert {path: one.mode for path, one in files.items()} == {
            "deploy/a.yaml": "100644",
            "deploy/b.yaml": "100644",
            "link": "120000",
            "run": "100755",
        }
        assert await clone.read(files["deploy/a.yaml"]) == "a: 1\r\n"
        draft = Draft(second, {files["deploy/a.yaml"]: "a: 2\r\n", files["run"]: "y"}, "third\n")
        commit = await clone.commit(draft)
        assert host.branches() == ["main"]
        assert await clone.push(commit, "main")

    assert host.git("rev-parse", "main") == commit
    assert host.git("rev-list", "main").split() == [commit, second, first]
    assert host.git("diff", "--name-status", second, commit).split() == [
        *("M", "deploy/a.yaml"),
        *("M", "run"),
    ]
    assert host.git("ls-tree", "main", "run").startswith("100755")
    assert host.log(form="%an <%ae> %cn")[0] == "Upwell <upwell@example.test> Upwell"


async def test_a_commit_on_a_tip_that_has_moved_is_not_pushed(
    host: GitHost, repositories: GitRepositories
) -> None:
    first = host.push("first", {"a.yaml": "a: 1\n"})
    async with repositories.open(GitSource(host.uri)) as clone:
        await clone.fetch(["main"])
        (file,) = await clone.tree(first, "a.yaml")
        commit = await clone.commit(Draft(first, {file: "a: 2\n"}, "mine"))
        other = host.push("other", {"b.yaml": "b"})
        assert not await clone.push(commit, "main")
        assert host.git("rev-parse", "main") == other

        assert await clone.fetch(["main"]) == {"main": other}
        again = await clone.commit(Draft(other, {file: "a: 2\n"}, "mine"))
        assert await clone.push(again, "main")
    assert host.log() == ["mine", "other", "first"]


async def test_history_tells_commits_authors_and_trailers(
    host: GitHost, repositories: GitRepositories
) -> None:
    first = host.push("first", {"a.yaml": "1"})
    host.push("second\n\nUpwell-Release: not in the last paragraph\n\nEnd.", {"b.yaml": "1"})
    third = host.push("third\n\nUpwell-Release: shop-1\nUpwell-Stage: dev", {"c.yaml": "1"})
    async with repositories.open(GitSource(host.uri)) as clone:
        await clone.fetch(["main"])
        history = await clone.history(third)
        assert [dict(one.trailers) for one in history] == [
            {"Upwell-Release": "shop-1", "Upwell-Stage": "dev"},
            {},
            {},
        ]
        assert {one.author for one in history} == {"Ann Author"}
        host.in_clone(
            "commit",
            "--quiet",
            "--allow-empty",
            "--message=x",
            "--author=\x1b[2Je\x07ve <e@x.test>",
        )
        host.in_clone("push", "--quiet", "origin", "HEAD:refs/heads/main")
        tip = (await clone.fetch(["main"]))["main"]
        assert (await clone.history(tip))[0].author == "[2Jeve"
        assert await clone.touched(third, ["a.yaml"]) == first
        assert await clone.contains(third, first)
        assert not await clone.contains(first, third)


async def test_files_are_found_by_words_and_paths_are_no_patterns(
    host: GitHost, repositories: GitRepositories
) -> None:
    tip = host.push(
        "first",
        {"x/a.yaml": "image: shop", "x/y/b.yaml": "image: gate", "c.yaml": "shop", "*.yaml": "q"},
    )
    async with repositories.open(GitSource(host.uri)) as clone:
        await clone.fetch(["main"])
        assert await clone.containing(tip, "x", ["shop", "none"]) == {"x/a.yaml"}
        assert await clone.containing(tip, ".", ["shop", "gate"]) == {
            *("c.yaml", "x/a.yaml", "x/y/b.yaml"),
        }
        assert await clone.containing(tip, "x", ["nowhere"]) == set()
        assert [one.path for one in await clone.tree(tip, "*.yaml")] == ["*.yaml"]
        assert await clone.tree(tip, "x/none") == []


async def test_what_is_no_text_is_refused(host: GitHost, repositories: GitRepositories) -> None:
    host.push("first", {"a.yaml": "x"})
    (host.clone / "a.yaml").write_bytes(b"\xff\xfe")
    (host.clone / "large.yaml").write_text("x" * 600_000)
    tip = host.push("second", {})
    async with repositories.open(GitSource(host.uri)) as clone:
        await clone.fetch(["main"])
        files = {one.path: one for one in await clone.tree(tip, ".")}
        with pytest.raises(RepositoryError, match=r"a\.yaml is not UTF-8"):
            await clone.read(files["a.yaml"])
        with pytest.raises(RepositoryError, match="printed over 524288 bytes"):
            await clone.read(files["large.yaml"])


async def test_hooks_attributes_and_filters_of_a_repository_do_nothing(
    host: GitHost, repositories: GitRepositories, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    host.push(
        "first",
        {
            ".gitattributes": "* text eol=crlf filter=evil ident export-subst\n",
            ".lfsconfig": f"[filter]\n\tclean = touch {marker}\n",
            ".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = https://x.invalid/\n',
            "a.yaml": "a: $Id$ $Format:%H$\n",
        },
    )
    async with repositories.open(GitSource(host.uri)) as clone:
        tips = await clone.fetch(["main"])
        (file,) = await clone.tree(tips["main"], "a.yaml")
        text = (await clone.read(file)).replace("a:", "b:")
        assert await clone.push(await clone.commit(Draft(tips["main"], {file: text}, "x")), "main")
    assert host.show("a.yaml") == "b: $Id$ $Format:%H$\n"
    assert not marker.exists()


async def test_a_host_that_refuses_says_why(host: GitHost, repositories: GitRepositories) -> None:
    tip = host.push("first", {"a.yaml": "x"})
    hook = host.bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'main is protected: open a merge request' >&2\nexit 1\n")
    hook.chmod(0o755)
    async with repositories.open(GitSource(host.uri)) as clone:
        await clone.fetch(["main"])
        (file,) = await clone.tree(tip, "a.yaml")
        commit = await clone.commit(Draft(tip, {file: "y"}, "x"))
        with pytest.raises(RepositoryError) as caught:
            await clone.push(commit, "main")
    assert "main takes no commit" in str(caught.value)
    assert "main is protected: open a merge request" in str(caught.value)


async def test_a_host_that_is_down_is_named_and_found_again(
    host: GitHost, repositories: GitRepositories
) -> None:
    tip = host.push("first", {"a.yaml": "x"})
    host.stop()
    with pytest.raises(RepositoryError, match=rf"{host.uri}: .*(refused|connect)"):
        async with repositories.open(GitSource(host.uri)) as clone:
            await clone.tips(["main"])
    host.start()
    async with repositories.open(GitSource(host.uri)) as clone:
        assert await clone.tips(["main"]) == {"main": tip}


async def test_a_branch_that_goes_meanwhile_is_named(
    host: GitHost, repositories: GitRepositories
) -> None:
    host.push("first", {"a.yaml": "x"})
    with pytest.raises(RepositoryError, match=rf"{host.uri}: .*refs/heads/gone"):
        async with repositories.open(GitSource(host.uri)) as clone:
            await clone.fetch(["main", "gone"])


async def test_a_repository_that_is_too_large_is_left(host: GitHost, tmp_path: Path) -> None:
    (host.clone / "large").write_bytes(os.urandom(2_000_000))
    host.push("first", {})
    limits = GitLimits(seconds=60, tree_bytes=1_000_000)
    own = GitRepositories(tmp_path / "x", Author("Upwell", "upwell@example.test"), limits=limits)
    with pytest.raises(RepositoryError, match="larger than 1000000 bytes"):
        async with own.open(GitSource(host.uri)) as clone:
            await clone.fetch(["main"])
    assert not list((tmp_path / "x" / "clones").iterdir())


async def test_a_host_that_never_answers_is_left_in_time(tmp_path: Path) -> None:
    async with silent_server() as silence:
        author = Author("Upwell", "upwell@example.test")
        hasty = GitRepositories(tmp_path / "x", author, limits=GitLimits(seconds=0.5))
        source = GitSource(f"git://{silence.address}/config.git")
        with pytest.raises(RepositoryError, match=r"git took over 0\.5 s"):
            async with hasty.open(source) as clone:
                await clone.tips(["main"])


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ext::sh -c true", "is not a git address"),
        ("--upload-pack=x", "is not a git address"),
        ("file:///etc", "local repositories are not allowed"),
        ("/etc", "local repositories are not allowed"),
    ],
)
async def test_an_address_that_would_run_or_read_something_is_refused(
    repositories: GitRepositories, uri: str, message: str
) -> None:
    with pytest.raises(RepositoryError, match=message):
        async with repositories.open(GitSource(uri)):
            pass


@pytest.fixture
async def private_host(host: GitHost) -> AsyncIterator[str]:
    """The repository behind git's own HTTP service, and a password."""
    host.git("config", "http.receivepack", "true")
    person = {"REMOTE_USER": "alice", "GIT_CONFIG_GLOBAL": PERSON["GIT_CONFIG_GLOBAL"]}
    async with git_http_backend(host.folder, "alice", PASSWORD, **person) as place:
        yield f"http://{place}/config.git"


async def test_a_password_opens_a_private_repository_and_stays_nowhere(
    host: GitHost, repositories: GitRepositories, private_host: str, tmp_path: Path
) -> None:
    tip = host.push("first", {"a.yaml": "x"})
    source = GitSource(private_host, username="alice", password=PASSWORD)
    async with repositories.open(source) as clone:
        await clone.fetch(["main"])
        (file,) = await clone.tree(tip, "a.yaml")
        commit = await clone.commit(Draft(tip, {file: "y"}, "x"))
        assert await clone.push(commit, "main")
    assert host.git("rev-parse", "main") == commit

    for wrong in (replace(source, password=f"{PASSWORD}x"), GitSource(private_host)):
        with pytest.raises(RepositoryError, match="Authentication failed") as caught:
            async with repositories.open(wrong) as clone:
                await clone.tips(["main"])
        assert PASSWORD not in str(caught.value)
    kept = [path for path in (tmp_path / "gitops").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()]
    assert not list((tmp_path / "gitops" / "work").iterdir())


async def test_a_key_opens_a_repository_over_ssh_and_a_false_host_does_not(
    host: GitHost,
    repositories: GitRepositories,
    ssh_server: SshServer,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    tip = host.push("first", {"a.yaml": "x"})
    source = GitSource(f"{ssh_server.address}{host.bare}").with_login(
        {
            "ssh-privatekey": ssh_server.private_key.encode(),
            "known_hosts": ssh_server.known_hosts.encode(),
        }
    )
    async with repositories.open(source) as clone:
        await clone.fetch(["main"])
        (file,) = await clone.tree(tip, "a.yaml")
        commit = await clone.commit(Draft(tip, {file: "y"}, "x"))
        assert await clone.push(commit, "main")
    assert host.git("rev-parse", "main") == commit
    kept = [path for path in (tmp_path / "gitops").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"PRIVATE KEY" in path.read_bytes()]

    port = ssh_server.known_hosts.split()[0]
    other = " ".join((tmp_path / "user.pub").read_text().split()[:2])
    with pytest.raises(RepositoryError, match=r"(?i)host key"):
        async with repositories.open(replace(source, ssh_known_hosts=f"{port} {other}\n")) as clone:
            await clone.tips(["main"])
