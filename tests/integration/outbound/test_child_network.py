"""Child processes in a network of their own: real namespaces, git, and git-lfs."""

import asyncio
import hashlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.gitops.git_host import GitHost
from tests.support.gitops.http_servers import large_files
from tests.support.verification.loopback import says, server

from upwell.git.client import GitClient
from upwell.git.commands import GitProgram
from upwell.git.interface import CommitInfo, GitError, GitLimits, GitSource, Proxies
from upwell.machine.folder import PrivateFolder
from upwell.machine.process import SYSTEM_PATH, ChildCommand, Launcher
from upwell.outbound import socks_command
from upwell.outbound.child_network import ChildNetwork, child_network
from upwell.outbound.dialing import Dialer
from upwell.outbound.policy import OutboundPolicy

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


def allowing(*places: str) -> Dialer:
    return Dialer(OutboundPolicy.of(places))


async def run(network: ChildNetwork, *argv: str) -> tuple[int, str]:
    environment = {"PATH": SYSTEM_PATH, socks_command.SOCKS_VARIABLE: network.variable}
    command = ChildCommand(argv, environment, Path("/"), network.namespace)
    result = await Launcher("tests").capture(command, 1024 * 1024)
    return result.code, result.output + result.tail


def connecting(place: str) -> tuple[str, ...]:
    host, _, port = place.rpartition(":")
    program = f"import socket; print(socket.create_connection(('{host}', {port}), 5).recv(9))"
    return (sys.executable, "-I", "-c", program)


def through_socks(place: str) -> tuple[str, ...]:
    host, _, port = place.rpartition(":")
    return (sys.executable, "-I", "-S", socks_command.__file__, host, port)


@asynccontextmanager
async def greeter() -> AsyncIterator[str]:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        writer.close()

    listening = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with listening:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def test_a_child_that_connects_by_itself_gets_nowhere() -> None:
    async with greeter() as place, child_network(allowing("192.0.2.0/24")) as network:
        assert network.namespace is not None
        for where in (place, "192.0.2.1:80", "198.51.100.1:80"):
            code, said = await run(network, *connecting(where))
            assert code != 0, said
            assert "welcome" not in said


async def test_what_is_asked_for_is_judged() -> None:
    async with (
        greeter() as allowed,
        greeter() as other,
        child_network(allowing(allowed)) as network,
    ):
        assert await run(network, *through_socks(allowed)) == (0, "welcome")
        assert not network.refusal
        code, said = await run(network, *through_socks(other))
        assert (code, said.strip()) == (1, f"{other} is refused")
        assert network.refusal.startswith("refused: 127.0.0.1 is a loopback address")


async def test_allowed_loopback_is_there_for_what_uses_no_proxy() -> None:
    async with greeter() as allowed, child_network(allowing(allowed)) as network:
        code, said = await run(network, *connecting(allowed))
        assert (code, said.strip()) == (0, "b'welcome'")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_is_left_of_a_network() -> None:
    before = open_descriptors()
    async with greeter() as allowed, child_network(allowing(allowed)) as network:
        await run(network, *through_socks(allowed))
    assert open_descriptors() <= before


async def test_without_a_namespace_the_server_asks_for_its_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "unshare", refuse)
    async with greeter() as allowed, child_network(allowing(allowed)) as network:
        assert network.namespace is None
        assert network.secret in network.proxy
        assert network.secret not in repr(network)
        assert await run(network, *through_socks(allowed)) == (0, "welcome")
        reader, writer = await asyncio.open_connection(*network.place.split(":"))
        writer.write(b"\x05\x01\x00")
        assert await reader.read() == b"\x05\xff"
        writer.close()
        reader, writer = await asyncio.open_connection(*network.place.split(":"))
        writer.write(b"\x05\x01\x02\x01\x01u\x01x")
        assert await reader.read() == b"\x05\x02\x01\x01"
        writer.close()


@pytest.mark.parametrize(
    "said",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x04\x01\x00\x50", b"\x05\x01\x00\x05\x02\x00\x01", b"\x05"],
)
async def test_what_is_no_request_is_ended(said: bytes) -> None:
    async with child_network(allowing()) as network:
        host, _, port = network.place.partition(":")
        program = (
            f"import socket; s = socket.create_connection(('{host}', {port}), 5);"
            f"s.sendall({said!r}); s.shutdown(1); print(len(s.recv(99)) < 99)"
        )
        code, out = await run(network, sys.executable, "-I", "-c", program)
        assert (code, out.strip()) == (0, "True")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    found = GitHost(tmp_path / "host")
    found.push("by hand", {"app": "1"})
    found.start()
    yield found
    found.stop()


