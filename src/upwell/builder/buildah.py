"""The Buildah adapter: builds in child processes, on an image store of its own."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from upwell.builder import docker
from upwell.builder import source as source_to_image
from upwell.builder.commands import BuildahCommands
from upwell.builder.folder import BuildFolder
from upwell.builder.git import Git, GitLimits
from upwell.builder.interface import (
    BuildError,
    BuildPlan,
    BuildResult,
    Checkout,
    GitSource,
    Limits,
    LogSink,
    Strategy,
)
from upwell.builder.process import Launcher
from upwell.builder.redaction import Redaction, basic_auth
from upwell.builder.workspace import Workspace
from upwell.oci import Digest, Reference

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class BuildahSettings:
    """How builds run on this machine; paths that are None lie in `work_dir`."""

    work_dir: Path
    """Folders of running builds; one builder at a time owns it."""
    storage_root: Path | None = None
    """Images and layers. Nobody else may build here: `recover` removes all working containers."""
    run_root: Path | None = None
    containers_conf: Path | None = None
    registries_conf: Path | None = None
    limits: Limits = field(default_factory=Limits)
    """For builds that state none."""
    isolation: str = "oci"
    network: str = "private"
    """Of builds: `private`, or `none` on a machine where private networks do not work."""
    allow_host_network: bool = False
    allow_local_sources: bool = False
    """Whether git sources and scripts URLs may name paths of this machine."""
    git_limits: GitLimits = field(default_factory=GitLimits)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to every child's environment: proxies, for example."""


