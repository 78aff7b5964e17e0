"""Repositories that try to harm their builder, private ones over ssh, and large files."""

import asyncio
import getpass
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.integration.builder.test_git_sources import RepositoryOnDisk
from tests.support.builds.base_images import Log, run
from tests.support.gitops.http_servers import large_files
from tests.support.ports import free_port

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import BuildError
from upwell.git.cache import size_of
from upwell.git.interface import GitLimits, GitSource, Proxies


@pytest.fixture
def repository(tmp_path: Path) -> RepositoryOnDisk:
    found = RepositoryOnDisk(tmp_path / "repository")
    found.commit("first", app="1")
    return found


def gitmodules(repository: RepositoryOnDisk, path: str, url: str, name: str = "part") -> None:
    """Commit a submodule that git itself would not make."""
    commit = repository.git("rev-parse", "HEAD")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},part")
    (repository.path / ".gitmodules").write_text(
        f'[submodule "{name}"]\n\tpath = {path}\n\turl = {url}\n'
    )
    repository.git("add", ".gitmodules")
    repository.git("commit", "--quiet", "--message", "hostile")


@pytest.mark.parametrize(
    "url",
    ["ext::sh -c touch% {marker}", "-u./payload", "--upload-pack=touch {marker}", "file://{local}"],
)
async def test_a_hostile_submodule_runs_nothing_and_reads_nothing(
    settings: BuildahSettings, repository: RepositoryOnDisk, log: Log, tmp_path: Path, url: str
) -> None:
    marker = tmp_path / "ran"
    secret = RepositoryOnDisk(tmp_path / "secret")
    secret.commit("secret", file="x")
    gitmodules(repository, "part", url.format(marker=marker, local=secret.path))
    with served(repository) as uri:
        builder = BuildahBuilder(replace(settings, allow_local_sources=False), dialer=None)
        with pytest.raises(BuildError) as caught:
            await builder.fetch("uid-hostile", GitSource(uri), log)
        assert caught.value.reason == "FetchSourceFailed"
        assert not marker.exists()
        checkout = (
            await builder.fetch("uid-without", GitSource(uri, submodules=False), log)
            if (not url.startswith("-"))
            else None
        )
    if checkout is not None:
        assert (checkout.path / "app").read_text() == "1"
        assert not list((checkout.path / "part").glob("*"))


@pytest.mark.parametrize("name", ["../../outside", "a/../../../outside", ".."])
async def test_a_submodule_keeps_its_history_in_its_parents(
    builder: BuildahBuilder, repository: RepositoryOnDisk, log: Log, name: str
) -> None:
    gitmodules(repository, "part", repository.uri, name)
    with pytest.raises(BuildError, match="gitmodulesName"):
        await builder.fetch("uid-named", GitSource(repository.uri), log)
    assert not list(builder._folder("uid-named").path.rglob("outside"))


async def test_a_submodule_names_no_command_of_its_own(
    builder: BuildahBuilder, repository: RepositoryOnDisk, log: Log, tmp_path: Path
) -> None:
    gitmodules(repository, "part", repository.uri)
    with (repository.path / ".gitmodules").open("a") as file:
        file.write(f"\tupdate = !touch {tmp_path / 'ran'}\n")
    repository.commit("an update of its own")
    with pytest.raises(BuildError, match="update"):
        await builder.fetch("uid-update", GitSource(repository.uri), log)
    assert not (tmp_path / "ran").exists()


