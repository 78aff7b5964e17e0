"""The Buildah adapter: builds in child processes, on an image store of its own."""

import asyncio
import hashlib
import shutil
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from upwell.builder.build_confinement import BuildConfinement
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.commands import BuildahCommands, ImageStore
from upwell.builder.confinement.sandbox import Sandbox, UserIds
from upwell.builder.disk.cache_mounts import CacheMounts
from upwell.builder.disk.pruning import Occupancy, prunable
from upwell.builder.disk.room import BuildRoom, RoomOnDisk
from upwell.builder.folder import BuildFolder
from upwell.builder.interface import (
    BinarySource,
    BuildError,
    BuilderStrategy,
    BuildPlan,
    BuildResult,
    Checkout,
    RegistryLogin,
    WaitSink,
    untold,
)
from upwell.builder.masking import masked
from upwell.builder.post_commit import check_image
from upwell.builder.sources import BuildSources
from upwell.builder.steps.marks import StepMarks
from upwell.builder.steps.store import StepStores, are_plain, may_find_steps
from upwell.builder.strategies import custom, docker
from upwell.builder.strategies import source as source_to_image
from upwell.builder.strategies.trial import script_output
from upwell.builder.transfers import ImageTransfers
from upwell.builder.workspace import Workspace
from upwell.git.client import GitClient
from upwell.git.commands import GitProgram
from upwell.git.interface import GitError, GitSource
from upwell.machine.clock import seconds
from upwell.machine.process import SYSTEM_PATH, Launcher, LogSink
from upwell.oci import Digest, ImageConfig, Reference
from upwell.outbound.dialing import Dialer, unrestricted
from upwell.outbound.image_registries import ImageRegistries

_UNNEEDED_IMAGE = "unneeded-image"
"""In a build's folder, the id of an image of the store that goes with the folder."""