class BuildahBuilder:
    """Builder with `buildah` and `git`. A build that ends, however it ends, leaves no process."""

    def __init__(self, settings: BuildahSettings) -> None:
        self._settings = settings
        self._folders = settings.work_dir.resolve() / "builds"
        environment = _environment(settings)
        self._launcher = Launcher(str(settings.work_dir.resolve()))
        self._commands = BuildahCommands(
            self._launcher,
            (settings.storage_root or settings.work_dir / "storage").resolve(),
            (settings.run_root or settings.work_dir / "run").resolve(),
            environment,
        )
        self._git = Git(
            self._launcher,
            environment,
            allow_local=settings.allow_local_sources,
            limits=settings.git_limits,
        )

    async def resolve_revision(self, source: GitSource) -> str:
        """Return the commit that `source.ref` names now; raises BuildError FetchSourceFailed."""
        folder = BuildFolder(self._folders, f"resolve-{time.monotonic_ns()}")
        folder.create()
        try:
            return await self._git.resolve(folder, source)
        finally:
            folder.remove()

    async def fetch(self, build_id: str, source: GitSource, log: LogSink) -> Checkout:
        """Clone into the build's folder; raises BuildError."""
        folder = self._folder(build_id)
        await asyncio.to_thread(shutil.rmtree, folder.source, ignore_errors=True)
        folder.create()
        return await self._git.fetch(folder, source, log)

    async def build(self, plan: BuildPlan, log: LogSink) -> BuildResult:
        """Build and push; raises BuildError."""
        folder = self._folder(plan.id)
        folder.create()
        redaction = Redaction(log, _secrets(plan))
        try:
            async with _deadline(plan.deadline_seconds):
                return await self._build(plan, folder, redaction)
        except BuildError as error:
            await self._remove_containers(plan.id)
            raise BuildError(
                error.reason, redaction.mask(str(error)), retryable=error.retryable
            ) from error
        except asyncio.CancelledError:
            await asyncio.shield(self._remove_containers(plan.id))
            raise
        finally:
            redaction.flush()

    async def discard(self, build_id: str) -> None:
        """Remove the build's working containers and folder; idempotent."""
        await self._remove_containers(build_id)
        await asyncio.to_thread(self._folder(build_id).remove)

    async def recover(self) -> None:
        """Kill and remove all that builds of an earlier, killed process left."""
        self._launcher.kill_leftovers()
        self._settings.work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in await asyncio.to_thread(lambda: list(self._folders.glob("*"))):
            await self._commands.remove_containers(folder)
        await self._commands.remove_all_containers(self._settings.work_dir)
        await asyncio.to_thread(shutil.rmtree, self._folders, ignore_errors=True)

    async def _build(self, plan: BuildPlan, folder: BuildFolder, log: LogSink) -> BuildResult:
        stages: dict[str, float] = {}
        auth = folder.write_logins(plan.logins)
        work = self._workspace(plan, folder, log)
        with _timed(stages, "PullImages"):
            await self._pull(work, auth)
        with _timed(stages, "Build"):
            strategy = source_to_image if plan.strategy is Strategy.SOURCE else docker
            image = await strategy.build(work)
        digest = None
        if plan.push is not None:
            work.say(f"Pushing image {plan.push} ...")
            with _timed(stages, "PushImage"):
                digest = await self._push(plan, plan.push, image, auth)
            work.say(f"Pushed {plan.push.with_digest(digest)}")
        if plan.strategy is Strategy.SOURCE:
            # A Docker build's image is the cache of the next; this one nobody reads again.
            await self._commands.remove_image(image, folder.path)
        return BuildResult(digest, stages)

    async def _pull(self, work: Workspace, auth: Path) -> None:
        for image in dict.fromkeys(work.plan.images.values()):
            work.say(f"Pulling image {image} ...")
            insecure = image.registry in work.plan.insecure_registries
            await self._commands.pull(image, work.folder.path, auth, insecure=insecure)

    async def _push(self, plan: BuildPlan, to: Reference, image: str, auth: Path) -> Digest:
        folder = self._folder(plan.id).path
        insecure = to.registry in plan.insecure_registries
        return await self._commands.push(image, to, folder, auth, insecure=insecure)

    def _workspace(self, plan: BuildPlan, folder: BuildFolder, log: LogSink) -> Workspace:
        if plan.host_network and not self._settings.allow_host_network:
            raise BuildError("GenericBuildFailed", "the host's network is not allowed to builds")
        base = {
            "org.opencontainers.image.base.name": plan.base_name,
            "org.opencontainers.image.base.digest": plan.base_digest,
        }
        return Workspace(
            plan=plan,
            folder=folder,
            log=log,
            commands=self._commands,
            network="host" if plan.host_network else self._settings.network,
            limits=_limits(plan.limits, self._settings.limits),
            annotations={
                **{name: text for name, text in base.items() if text},
                **plan.annotations,
            },
            allow_local_scripts=self._settings.allow_local_sources,
        )

    async def _remove_containers(self, build_id: str) -> None:
        folder = self._folder(build_id)
        if folder.path.exists():
            await self._commands.remove_containers(folder.path)

    def _folder(self, build_id: str) -> BuildFolder:
        return BuildFolder(self._folders, build_id)


def _environment(settings: BuildahSettings) -> dict[str, str]:
    files = {
        "CONTAINERS_CONF": settings.containers_conf,
        "CONTAINERS_REGISTRIES_CONF": settings.registries_conf,
    }
    return {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        "BUILDAH_ISOLATION": settings.isolation,
        **{name: str(path.resolve()) for name, path in files.items() if path is not None},
        **settings.environment,
    }


def _limits(wanted: Limits, default: Limits) -> Limits:
    return Limits(
        wanted.memory_bytes or default.memory_bytes,
        wanted.cpus or default.cpus,
        min(wanted.pids, default.pids),
    )


def _secrets(plan: BuildPlan) -> Iterator[str]:
    for login in plan.logins:
        yield login.password
        yield basic_auth(login.username, login.password)


@asynccontextmanager
async def _deadline(seconds: float | None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds) as scope:
            yield
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise BuildError(
            "DeadlineExceeded", f"The build took longer than its deadline of {seconds:g} s."
        ) from error


@contextmanager
def _timed(stages: dict[str, float], name: str) -> Iterator[None]:
    start = time.monotonic()
    try:
        yield
    finally:
        stages[name] = round(time.monotonic() - start, 3)
