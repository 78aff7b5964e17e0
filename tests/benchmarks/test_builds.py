"""Source builds of a running server beside the same steps by hand, and beside s2i.

Run with `pytest -m benchmark -s tests/benchmarks/test_builds.py`; `s2i` is taken if it is in PATH.
"""

import asyncio
import os
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

import pytest
from tests.support.benchmarks.ended_builds import LIMIT_SECONDS, EndedBuilds
from tests.support.benchmarks.processor_time import listener, measured, tree_seconds
from tests.support.benchmarks.ratios import Ratios
from tests.support.builds.base_images import run, serve_registry
from tests.support.builds.by_hand import timed
from tests.support.builds.debian_applications import (
    EXPRESS,
    LARGE_NODE,
    PYTHON,
    TINY,
    App,
    BuilderImageContext,
)
from tests.support.installation.applications import base_stream, source_build, stream
from tests.support.installation.installation import PROGRAM, Installation, installation, until

from upwell.store.interface import ApiClient

pytestmark = pytest.mark.benchmark

ROUNDS = 4
CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
RECIPE = """\
FROM {builder}
LABEL "io.k8s.display-name"="app" "io.openshift.s2i.build.image"="{builder}"
USER root
COPY --chown=1001:0 source/app /tmp/src
USER 1001
RUN /usr/libexec/s2i/assemble
CMD /usr/libexec/s2i/run
"""
"""As `s2i build --as-dockerfile` writes it."""


@dataclass
class BuildSide:
    """One way to build: what it took, build by build, and the processes that are its own."""

    name: str
    pids: tuple[int, ...]
    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    """Seconds of its own processes, those of registries that serve it too."""

    def used(self) -> float:
        return sum(map(tree_seconds, self.pids))

    def note(self, clock: float, processor: float) -> None:
        self.clock.append(clock)
        self.processor.append(processor)

    def __str__(self) -> str:
        used = sorted(self.processor)
        return (
            f"{self.name:<8} {statistics.median(used):6.2f} s of processors"
            f" ({used[0]:.2f} to {used[-1]:.2f}), {statistics.median(self.clock):6.2f} s"
        )


@dataclass(frozen=True)
class BuildSite:
    """An installation, and a registry apart: for builder images, and what others push."""

    made: Installation
    client: ApiClient
    ended: EndedBuilds
    registry: str
    registry_pid: int
    folder: Path
    builder: BuilderImageContext
    podman: int | None
    """The service of Podman that s2i builds with; None: there is no s2i."""

    def next_builder(self) -> str:
        """Push another builder image, as another fix of the distribution would be."""
        fix = str(time.monotonic_ns())
        self.builder.change(fix)
        store, digest = _store(self.folder / "vendor"), self.folder / "digest"
        made = run(*store, "build", "--quiet", str(self.builder.folder), seconds=LIMIT_SECONDS)
        target = f"{self.registry}/vendor/builder"
        flags = ("--quiet", "--tls-verify=false", f"--digestfile={digest}")
        run(*store, "push", *flags, made, f"docker://{target}:1", seconds=LIMIT_SECONDS)
        run(*store, "rmi", made)
        return f"{target}@{digest.read_text()}"

    def change_source(self) -> None:
        files = self.made.repositories / "app"
        (files / "app" / "changed").write_text(str(time.monotonic_ns()))
        author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        for command in (("add", "--all"), ("commit", "--quiet", "--message=change")):
            run("git", *author, *command, cwd=files)

    @property
    def repository(self) -> str:
        return f"{self.made.git}/app"

    async def by_server(self, side: BuildSide, request: str) -> None:
        """Have the server build once, and wait until all is tidied up."""
        began, used = time.monotonic(), side.used()
        name = {"start-build": "app", "import-image": "builder:1"}[request]
        asked = await asyncio.to_thread(self.made.upwell, request, name)
        assert asked.returncode == 0, asked.stderr
        await self.ended.next_one()
        clock = time.monotonic() - began

        async def folders() -> list[str]:
            return self.made.build_folders()

        await until(folders, [].__eq__)
        side.note(clock, side.used() - used)

    async def by_hand(self, side: BuildSide, image: str) -> None:
        """Clone, pull, build, push, as a person would type it."""
        work = _emptied(self.folder / "hand")
        (work / "Dockerfile").write_text(RECIPE.format(builder=image))
        buildah = " ".join(_store(self.folder / "by-hand"))
        target = f"docker://{self.registry}/hand/app:1"
        script = f"""
            git clone --quiet --depth=1 {self.repository} source
            {buildah} pull --quiet --tls-verify=false {image}
            {buildah} build --quiet --pull=never --tag=app .
            {buildah} push --quiet --tls-verify=false app {target}
        """
        await self._timed(side, script, work, {})

    async def by_s2i(self, side: BuildSide, image: str) -> None:
        work = _emptied(self.folder / "s2i")
        podman = f"podman --root={self.folder}/podman/root --runroot={self.folder}/podman/run"
        target = f"docker://{self.registry}/s2i/app:1"
        script = f"""
            s2i build --context-dir=app {self.repository} {image} app
            {podman} push --quiet --tls-verify=false app {target}
        """
        await self._timed(side, script, work, {"DOCKER_HOST": _socket(self.folder)})

    async def _timed(
        self, side: BuildSide, script: str, work: Path, more: Mapping[str, str]
    ) -> None:
        began, used = time.monotonic(), side.used()
        environment = {**_configuration(self.folder), "HOME": str(work), **more}
        own = await timed(script, work, environment)
        side.note(time.monotonic() - began, own + side.used() - used)