async def test_attributes_name_no_filter_that_would_run(
    builder: BuildahBuilder, repository: RepositoryOnDisk, log: Log, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    setting = f'[filter "evil"]\n\tsmudge = touch {marker}\n'
    repository.commit("filtered", **{".gitattributes": "* filter=evil\n", ".gitconfig": setting})
    checkout = await builder.fetch("uid-filter", GitSource(repository.uri), log)
    assert (checkout.path / "app").read_text() == "1"
    assert not marker.exists()


class served:  # noqa: N801  # reads as what it does
    """Serves a repository with git's own daemon, so that no local path is needed."""

    def __init__(self, repository: RepositoryOnDisk) -> None:
        self._repository = repository

    def __enter__(self) -> str:
        port = free_port()
        base = self._repository.path.parent
        self._daemon = subprocess.Popen(
            [
                *("git", "daemon", f"--base-path={base}", "--export-all", "--reuseaddr"),
                *("--listen=127.0.0.1", f"--port={port}"),
            ],
            stderr=subprocess.DEVNULL,
        )
        wait_for(port)
        return f"git://127.0.0.1:{port}/{self._repository.path.name}/.git"

    def __exit__(self, *_: object) -> None:
        self._daemon.terminate()
        self._daemon.wait(60)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


def commit_linked_git_folder(repository: RepositoryOnDisk) -> None:
    """Commit a tree in which `.git` is a link; git itself refuses to add one."""
    blob = run("sh", "-c", f"printf /etc | git -C {repository.path} hash-object -w --stdin")
    entry = f"printf '120000 blob {blob}\\t.git\\n' | git -C {repository.path} mktree"
    commit = repository.git("commit-tree", run("sh", "-c", entry), "-m", "linked")
    repository.git("branch", "linked", commit)


async def test_a_linked_git_folder_is_refused(
    builder: BuildahBuilder, repository: RepositoryOnDisk, log: Log
) -> None:
    commit_linked_git_folder(repository)
    with pytest.raises(BuildError, match="hasDotgit"):
        await builder.fetch("uid-linked", GitSource(repository.uri, "linked"), log)


async def test_pull_requests_are_refs_like_others(
    builder: BuildahBuilder, repository: RepositoryOnDisk, log: Log
) -> None:
    repository.git("update-ref", "refs/pull/1/head", "HEAD")
    source = GitSource(repository.uri, "refs/pull/1/head")
    checkout = await builder.fetch("uid-pull", source, log)
    assert checkout.revision is not None
    assert checkout.revision.commit == repository.git("rev-parse", "HEAD")


@dataclass(frozen=True)
class SshServer:
    """A running sshd, its public key and a login."""

    address: str
    known_hosts: str
    private_key: str


@pytest.fixture
def ssh_server(tmp_path: Path) -> Iterator[SshServer]:
    sshd = shutil.which("sshd", path=f"{os.defpath}:/usr/sbin")
    if sshd is None:
        pytest.skip("install openssh-server")
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name))
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized_keys")
    port = free_port()
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [
            *(sshd, "-D", "-f", "/dev/null", "-p", str(port), "-h", tmp_path / "host"),
            *("-o", "ListenAddress=127.0.0.1", "-o", "StrictModes=no", "-o", "PidFile=none"),
            *("-o", f"AuthorizedKeysFile={tmp_path / 'authorized_keys'}"),
        ],
        stderr=subprocess.DEVNULL,
    )
    wait_for(port)
    key = " ".join((tmp_path / "host.pub").read_text().split()[:2])
    address = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
    yield SshServer(address, f"[127.0.0.1]:{port} {key}\n", (tmp_path / "user").read_text())
    process.terminate()
    process.wait(60)


async def test_a_private_repository_is_fetched_over_ssh(
    builder: BuildahBuilder,
    repository: RepositoryOnDisk,
    log: Log,
    ssh_server: SshServer,
    tmp_path: Path,
) -> None:
    uri = f"{ssh_server.address}{repository.path}"
    source = GitSource(
        uri, ssh_private_key=ssh_server.private_key, ssh_known_hosts=ssh_server.known_hosts
    )
    checkout = await builder.fetch("uid-ssh", source, log)
    assert (checkout.path / "app").read_text() == "1"

    other = (tmp_path / "user.pub").read_text().split()[:2]
    port = ssh_server.known_hosts.split()[0]
    impostor = GitSource(
        uri,
        ssh_private_key=ssh_server.private_key,
        ssh_known_hosts=f"{port} {' '.join(other)}\n",
    )
    with pytest.raises(BuildError, match=r"(?i)host key"):
        await builder.fetch("uid-ssh", impostor, log)
    with pytest.raises(BuildError, match="Permission denied"):
        await builder.fetch("uid-ssh", GitSource(uri), log)


