"""Surroundings of imports and builds: real stores and registries, a builder in memory.

The vendor's registry counts what is asked of it and fails when it is told to.
"""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.registry.logins import logins_at
from tests.support.rollouts.memory_machine import MemoryClock

from upwell.api.builds.build import (
    BUILD_CONFIG_LABEL,
    BUILD_NUMBER_ANNOTATION,
    RUN_POLICY_LABEL,
    Build,
    BuildSpec,
)
from upwell.api.builds.inputs import BuildOutput, BuildSource, BuildStrategy, DockerBuildStrategy
from upwell.api.image import (
    ImageStream,
    ImageStreamSpec,
    ImportPolicy,
    NamedTagEventList,
    TagReference,
)
from upwell.api.meta import ObjectKey, ObjectMeta, ObjectReference, Resource
from upwell.builder.archive import ArchiveLimits
from upwell.builder.context import context_of
from upwell.builder.folder import BuildFolder
from upwell.builder.interface import (
    BinarySource,
    BuildError,
    BuilderStrategy,
    BuildPlan,
    BuildResult,
    Checkout,
    WaitSink,
    untold,
)
from upwell.builder.logs.files import FileBuildLogs
from upwell.builder.uploads import unpack_upload
from upwell.controller import ObjectCache
from upwell.git.interface import CommitInfo, GitSource
from upwell.inventory.files.scanning import FileScanner
from upwell.machine.process import LogSink
from upwell.oci import Descriptor, Digest, Index, Manifest, MediaType, Platform, Reference
from upwell.outbound.dialing import unrestricted
from upwell.policy.builds.plan import BuildDefaults
from upwell.policy.images.schedule import ImportSchedule
from upwell.reconcilers.authority import Authority, AuthorRights
from upwell.reconcilers.builds.builds import Builds, build_controller
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.builds.logins import BuildLogins
from upwell.reconcilers.builds.output import BuildOutputs, SignPushed, unsigned
from upwell.reconcilers.builds.planner import BuildPlanner
from upwell.reconcilers.builds.rebase_outputs import RebaseOutputs
from upwell.reconcilers.builds.rebases import BuildRebases
from upwell.reconcilers.builds.room import BuildRooms
from upwell.reconcilers.builds.run import BuildRun
from upwell.reconcilers.builds.slots import BuildCapacity
from upwell.reconcilers.images.image_streams import ImageStreams
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.rebase.comparing import RebaseBounds
from upwell.reconcilers.signatures.policies import UNRESTRICTED
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import RegistryError
from upwell.registry.hosting import ManifestPush
from upwell.registry.interface import DEFAULT_ACCESS, Credential, Registry, RequestAccess
from upwell.registry.mirror import Mirror
from upwell.registry.rebasing.elsewhere import RebasesElsewhereWriter
from upwell.registry.rebasing.hosted import CheckPush, HostedRebaseWriter, unchecked
from upwell.registry.routed import RoutedRegistry
from upwell.store.interface import StoreError
from upwell.store.memory import MemoryStore
from upwell.uploads.files import FileInputs

if TYPE_CHECKING:
    from upwell.reconcilers.rebase.comparing import FactScanner

VENDOR = "vendor.example"
INTERNAL = "registry.internal:5000"
NAMESPACE = "shop"
AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
_POLL_SECONDS = 0.002
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
CONFIG = b'{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}'
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


