"""A vendor's registry, a git server and `upwell serve`: real processes on free loopback ports."""

import asyncio
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from tests.support.builds.base_images import serve_registry
from tests.support.cli.command_process import ServerProcess, run_upwell, start_upwell
from tests.support.ports import free_port
from tests.support.workload.power import cut_power

from upwell.api.manifests import parse_manifests
from upwell.app.client import create_client
from upwell.app.local_access import find_access
from upwell.app.server import remove_workloads
from upwell.settings import ServerSettings
from upwell.store.interface import ApiClient
from upwell.workload.podman.volumes.mounts import mounts_below

TOOLS = {
    "buildah": "buildah",
    "busybox": "busybox-static",
    "docker-registry": "docker-registry",
    "git": "git",
    "haproxy": "haproxy",
    "podman": "podman",
    "runc": "runc",
}
PROGRAM = (sys.executable, "-m", "upwell")
DEADLINE_SECONDS = 120.0
_POLL_SECONDS = 0.02
_CHEAP_SECONDS = 0.05
_LONGEST_CHEAP_POLL_SECONDS = 0.1
_LONGEST_POLL_SECONDS = 0.5
_START_SECONDS = 120.0
_STOP_SECONDS = 60.0


async def until[T](
    observe: Callable[[], Awaitable[T]],
    holds: Callable[[T], bool],
    seconds: float = DEADLINE_SECONDS,
    *,
    closely: bool = False,
) -> T:
    """Observe until it holds, and return what was observed; fails with what was seen last.

    `closely`: what is waited for passes, so that each look is as soon as ever after the last.
    """
    began = time.monotonic()
    pause = _POLL_SECONDS
    seen = await observe()
    try:
        async with asyncio.timeout(seconds):
            while not holds(seen):
                await asyncio.sleep(pause)
                looked = time.monotonic()
                seen = await observe()
                now = time.monotonic()
                pause = _pause_after(now - looked, 0.0 if closely else now - began)
    except TimeoutError:
        raise AssertionError(f"still after {seconds:.0f} s: {seen}") from None
    return seen


def _pause_after(seconds: float, waited: float) -> float:
    """Return the pause after an observation of so many seconds, once so many have been waited.

    A long one must not take all the processor, nor many short ones a part that others need.
    """
    if seconds < _CHEAP_SECONDS:
        return min(max(_POLL_SECONDS, waited / 10), _LONGEST_CHEAP_POLL_SECONDS)
    return min(2 * seconds, _LONGEST_POLL_SECONDS)