class BuildahBuilder:
    """Builder with `buildah` and `git`. A build that ends, however it ends, leaves no process."""

    def __init__(
        self,
        settings: BuildahSettings,
        dialer: Dialer | None,
        registries: ImageRegistries | None = None,
    ) -> None:
        """`dialer` connects to what plans name, `registries` judges where images are.

        None is for a person who runs a command: the machine's own network, and any registry.
        """
        self._settings = settings
        self._dialer = dialer or unrestricted()
        self._folders = settings.work_dir.resolve() / "builds"
        environment = settings.variables()
        owner = hashlib.sha256(str(self._folders).encode()).hexdigest()[:16]
        self._temporary = settings.temporary_dir / f"upwell-{owner}"
        self._confinement = BuildConfinement(settings, owner)
        self._occupancy = Occupancy()
        self._rooms: dict[str, BuildRoom] = {}
        self._step_marks = StepMarks(settings.work_dir.resolve() / "step-marks.key")
        self._launcher = Launcher(str(settings.work_dir.resolve()))
        self._disk = RoomOnDisk(self._launcher, SYSTEM_PATH)
        self._caches = CacheMounts(
            settings.work_dir.resolve() / "cache-mounts", settings.cache_mount_bytes, self._disk
        )
        shifted = settings.user_namespaces and settings.isolation == "oci"
        self._store_root = (settings.storage_root or settings.work_dir / "storage").resolve()
        store = ImageStore(
            self._store_root,
            (settings.run_root or settings.work_dir / "run").resolve(),
            UserIds(self._launcher, SYSTEM_PATH, shifted=shifted),
        )
        self._commands = BuildahCommands(self._launcher, store, environment, settings.person)
        self._transfers = ImageTransfers(self._commands, registries, settings.pull_policy)
        self._steps = StepStores(
            self._commands,
            self._store_root.with_name("steps"),
            store.run_root.with_name(f"{store.run_root.name}-steps"),
        )
        self._git = GitClient(
            GitProgram(
                self._launcher, environment, allow_local=settings.allow_local_sources, dialer=dialer
            ),
            settings.git_limits,
            settings.work_dir.resolve() / "git",
        )
        self._sources = BuildSources(
            self._folders, self._git, settings.archive_limits, self._temporary
        )

    async def fetch(self, build_id: str, source: GitSource, log: LogSink) -> Checkout:
        """Clone into the build's folder; raises BuildError."""
        return await self._sources.fetch(build_id, source, log)

    async def unpack(self, build_id: str, source: BinarySource, log: LogSink) -> Checkout:
        """Put uploaded content into the build's folder; raises BuildError."""
        return await self._sources.unpack(build_id, source, log)

    async def build(self, plan: BuildPlan, log: LogSink, waits: WaitSink = untold) -> BuildResult:
        """Build and push; raises BuildError. A build begins at once here."""
        del waits
        folder = self._folder(plan.id)
        folder.create()
        redaction = await masked(plan, log)
        try:
            async with (
                _deadline(plan.deadline_seconds),
                self._occupancy.building(map(str, plan.pulled)),
                self._confinement.confined(plan, redaction) as sandbox,
            ):
                work = self._workspace(plan, folder, redaction, sandbox)
                async with self._cache_mounts(work):
                    return await self._build(work)
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

    def renew_logins(self, build_id: str, logins: Sequence[RegistryLogin]) -> None:
        """Use other logins from now on for what a running build pulls and pushes."""
        self._folder(build_id).write_logins(logins)

    async def storage_used(self, build_id: str) -> int:
        """Return the bytes that a running build takes on the disk."""
        folder = self._folder(build_id)
        stores = await self._stores_of(folder.path)
        containers = [one for store in stores for one in await store.containers_of(folder.path)]
        folders = (folder.path, folder.temporary.resolve())
        roots = [store.root for store in stores]
        return await self._room(build_id).look(self._disk, folders, roots, containers)

    async def _stores(self) -> list[BuildahCommands]:
        """Return the commands on every store there is."""
        return [self._commands, *await self._steps.opened()]

    async def _stores_of(self, folder: Path) -> list[BuildahCommands]:
        """Return the commands on the stores that the build in `folder` writes in."""
        return [self._commands, *await self._steps.used_by(folder)]

    def _room(self, build_id: str) -> BuildRoom:
        return self._rooms.setdefault(build_id, BuildRoom(seconds()))

    async def discard(self, build_id: str) -> None:
        """Remove the build's working containers, unneeded image and folder; idempotent."""
        folder = self._folder(build_id)
        self._rooms.pop(build_id, None)
        await self._remove_containers(build_id)
        await self._remove_unneeded_image(folder.path)
        await asyncio.to_thread(folder.remove)

    async def recover(self) -> None:
        """Kill and remove all that builds of an earlier, killed process left."""
        self._launcher.kill_leftovers()
        self._settings.work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        stores = await self._stores()
        for folder in await asyncio.to_thread(lambda: list(self._folders.glob("*"))):
            for store in await self._stores_of(folder):
                await store.remove_containers(folder)
            await self._remove_unneeded_image(folder)
        for store in stores:
            await store.remove_all_containers(self._settings.work_dir)
        await asyncio.to_thread(shutil.rmtree, self._folders, ignore_errors=True)
        await self.close()
        await self._confinement.recover()

    async def close(self) -> None:
        """Remove the temporary files of builds that were cut short; `recover` removes the rest."""
        await asyncio.to_thread(shutil.rmtree, self._temporary, ignore_errors=True)

    async def prune(
        self, keep: frozenset[Digest], *, unused_for: timedelta, dry_run: bool = False
    ) -> tuple[str, ...]:
        """Remove old images from the store; return their names or ids."""
        folder = BuildFolder(self._folders, f"prune-{time.monotonic_ns()}")
        folder.create()
        oldest = seconds() - unused_for.total_seconds()
        try:
            async with self._occupancy.pruning() as needs:
                removed = []
                # Steps go before what they stand on: what is needed is seen after that.
                for store in reversed(await self._stores()):
                    needed = await self._steps.needed() if store is self._commands else ()
                    removed += [
                        image.names[0] if image.names else image.id
                        for image in prunable(await store.images(), keep, needs, oldest)
                        if image.id not in needed
                        and (dry_run or await store.remove_image(image.id, folder.path))
                    ]
                if not (dry_run or needs.busy):
                    await self._steps.remove_empty()
        finally:
            folder.remove()
        return (*removed, *await self._caches.prune(oldest, dry_run=dry_run))

    async def default_branch(self, source: GitSource) -> str:
        """Return the branch that HEAD of a repository names; empty: it cannot be found out."""
        folder = BuildFolder(self._folders, f"branch-{time.monotonic_ns()}")
        folder.create()
        try:
            return await self._git.default_branch(source, folder)
        except GitError:
            return ""
        finally:
            folder.remove()

    async def inspect(self, image: Reference) -> ImageConfig:
        """Pull an image by the policy, and return its configuration; raises BuildError."""
        folder = BuildFolder(self._folders, f"inspect-{time.monotonic_ns()}")
        folder.create()
        try:
            auth = folder.write_logins(())
            await self._transfers.pull(image, folder.path, auth, insecure=False)
            return await self._commands.image_config(str(image), folder.path)
        finally:
            folder.remove()

    async def stored_config(self, image: str) -> ImageConfig:
        """Return the configuration of an image in the store, by name or id; raises BuildError."""
        self._settings.work_dir.mkdir(parents=True, exist_ok=True)
        return await self._commands.image_config(image, self._settings.work_dir)

    async def output_of(self, image: Reference, script: str) -> bytes:
        """Return what a script of an image in the store prints; raises BuildError."""
        folder = self._folder(f"script-{time.monotonic_ns()}")
        folder.create()
        plan = BuildPlan(folder.path.name, "", "", BuilderStrategy.SOURCE, None, {}, None)
        try:
            work = self._workspace(
                plan, folder, lambda _: None, self._confinement.sandbox(plan, lambda _: None)
            )
            return await script_output(work, str(image), script)
        finally:
            await self._remove_containers(plan.id)
            folder.remove()

    async def image_id(self, name: str) -> str | None:
        """Return the id of the image with this name in the store; raises BuildError."""
        self._settings.work_dir.mkdir(parents=True, exist_ok=True)
        found = await self._commands.images()
        return next((image.id for image in found if name in image.names), None)

    async def remove_image(self, image: str) -> bool:
        """Remove an image of the store; return whether it went: what is in use stays."""
        return await self._commands.remove_image(image, self._settings.work_dir)

    async def _build(self, work: Workspace) -> BuildResult:
        plan, folder = work.plan, work.folder
        stages: dict[str, float] = {}
        auth = folder.write_logins(plan.logins)
        with _timed(stages, "PullImages"):
            pulled = await self._transfers.pull_all(work, auth)
        if plan.strategy is BuilderStrategy.CUSTOM:
            with _timed(stages, "Build"):
                await custom.build(work)
            return BuildResult(None, stages)
        if plan.secret_env:
            names = ", ".join(sorted(name for name, _ in plan.secret_env))
            work.say(f"Values of Secrets, for commands of the build and not in the image: {names}")
        with _timed(stages, "Build"):
            if plan.strategy is BuilderStrategy.SOURCE:
                image = await source_to_image.build(work)
            else:
                work = await self._with_steps(work, pulled)
                image = await docker.build(work)
        commands = work.steps.commands if work.steps else self._commands
        work = replace(work, commands=commands)  # on the store that the image is in
        if plan.strategy is BuilderStrategy.SOURCE and not plan.local_name:
            # A Docker build's image is the cache of the next; this one nobody reads once it is
            # pushed. Removing its many files takes seconds: `discard` does, when the build is over.
            await self._remove_unneeded_image(folder.path)  # of an attempt whose push failed
            folder.write(_UNNEEDED_IMAGE, image)
        if plan.post_commit is not None:
            with _timed(stages, "PostCommit"):
                await check_image(work, image, plan.post_commit)
        digest = None
        if plan.push is not None:
            work.say(f"Pushing image {plan.push} ...")
            with _timed(stages, "PushImage"):
                digest = await self._transfers.push(work, plan.push, image, auth)
            work.say(f"Pushed {plan.push.with_digest(digest)}")
        if plan.local_name:
            await work.commands.tag(image, plan.local_name, folder.path)
        return BuildResult(digest, stages, image)

    async def _with_steps(self, work: Workspace, pulled: Collection[str]) -> Workspace:
        """Let a build find its steps again, if it may; `pulled` are its images' ids."""
        plan, folder = work.plan, work.folder.path
        if not plan.step_scope or not may_find_steps(plan):
            return work
        bases = [await self._commands.image_config(str(one), folder) for one in plan.pulled]
        if not are_plain(bases, work.step_mark):
            return work
        return replace(work, steps=await self._steps.kept_steps(folder, pulled, work.step_mark))

    @asynccontextmanager
    async def _cache_mounts(self, work: Workspace) -> AsyncIterator[None]:
        """Run the block with what earlier builds have kept for `RUN --mount=type=cache`."""
        if not work.plan.cache_key or work.plan.strategy is not BuilderStrategy.DOCKER:
            yield
            return
        owner = await self._commands.owner()  # whose files they are
        key = f"{work.plan.cache_key} {owner}"
        async with self._caches.linked(key, work.folder.temporary.resolve()) as cache:
            self._room(work.plan.id).cache = cache
            try:
                yield
            finally:
                self._room(work.plan.id).cache = None

    def _workspace(
        self, plan: BuildPlan, folder: BuildFolder, log: LogSink, sandbox: Sandbox
    ) -> Workspace:
        base = {
            "org.opencontainers.image.base.name": plan.base_name,
            "org.opencontainers.image.base.digest": plan.base_digest,
        }
        return Workspace(
            plan=plan,
            folder=folder,
            log=log,
            commands=self._commands,
            sandbox=sandbox,
            annotations={
                **{name: text for name, text in base.items() if text},
                **plan.annotations,
            },
            step_mark=self._step_marks.of(plan.step_scope),
            allow_local=self._settings.allow_local_sources,
            dialer=self._dialer,
        )

    async def _remove_containers(self, build_id: str) -> None:
        folder = self._folder(build_id)
        if folder.path.exists():
            for store in await self._stores_of(folder.path):
                await store.remove_containers(folder.path)
        self._confinement.release(build_id)

    async def _remove_unneeded_image(self, folder: Path) -> None:
        noted = folder / _UNNEEDED_IMAGE
        if noted.exists():
            await self._commands.remove_image(noted.read_text(), folder)

    def _folder(self, build_id: str) -> BuildFolder:
        return self._sources.folder(build_id)


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