class UpstreamRegistry:
    """Implements Registry over an embedded one; `requests` is what was asked of it."""

    failure: RegistryError | None = None

    def __init__(self, registry: EmbeddedRegistry) -> None:
        self.registry = registry
        self.requests: list[str] = []
        self.before_answer: Callable[[], Awaitable[None]] | None = None

    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        await self._asked(f"HEAD {reference}")
        answer = await self.registry.resolve(reference, access)
        if self.before_answer is not None:
            await self.before_answer()
        return answer

    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        await self._asked(f"GET {reference}")
        return await self.registry.manifest(reference, access)

    async def blob(
        self,
        reference: Reference,
        digest: Digest,
        limit: int,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bytes:
        return await self.registry.blob(reference, digest, limit, access)

    def open_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self.registry.open_blob(reference, digest, access)

    async def logins(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> tuple[Credential, ...]:
        return await logins_at(reference, access)

    async def tags(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[str]:
        await self._asked(f"LIST {reference.name}")
        return await self.registry.tags(reference, access)

    async def referrers_of(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[Descriptor]:
        await self._asked(f"REFERRERS {reference}")
        return await self.registry.referrers_of(reference, access)

    async def _asked(self, request: str) -> None:
        self.requests.append(request)
        if self.failure is not None:
            raise self.failure


async def push(
    registry: EmbeddedRegistry,
    name: str,
    mark: str,
    config: bytes = CONFIG,
    layers: Sequence[bytes] = (),
) -> Digest:
    """Push an image as `repository:tag`; `mark` tells images apart."""
    repository, _, tag = name.rpartition(":")
    for content in (config, *layers):
        upload = await registry.start_upload(repository)
        await registry.append(repository, upload, _once(content))
        await registry.finish_upload(repository, upload, Digest.of(content))
    document = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": _described("c", config),
        "layers": [_described(LAYER_TYPE, content) for content in layers],
        "annotations": {"mark": mark},
    }
    raw = json.dumps(document).encode()
    put = ManifestPush(repository, raw, MediaType.OCI_MANIFEST, tag=tag, actor="test")
    return (await registry.put_manifest(put)).digest


def _described(media_type: str, content: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


async def push_index(
    registry: EmbeddedRegistry, name: str, images: dict[Platform, Digest]
) -> Digest:
    """Push an index of images that the repository holds."""
    repository, _, tag = name.rpartition(":")
    manifests = []
    for platform, digest in images.items():
        entry = await registry.resolve(Reference(registry.host, repository, digest=digest))
        where = {"os": platform.os, "architecture": platform.architecture}
        manifests.append(
            {
                "mediaType": entry.media_type,
                "digest": str(digest),
                "size": entry.size,
                "platform": where,
            }
        )
    document = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": manifests}
    raw = json.dumps(document).encode()
    put = ManifestPush(repository, raw, MediaType.OCI_INDEX, tag=tag, actor="test")
    return (await registry.put_manifest(put)).digest


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def commit_of(ref: str) -> str:
    """Return the commit that every repository of a FakeBuilder has at a ref."""
    return ref if _COMMIT.fullmatch(ref) else sha256((ref or "HEAD").encode()).hexdigest()


class FakeBuilder:
    """Implements Builder: each build pushes an image of its own, unless it is told otherwise."""

    def __init__(self, internal: EmbeddedRegistry, folder: Path) -> None:
        self._internal = internal
        self._folder = folder
        self.plans: list[BuildPlan] = []
        self.sources: list[GitSource] = []
        self.uploads: list[BinarySource] = []
        self.dockerfile = ""
        """Dockerfile of every fetched source; empty: it has none."""
        self.missing: set[str] = set()
        """Addresses, refs and folders that no fetched source has."""
        self.old: set[Digest] = set()
        """Images of the builder's own store that nobody has used for a long time."""
        self.young: set[Digest] = set()
        """Those that were pulled or built since."""
        self.running: set[str] = set()
        self.most_running = 0
        self.cancelled: set[str] = set()
        self.discarded: list[str] = []
        self.recovered = False
        self.running_at_close: frozenset[str] | None = None
        """Builds that ran when it was closed; None: it was not."""
        self.failure: Exception | None = None
        self.after_push: Callable[[], None] | None = None
        self.make: Callable[[BuildPlan], Awaitable[Digest]] | None = None
        """Pushes the image of a plan, in place of one without content."""
        self.silent = False
        """Pushes nothing, and says nothing of an image."""
        self.obstacle = ""
        """Reason that keeps builds from beginning, as they tell it."""
        self.gate = asyncio.Event()
        """Clear it, and builds stay in the middle."""
        self.gate.set()

    async def fetch(self, build_id: str, source: GitSource, log: LogSink) -> Checkout:
        self.sources.append(source)
        log(f"Cloning {source.uri} ...\n".encode())
        if missing := {source.uri, source.ref} & self.missing:
            raise BuildError("FetchSourceFailed", f"{source.uri}: there is no {missing.pop()}")
        folder = self._emptied(build_id)
        folder.make_source()
        if source.context_dir not in self.missing:
            (folder.source / source.context_dir.lstrip("/")).mkdir(parents=True, exist_ok=True)
        context = context_of(folder.source, source.context_dir)
        if self.dockerfile:
            (context / "Dockerfile").write_text(self.dockerfile)
        return Checkout(context, CommitInfo(commit_of(source.ref), "Ann", "ann@x.example"))

    async def unpack(self, build_id: str, source: BinarySource, log: LogSink) -> Checkout:
        self.uploads.append(source)
        log(f"Using the uploaded {source.kind} ...\n".encode())
        return await unpack_upload(self._emptied(build_id), source, ArchiveLimits())

    def _emptied(self, build_id: str) -> BuildFolder:
        folder = BuildFolder(self._folder, build_id)
        folder.remove()
        folder.create()
        return folder

    async def prune(
        self, keep: frozenset[Digest], *, unused_for: timedelta, dry_run: bool = False
    ) -> tuple[str, ...]:
        old = self.old | (self.young if unused_for <= timedelta(0) else set())
        gone = sorted(old - keep)
        if not dry_run:
            self.old -= set(gone)
            self.young -= set(gone)
        return tuple(map(str, gone))

    async def build(self, plan: BuildPlan, log: LogSink, waits: WaitSink = untold) -> BuildResult:
        self.plans.append(plan)
        if self.obstacle:
            await waits(self.obstacle)
        self.running.add(plan.id)
        self.most_running = max(self.most_running, len(self.running))
        log(f"building {plan.name}\n".encode())
        try:
            async with asyncio.timeout(plan.deadline_seconds):
                return await self._result(plan)
        except TimeoutError as error:
            message = f"longer than {plan.deadline_seconds} s"
            raise BuildError("DeadlineExceeded", message) from error
        except asyncio.CancelledError:
            self.cancelled.add(plan.id)
            raise
        finally:
            self.running.discard(plan.id)

    async def _result(self, plan: BuildPlan) -> BuildResult:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.young |= {image.digest for image in plan.images.values() if image.digest}
        digest = None
        is_silent = self.silent or plan.strategy is BuilderStrategy.CUSTOM
        if plan.push is not None and not is_silent:
            name = f"{plan.push.repository}:{plan.push.tag}"
            if self.make is not None:
                digest = await self.make(plan)
            else:
                digest = await push(self._internal, name, f"build {len(self.plans)}")
            self.young.add(digest)
        if self.after_push is not None:
            self.after_push()
        return BuildResult(digest, {"Build": 1.5})

    def folder(self, build_id: str) -> Path:
        """Return where a build has its files."""
        return BuildFolder(self._folder, build_id).path

    async def storage_used(self, build_id: str) -> int:
        files = self.folder(build_id).rglob("*")
        return sum(file.lstat().st_blocks * 512 for file in files)

    async def discard(self, build_id: str) -> None:
        self.discarded.append(build_id)
        BuildFolder(self._folder, build_id).remove()

    async def recover(self) -> None:
        self.recovered = True
        shutil.rmtree(self._folder, ignore_errors=True)

    async def close(self) -> None:
        self.running_at_close = frozenset(self.running)


class FullStore(MemoryStore):
    """A store whose disk may be full: then it is read, and takes no write."""

    failure: StoreError | None = None
    refusals = 0

    async def update_status[R: Resource](self, resource: R) -> R:
        if self.failure is not None:
            self.refusals += 1
            raise self.failure
        return await super().update_status(resource)


class BuildMachine:
    """The parts, put together."""

    def __init__(self, folder: Path) -> None:
        self.clock = MemoryClock()
        self.store = FullStore(self.clock)
        self.cache = ObjectCache(self.store)
        self.index = BuildIndex(self.cache)
        self.vendor = UpstreamRegistry(EmbeddedRegistry(folder / "vendor", VENDOR))
        self.remote: Registry = self.vendor
        """Client of the other registries."""
        self.client = RegistryClient(unrestricted())
        self.internal = EmbeddedRegistry(folder / "internal", INTERNAL)
        self.builder = FakeBuilder(self.internal, folder / "builds")
        self.logs = FileBuildLogs(folder / "logs")
        self.inputs = FileInputs(folder / "inputs")
        self.quota: tuple[str, Decimal] | None = None
        """Quota of each namespace for the room of its builds."""
        self.rooms = BuildRooms(self.builder, self._find_quota, 1024**3)
        self.secrets = PullSecrets(self.store)
        self.authors: AuthorRights | None = None
        """Rights of authors; None: nobody is asked."""
        self.policies = UNRESTRICTED
        self.sign: SignPushed = unsigned
        self.scanner: FactScanner = FileScanner()
        self.bounds = RebaseBounds()
        self.check_push: CheckPush = unchecked
        self.pressure = ""
        """Message of what keeps builds from beginning."""
        self.slots_of_namespace: int | None = None
        self.was_short = False
        self.closed_for: Callable[[str], float] = lambda _: 0.0
        """Seconds for which a registry is asked nothing."""

    def streams(
        self, schedule: ImportSchedule | None = None, platforms: Sequence[Platform] = ()
    ) -> ImageStreams:
        return ImageStreams(
            self.cache,
            self.vendor,
            self.internal,
            self.secrets,
            schedule or ImportSchedule(),
            clock=self.clock,
            jitter=lambda: 0.5,
            platforms=platforms,
            authority=Authority(self.authors, INTERNAL),
            policies=self.policies,
        )

    async def _find_quota(self, _: str) -> tuple[str, Decimal] | None:
        return self.quota

    def builds(self, slots: int = 2) -> Builds:
        registries = RoutedRegistry(self.internal, self.remote)
        logins = BuildLogins(self.store, INTERNAL)
        pusher = RegistryPusher(self.client.connection)
        mirror = Mirror(registries, self.internal, AMD64)
        run = BuildRun(
            self.store,
            self.builder,
            self.logs,
            mirror,
            BuildPlanner(
                self.store,
                logins,
                registries,
                self.internal,
                BuildDefaults(),
                self.inputs,
                authority=Authority(self.authors, INTERNAL),
                policies=self.policies,
                bar=self.index.bar_of_new,
            ),
            BuildOutputs(self.store, self.internal, self.clock, self.sign),
            rebases=BuildRebases(
                self.index.builds,
                registries,
                mirror,
                self.scanner,
                RebaseOutputs(
                    HostedRebaseWriter(self.internal, self.check_push),
                    RebasesElsewhereWriter(registries, pusher, INTERNAL),
                    to_push=logins.to_push,
                ),
                self.bounds,
            ),
            clock=self.clock,
            limit_room=self.rooms.limited,
        )
        return Builds(
            self.index,
            self.builder,
            self.logs,
            run,
            capacity=BuildCapacity(
                slots,
                lambda: self.pressure,
                lambda _: self.was_short,
                self.closed_for,
                self.slots_of_namespace,
            ),
            clock=self.clock,
            jitter=lambda: 0,
        )

    @asynccontextmanager
    async def building(self, slots: int = 2) -> AsyncIterator[Builds]:
        """Run the reconciler of Builds, and kill it at the end."""
        builds = self.builds(slots)
        controller = build_controller(builds, self.index)
        tasks = [asyncio.create_task(one.run()) for one in (controller, self.cache)]
        try:
            yield builds
            assert not any(task.done() for task in tasks), "the reconciler of Builds has stopped"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self.logs.close_all()

    async def stream(self, name: str) -> ImageStream:
        return await self.store.get(ImageStream, NAMESPACE, name)

    async def history(self, stream: str, tag: str) -> NamedTagEventList:
        found = (await self.stream(stream)).status.tag(tag)
        assert found is not None
        return found

    async def build(self, name: str) -> Build:
        return await self.store.get(Build, NAMESPACE, name)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - any state of any part is waited for
            await asyncio.sleep(_POLL_SECONDS)


def stream_key(name: str) -> ObjectKey:
    return ObjectKey("ImageStream", NAMESPACE, name)


def image_stream(name: str, *tags: TagReference, **annotations: str) -> ImageStream:
    return ImageStream(
        metadata=ObjectMeta(name=name, namespace=NAMESPACE, annotations=annotations),
        spec=ImageStreamSpec(tags=tags),
    )


def imported(tag: str, source: str, *, scheduled: bool = False) -> TagReference:
    return TagReference(
        name=tag,
        from_=ObjectReference(kind="DockerImage", name=source),
        import_policy=ImportPolicy(scheduled=scheduled),
    )


def docker_build(
    number: int = 1,
    *,
    config: str = "app",
    policy: str = "Serial",
    dockerfile: str = "FROM scratch\n",
    **spec: object,
) -> Build:
    """A Build as its BuildConfig makes it; it goes to `app:latest`."""
    output = BuildOutput(to=ObjectReference(kind="ImageStreamTag", name="app:latest"))
    fields = {
        "source": BuildSource(dockerfile=dockerfile),
        "strategy": BuildStrategy(type="Docker", docker_strategy=DockerBuildStrategy()),
        "output": output,
        **spec,
    }
    return Build(
        metadata=ObjectMeta(
            name=f"{config}-{number}",
            namespace=NAMESPACE,
            labels={BUILD_CONFIG_LABEL: config, RUN_POLICY_LABEL: policy},
            annotations={BUILD_NUMBER_ANNOTATION: str(number)},
        ),
        spec=BuildSpec.model_validate(fields),
    )