@dataclass
class Installation:
    """One data directory, and the server on it that is started, killed and started again."""

    folder: Path
    git: str
    """URL of the repositories; each is a folder below `repositories`."""
    vendor: str = ""
    """host:port of the vendor's registry, if there is one."""
    port: int = field(default_factory=free_port)
    router_port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    program: tuple[str, ...] = PROGRAM
    mounts: list[Path] = field(default_factory=list)
    spare_ports: list[int] = field(default_factory=lambda: [free_port() for _ in range(24)])
    """Ports on loopback that objects may name: whoever serves there takes one (`spare_port`)."""
    data_name: str = "data"
    """The data folder's, below `folder`."""
    _server: subprocess.Popen[bytes] | ServerProcess | None = None
    _taken: int = 0

    @property
    def url(self) -> str:
        scheme = "https" if "--tls" in self.options else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    @property
    def data_dir(self) -> Path:
        return self.folder / self.data_name

    @property
    def storage(self) -> Path:
        return self.folder / "containers"

    @property
    def repositories(self) -> Path:
        return self.folder / "git"

    @property
    def pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    @property
    def is_alive(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def spare_port(self) -> int:
        """Return a port on loopback that objects may name, another one each time."""
        self._taken += 1
        return self.spare_ports[self._taken - 1]

    @property
    def neighbours(self) -> list[str]:
        """Places on loopback that objects may name, by port."""
        spare = [f"127.0.0.1:{port}" for port in self.spare_ports]
        return [*filter(None, (self.vendor, urlsplit(self.git).netloc)), *spare]

    def command(self) -> list[str]:
        """The command line of the server."""
        return [
            *(*self.program, "serve"),
            *("--data-dir", str(self.data_dir), "--container-storage", str(self.storage)),
            *("--listen", f"127.0.0.1:{self.port}", "--router", f"127.0.0.1:{self.router_port}"),
            *("--log-level", "debug"),
            *self.options,
        ]

    async def start(self) -> None:
        """Start the server and wait until it is ready."""
        self.launch()
        await until(self._is_ready, bool, _START_SECONDS)

    def launch(self) -> None:
        """Start the server, and wait for nothing."""
        with (self.folder / "serve.log").open("ab") as log:
            environment = {**os.environ, "UPWELL_ALLOW_OUTBOUND": " ".join(self.neighbours)}
            if self.program == PROGRAM:  # its imports cost more than all else of a start
                self._server = start_upwell(
                    *self.command()[len(PROGRAM) :],
                    output=log,
                    folder=self.folder,
                    environment=environment,
                )
            else:
                self._server = subprocess.Popen(
                    self.command(),
                    env=environment,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    start_new_session=True,
                )

    def kill(self) -> None:
        """Kill the server as the kernel does when memory runs out: it learns nothing of it."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def power_off(self, *, wipe_runtime: bool) -> None:
        """Cut the power of the server's machine; the vendor's and the git server go on.

        `wipe_runtime`: the folders of what runs are in memory, as the system's own are; otherwise
        they are on the disk, and say afterwards what is no longer so.
        """
        runtimes = (self.storage / "run", self.data_dir / "builder" / "run")
        servers = [self.pid] if self.is_alive else []
        cut_power((self.data_dir, self.storage), runtimes, servers, wipe=wipe_runtime)
        if self._server is not None:
            self._server.wait(_STOP_SECONDS)
            self._server = None

    def stop(self) -> None:
        """End the server in good order."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGTERM)
        try:
            self._server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._server = None

    def log(self) -> str:
        return (self.folder / "serve.log").read_text()

    @property
    def token(self) -> str:
        """Return the token of the user who started the server."""
        access = find_access(self.url)
        return access.token if access else ""

    def client(self) -> ApiClient:
        return create_client(self.url)

    async def apply(self, client: ApiClient, manifests: str) -> None:
        """Apply manifests in the namespace `default`."""
        for document in parse_manifests(manifests, "the test"):
            document["metadata"].setdefault("namespace", "default")
            await client.apply(document, field_manager="test")

    def upwell(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command line against this server."""
        return run_upwell(
            *("--server", self.url, *arguments),
            text=text,
            seconds=DEADLINE_SECONDS,
            folder=self.folder,
        )

    def commit(self, repository: str, files: Mapping[str, str]) -> None:
        """Make the repository hold exactly these files; those that begin with #! can be run."""
        work = self.repositories / repository
        work.mkdir(parents=True, exist_ok=True)
        if not (work / ".git").exists():
            _git(work, "init", "--quiet", "--initial-branch=main")
        for name, text in files.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if text.startswith("#!") else 0o644)
        _git(work, "add", "--all")
        _git(work, "commit", "--quiet", "--allow-empty", "--message=change")

    def kill_container(self, name: str) -> None:
        """Kill what runs in a container, as an application that crashes."""
        self._podman("kill", name)

    def container_started_at(self, name: str) -> set[str]:
        """Time of a container's last start, in Podman's words; nothing if it is gone."""
        return self._podman("ps", f"--filter=name=^{name}$", "--format={{.StartedAt}}")

    def podman_names(self, *filters: str) -> set[str]:
        """Names of all containers, or of those that filters leave, as Podman itself says."""
        return self._podman("ps", "--all", "--format={{.Names}}", *filters)

    def podman_volumes(self) -> set[str]:
        """Names of all of Podman's own volumes."""
        return self._podman("volume", "ls", "--quiet")

    def working_containers(self) -> set[str]:
        """Names of the containers that builds have left in Buildah's storage."""
        return self._buildah("containers", "--all", "--quiet")

    def leave_half_a_working_container(self) -> None:
        """Do as a Buildah that was killed before it wrote down that a container is its own."""
        image = min(self._buildah("images", "--quiet"))
        (name,) = self._buildah("from", "--pull-never", image)
        (number,) = self._buildah("containers", "--quiet", f"--filter=name={name}")
        storage = self.data_dir / "builder" / "storage"
        (record,) = storage.glob(f"*-containers/{number}/userdata/buildah.json")
        record.unlink()

    def build_folders(self) -> list[str]:
        folders = self.data_dir / "builds" / "builds"
        return sorted(path.name for path in folders.glob("*"))

    def temporary_folders(self) -> list[str]:
        """Return the folders that builds have left outside of the data directory."""
        uids = {path.stem for path in (self.data_dir / "logs" / "builds").glob("*.log")}
        folders = Path("/var/tmp").glob("upwell-*/*")  # noqa: S108 - Buildah's, by default
        return sorted(str(path) for path in folders if path.name in uids)

    def build_processes(self) -> list[str]:
        """Command lines that run on behalf of builds."""
        marker = f"UPWELL_BUILDER={self.data_dir / 'builds'}"
        return [line for _, line, environ in _processes() if marker in environ]

    def builder_pids(self, uid: str) -> list[int]:
        """Processes of Buildah that carry out the build."""
        marker, folder = f"UPWELL_BUILDER={self.data_dir / 'builds'}", f"/{uid}/"
        return [
            pid
            for pid, line, environ in _processes()
            if marker in environ and folder in line and line.startswith("buildah ")
        ]

    def inputs_tags(self, repository: str) -> list[str]:
        """The sets of inputs that were built into the repository, by their tags."""
        folder = self._kept(repository) / "_tags"
        return sorted(path.name for path in folder.glob("inputs-*"))

    def manifests(self, repository: str) -> list[str]:
        """Every manifest of the repository, those of signatures too, by its digest."""
        folder = self._kept(repository) / "_manifests"
        return sorted(f"{path.parent.name}:{path.name}" for path in folder.glob("*/*"))

    def images(self, repository: str) -> set[str]:
        """Every image that was ever pushed to the repository, by its digest."""
        folder = self._kept(repository) / "_manifests"
        return {
            digest
            for digest in self.manifests(repository)
            if is_image(json.loads(folder.joinpath(*digest.split(":")).read_text()))
        }

    def tagged(self, repository: str) -> set[str]:
        """The images of the repository that a tag names."""
        tags = (self._kept(repository) / "_tags").glob("*")
        return {path.read_text() for path in tags} - self._attached(repository)

    def _attached(self, repository: str) -> set[str]:
        """Signatures and attestations, by the tags of cosign."""
        tags = (self._kept(repository) / "_tags").glob("sha256-*.*")
        return {path.read_text() for path in tags}

    def build_log(self, uid: str) -> str:
        path = self.data_dir / "logs" / "builds" / f"{uid}.log"
        return path.read_text() if path.exists() else ""

    async def remove(self) -> None:
        """Stop everything, and say what resists."""
        self.stop()
        settings = ServerSettings(data_dir=self.data_dir, container_storage=self.storage)
        if (self.data_dir / "instance-id").exists():
            await remove_workloads(settings)
        end_orphaned_services(self.folder)  # they would keep the file system busy
        await self._unmount()

    async def _unmount(self) -> None:
        end_orphaned_services(self.folder)  # they keep their log open
        # A Podman that was killed leaves its storage mounted upon itself; one that cleans up after
        # a container, a moment after its end, would mount it again.
        own = self.storage / "storage" / "overlay"
        for place in [own, *reversed(self.mounts)]:

            async def fault(place: Path = place) -> str:
                cleaning = [line for _, line, _ in _processes() if f"{self.storage}/" in line]
                return "; ".join(cleaning) or await asyncio.to_thread(_unmount, place)

            await until(fault, "".__eq__)

    def mount_small_disk(self, place: Path, megabytes: int) -> None:
        """Put a file system of this size there, until the installation is removed."""
        place.mkdir(parents=True, exist_ok=True)
        self.mounts.append(place)
        size = f"size={megabytes}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", place], check=True, timeout=30)

    def enlarge_disk(self, place: Path, megabytes: int) -> None:
        size = f"remount,size={megabytes}m"
        subprocess.run(["mount", "-o", size, place], check=True, timeout=30)

    def _kept(self, repository: str) -> Path:
        return self.data_dir / "registry" / "repositories" / repository

    @property
    def _conf(self) -> Path:
        return self.data_dir / "containers.conf"

    def _buildah(self, *arguments: str) -> set[str]:
        root = self.data_dir / "builder"
        storage = (f"--root={root / 'storage'}", f"--runroot={root / 'run'}")
        return _lines("buildah", *storage, *arguments, conf=self._conf)

    def _podman(self, *arguments: str) -> set[str]:
        run = self.storage / "run"
        storage = (
            f"--root={self.storage / 'storage'}",
            f"--runroot={run}",
            f"--tmpdir={run / 'libpod'}",
        )
        return _lines("podman", *storage, *arguments, conf=self._conf)

    async def _is_ready(self) -> bool:
        if not self.is_alive:
            raise AssertionError(f"the server has ended:\n{self.log()[-4000:]}")
        authority = self.data_dir / "tls" / "ca.pem"
        try:
            # The system's authorities cost more than all the rest of an answer.
            trust = authority.exists() and ssl.create_default_context(cafile=authority)
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self.url}/readyz", ssl=trust or True) as answer,
            ):
                return answer.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def installation(
    *options: str,
    vendor: str | None = None,
    settings: Mapping[str, str] | None = None,
    prepare: Callable[[Installation], None] | None = None,
    program: tuple[str, ...] = PROGRAM,
) -> AsyncIterator[Installation]:
    """Run all three while the block lasts; fails when anything is left afterwards.

    `settings` are variables of the vendor's registry; `vendor` is the address of another one;
    `prepare` is called before the first start; `program` is what serves.
    """
    require_tools()
    # Not pytest's folder: the paths of sockets are limited to 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="upwell-"))
    try:
        with (
            contextmanager(serve_registry)(_made(folder / "vendor"), settings) as address,
            _git_daemon(_made(folder / "git")) as git,
        ):
            made = Installation(folder, git, vendor or address, options=options, program=program)
            if prepare is not None:
                prepare(made)
            try:
                await made.start()
                yield made
            except BaseException as error:
                error.add_note(f"the server said at last:\n{made.log()[-6000:]}")
                raise
            finally:
                await made.remove()
        end_orphaned_services(folder)
        if left := left_behind(folder):
            raise AssertionError(f"left behind: {left}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_tools() -> None:
    missing = sorted(package for tool, package in TOOLS.items() if shutil.which(tool) is None)
    if missing:
        pytest.skip(f"apt install {' '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("building and running containers needs root")


def end_orphaned_services(folder: Path) -> None:
    """End the Podman services of killed servers: by themselves they end after an idle minute."""
    for pid, line, _ in _processes():
        if f"unix://{folder}/" in line and " system service " in line:
            os.kill(pid, signal.SIGKILL)


def _unmount(place: Path) -> str:
    """Unmount all that lies there, or return why not and who holds it."""
    while place in mounts_below(place.parent):  # `is_mount` does not tell a bind mount
        done = subprocess.run(["umount", place], check=False, capture_output=True, timeout=30)
        if done.returncode:
            return f"{done.stderr!r} {holders_of(place)}"
    return ""


def holders_of(place: Path) -> list[str]:
    """Command lines of processes that work in the place or have a file open there."""
    found = []
    for pid, line, _ in _processes():
        process = Path(f"/proc/{pid}")
        with suppress(OSError):
            used = [one.readlink() for one in [process / "cwd", *(process / "fd").iterdir()]]
            if any(one.is_relative_to(place) for one in used):
                found.append(line)
    return found


def left_behind(folder: Path) -> list[str]:
    """Processes, mounts and networks of an installation; what is just ending gets some time."""
    deadline = time.monotonic() + 10
    while (found := list(_left(folder))) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return found


def _left(folder: Path) -> Iterator[str]:
    yield from (line for _, line, environ in _processes() if str(folder) in f"{line} {environ}")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    yield from (line for line in mounts if f" {folder}/" in line)
    name = folder / "data" / "instance-id"
    if name.exists():
        config = Path(f"/etc/containers/networks/upwell-{name.read_text().strip()}.json")
        yield from [str(config)] if config.exists() else []


def _processes() -> Iterator[tuple[int, str, str]]:
    """Yield number, command line and environment of every process but this one."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environ = (entry / "environ").read_bytes().decode(errors="replace")
            if line and int(entry.name) != os.getpid():
                yield int(entry.name), line, environ


def _lines(*argv: str, conf: Path) -> set[str]:
    environment = {**os.environ, "CONTAINERS_CONF": str(conf)}
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@contextmanager
def _git_daemon(base: Path) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [
            *("git", "daemon", f"--base-path={base}", "--export-all", "--reuseaddr"),
            *("--listen=127.0.0.1", f"--port={port}", str(base)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield f"git://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # git starts the daemon as a child
        process.wait(10)


def _git(work: Path, *arguments: str) -> None:
    identity = {
        f"GIT_{role}_{what}": text
        for role in ("AUTHOR", "COMMITTER")
        for what, text in {"NAME": "Ada", "EMAIL": "ada@example.com"}.items()
    }
    environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", *arguments], cwd=work, check=True, env=environment, timeout=30)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def is_image(manifest: Mapping[str, Any]) -> bool:
    """Return whether a manifest is an image's: those of signatures have other layers."""
    return all("image" in layer["mediaType"] for layer in manifest.get("layers", ()))