def _emptied(folder: Path) -> Path:
    run("rm", "-rf", str(folder))
    folder.mkdir()
    return folder


def _store(folder: Path) -> tuple[str, ...]:
    return ("buildah", f"--root={folder / 'root'}", f"--runroot={folder / 'run'}")


def _socket(folder: Path) -> str:
    return f"unix://{folder / 'podman.sock'}"


def _configuration(folder: Path) -> dict[str, str]:
    return {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
    }


@asynccontextmanager
async def podman_service(folder: Path) -> AsyncIterator[int | None]:
    """Run Podman's service for s2i; None: there is no s2i."""
    if which("s2i") is None:
        yield None
        return
    root = folder / "podman"
    argv = ("podman", f"--root={root / 'root'}", f"--runroot={root / 'run'}")
    process = await asyncio.create_subprocess_exec(
        *measured(*argv, "system", "service", "--time=0", _socket(folder)),
        env={**os.environ, **_configuration(folder)},
        stderr=subprocess.DEVNULL,
    )

    async def listens() -> bool:
        assert process.returncode is None, "Podman's service has ended"
        return (folder / "podman.sock").exists()

    try:
        await until(listens, bool, LIMIT_SECONDS)
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@asynccontextmanager
async def site(app: App, folder: Path) -> AsyncIterator[BuildSite]:
    (folder / "builder").mkdir()
    builder = BuilderImageContext(app, folder / "builder")
    (folder / "containers.conf").write_text(CONF)
    (folder / "registry").mkdir()
    async with installation(program=measured(*PROGRAM)) as made, made.client() as client:
        port = made.spare_port()
        registry = f"127.0.0.1:{port}"
        insecure = f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n'
        (folder / "registries.conf").write_text(insecure)
        made.commit("app", {"app/name": "app\n"})
        app.write_source(made.repositories / "app" / "app")
        ended = EndedBuilds()
        async with podman_service(folder) as podman:
            with contextmanager(serve_registry)(folder / "registry", port=port):
                pid = listener(port)
                found = BuildSite(made, client, ended, registry, pid, folder, builder, podman)
                watching = asyncio.create_task(ended.watch(client))
                try:
                    yield found
                finally:
                    watching.cancel()
                    await asyncio.wait([watching])


@pytest.mark.parametrize("app", [TINY, PYTHON, EXPRESS, LARGE_NODE], ids=lambda app: app.name)
async def test_builds_take_as_long_as_by_hand(app: App, tmp_path: Path, ratios: Ratios) -> None:
    async with site(app, tmp_path) as place:
        objects = base_stream(place.registry, "builder", scheduled=False) + stream("app")
        place.change_source()
        image = place.next_builder()
        await place.made.apply(
            place.client, objects + source_build("app", place.repository, "builder:1")
        )
        await place.ended.next_one()
        for change in ("source", "builder"):
            sides = await _compared(place, change, image)
            _report(app.name, change, sides, ratios)


async def _compared(place: BuildSite, change: str, image: str) -> list[BuildSide]:
    """Return the sides after some rounds, in each of which another begins."""
    podman = (place.podman,) if place.podman else ()
    served = (place.registry_pid, listener(int(place.made.git.rpartition(":")[2])))
    sides = [BuildSide("upwell", (place.made.pid, *served)), BuildSide("by hand", served)]
    sides += [BuildSide("s2i", (*podman, *served))] if podman else []
    for number in range(ROUNDS + 1):
        if change == "source":
            place.change_source()
        else:
            image = place.next_builder()
        for side in (*sides[number % len(sides) :], *sides[: number % len(sides)]):
            os.sync()  # what an earlier step left to the disk is not this one's time
            if side.name == "upwell":
                await place.by_server(side, "start-build" if change == "source" else "import-image")
            elif side.name == "s2i":
                await place.by_s2i(side, image)
            else:
                await place.by_hand(side, image)
        if number == 0:
            for side in sides:  # all stores have the image now
                side.clock.clear()
                side.processor.clear()
    return sides


def _report(app: str, change: str, sides: list[BuildSide], ratios: Ratios) -> None:
    ours, *others = sides
    _say(f"\n{app}, {change} changed\n" + "\n".join(map(str, sides)))
    for other in others:
        pairs = list(zip(ours.processor, other.processor, strict=True))
        found = sorted(we / they for we, they in pairs)
        ratio = statistics.median(found)
        _say(f"  of {other.name}: {ratio:.2f} ({found[0]:.2f} to {found[-1]:.2f})")
        ratios.note_cost(f"build of {app}, {change} changed, processor of {other.name}", ratio)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # a benchmark's result