async def fetch(dialer: Dialer | None, source: GitSource, folder: Path) -> CommitInfo:
    environment = {"PATH": SYSTEM_PATH, "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    program = GitProgram(Launcher(str(folder)), environment, allow_local=True, dialer=dialer)
    private = PrivateFolder(folder / "private")
    private.create()
    tree = folder / "tree"
    tree.mkdir()
    return await GitClient(program, GitLimits(seconds=60)).fetch(source, private, tree, print)


async def test_git_fetches_from_an_allowed_host(host: GitHost, tmp_path: Path) -> None:
    found = await fetch(allowing(f"127.0.0.1:{host.port}"), GitSource(host.uri), tmp_path)
    assert found.message == "by hand"


@pytest.mark.parametrize("scheme", ["git", "http", "https", "ssh"])
async def test_git_is_refused_this_machine(host: GitHost, tmp_path: Path, scheme: str) -> None:
    uri = host.uri.replace("git://", f"{scheme}://")
    with pytest.raises(GitError, match=r"refused: 127\.0\.0\.1 is a loopback address") as caught:
        await fetch(allowing(), GitSource(uri), tmp_path)
    assert not caught.value.retryable


async def test_git_is_refused_what_a_redirect_names(tmp_path: Path) -> None:
    async with (
        greeter() as inside,
        server(
            says(
                "", "302 Found", Location=f"http://{inside}/x.git/info/refs?service=git-upload-pack"
            )
        ) as outside,
    ):
        with pytest.raises(GitError, match=r"refused: 127\.0\.0\.1 is a loopback address"):
            await fetch(
                allowing(outside.removeprefix("http://")), GitSource(f"{outside}/x.git"), tmp_path
            )


async def test_the_proxy_of_a_source_is_asked_and_judged(tmp_path: Path) -> None:
    heads: list[str] = []

    async def proxy(head: str, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        known = "Proxy-Authorization: Basic dTpwdw==" in head
        status = "503 Service Unavailable" if known else "407 Proxy Authentication Required"
        await says("sorry", status, Proxy_Authenticate='Basic realm="x"')(head, writer)

    async with server(proxy) as url:
        place = url.removeprefix("http://")
        source = GitSource("http://git.test/x.git", proxies=Proxies(http=f"http://u:pw@{place}"))
        with pytest.raises(GitError, match="503"):
            await fetch(allowing(place), source, tmp_path)
        assert heads[0].startswith("GET http://git.test/x.git/info/refs")
        shutil.rmtree(tmp_path / "tree")
        with pytest.raises(GitError, match=r"refused: 127\.0\.0\.1 is a loopback address"):
            await fetch(allowing(), source, tmp_path)


def push_pointer(host: GitHost, content: bytes, url: str) -> None:
    oid = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    files = {
        ".gitattributes": "*.bin filter=lfs\n",
        ".lfsconfig": f"[lfs]\n\turl = {url}\n",
        "big.bin": pointer,
    }
    host.push("large", files)


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="install git-lfs")
class TestLargeFiles:
    CONTENT = b"large" * 1000

    @pytest.fixture(autouse=True)
    def _push_pointers_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GIT_LFS_SKIP_PUSH", "1")

    async def test_they_come_from_an_allowed_place(self, host: GitHost, tmp_path: Path) -> None:
        async with large_files(self.CONTENT) as place:
            push_pointer(host, self.CONTENT, f"http://{place}/lfs")
            dialer = allowing(f"127.0.0.1:{host.port}", place)
            await fetch(dialer, GitSource(host.uri), tmp_path)
        assert (tmp_path / "tree" / "big.bin").read_bytes() == self.CONTENT

    async def test_lfsconfig_turns_git_nowhere_else(self, host: GitHost, tmp_path: Path) -> None:
        async with large_files(self.CONTENT) as place:
            push_pointer(host, self.CONTENT, f"http://{place}/lfs")
            with pytest.raises(GitError, match="Git LFS, which the source uses, failed"):
                await fetch(allowing(f"127.0.0.1:{host.port}"), GitSource(host.uri), tmp_path)
        assert (tmp_path / "tree" / "big.bin").read_bytes() != self.CONTENT

    async def test_an_answer_of_the_server_turns_git_nowhere_else(
        self, host: GitHost, tmp_path: Path
    ) -> None:
        async with (
            large_files(self.CONTENT) as inside,
            large_files(self.CONTENT, f"http://{inside}/object") as place,
        ):
            push_pointer(host, self.CONTENT, f"http://{place}/lfs")
            dialer = allowing(f"127.0.0.1:{host.port}", place)
            with pytest.raises(GitError, match="Git LFS, which the source uses, failed"):
                await fetch(dialer, GitSource(host.uri), tmp_path)