async def test_a_proxy_is_asked(builder: BuildahBuilder, log: Log) -> None:
    proxy = f"http://user:hidden-word@127.0.0.1:{free_port()}"
    source = GitSource("http://example.test/x.git", proxies=Proxies(http=proxy))
    with pytest.raises(BuildError, match=r"127\.0\.0\.1") as caught:
        await builder.fetch("uid-proxy", source, log)
    assert "hidden-word" not in str(caught.value) + log.text + repr(source)


async def test_large_files_are_fetched_in_place_of_their_pointers(
    builder: BuildahBuilder, repository: RepositoryOnDisk, log: Log
) -> None:
    if shutil.which("git-lfs") is None:
        pytest.skip("install git-lfs")
    content = b"large" * 1000
    oid = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    (repository.path / ".gitattributes").write_text("*.bin filter=lfs\n")
    (repository.path / "big.bin").write_text(pointer)
    async with large_files(content) as place:
        (repository.path / ".lfsconfig").write_text(f"[lfs]\n\turl = http://{place}/lfs\n")
        repository.git("-c", "filter.lfs.clean=cat", "add", "--all")
        repository.git("commit", "--quiet", "--message", "large")
        checkout = await builder.fetch("uid-lfs", GitSource(repository.uri), log)
    assert (checkout.path / "big.bin").read_bytes() == content


async def test_a_mirror_survives_restarts_and_belongs_to_one_login(
    settings: BuildahSettings, repository: RepositoryOnDisk, log: Log
) -> None:
    cache = settings.work_dir / "git"
    for number in range(3):
        wanted = repository.commit(f"change {number}", app=str(number))
        builder = BuildahBuilder(settings, dialer=None)
        await builder.recover()
        checkout = await builder.fetch("uid-cached", GitSource(repository.uri, "main"), log)
        assert (checkout.path / "app").read_text() == str(number)
        assert checkout.revision is not None
        assert checkout.revision.commit == wanted
    [mirror] = cache.iterdir()
    assert len(list(mirror.glob("objects/pack/*.pack"))) == 3

    await builder.fetch("uid-other", GitSource(repository.uri, "main", password="x"), log)
    assert len(list(cache.iterdir())) == 2
    both = [GitSource(repository.uri, "main"), GitSource(repository.uri)]
    async with asyncio.TaskGroup() as group:
        for index, source in enumerate(both * 2):
            group.create_task(builder.fetch(f"uid-{index}", source, log))


async def test_a_mirror_that_a_killed_fetch_left_is_made_anew(
    builder: BuildahBuilder, settings: BuildahSettings, repository: RepositoryOnDisk, log: Log
) -> None:
    source = GitSource(repository.uri, "main")
    await builder.fetch("uid-killed", source, log)
    [mirror] = (settings.work_dir / "git").iterdir()
    (mirror / "shallow.lock").touch()
    (mirror / "HEAD").write_text("half")
    await builder.fetch("uid-killed", source, log)
    assert not (mirror / "shallow.lock").exists()


async def test_mirrors_have_a_common_limit(
    settings: BuildahSettings, repository: RepositoryOnDisk, log: Log, tmp_path: Path
) -> None:
    limits = GitLimits(cache_bytes=600_000)
    builder = BuildahBuilder(replace(settings, git_limits=limits), dialer=None)
    for name in ("one", "two"):
        other = RepositoryOnDisk(tmp_path / name)
        other.commit("big", big=os.urandom(200_000).hex())
        await builder.fetch(f"uid-{name}", GitSource(other.uri), log)
    assert len(list((settings.work_dir / "git").iterdir())) == 2
    await builder.fetch("uid-third", GitSource(repository.uri), log)
    limits = GitLimits(cache_bytes=300_000)
    smaller = BuildahBuilder(replace(settings, git_limits=limits), dialer=None)
    await smaller.fetch("uid-third", GitSource(repository.uri), log)
    sizes = [size_of(path) for path in (settings.work_dir / "git").iterdir()]
    assert sum(sizes) <= 300_000
