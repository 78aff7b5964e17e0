"""OpenShift's own build configs on real parts, with images under the names that they use."""

import asyncio
import contextlib
import io
import secrets
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.support.builds.base_images import BaseImages, run, write_tree
from tests.support.openshift import TESTDATA
from tests.support.registry.embedded_server import serving_registry

from upwell.actions.builds import BuildActions
from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build, BuildRequest
from upwell.api.builds.config import BinaryInput, BuildConfig
from upwell.api.codec import decode
from upwell.api.defaults import apply_defaults
from upwell.api.image import ImageStream
from upwell.api.legacy import to_group_form
from upwell.api.manifests import parse_manifests
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.template import Template
from upwell.builder.buildah import BuildahBuilder
from upwell.builder.logs.files import FileBuildLogs
from upwell.controller import Controller, ObjectCache
from upwell.machine.platform import machine_platform
from upwell.oci import Reference
from upwell.outbound.dialing import unrestricted
from upwell.policy.builds.plan import BuildDefaults
from upwell.policy.builds.run_policy import number_of
from upwell.policy.images.generations import settle_generations
from upwell.policy.images.schedule import ImportSchedule
from upwell.policy.templates.process import ProcessRequest, process_template
from upwell.reconcilers.builds.build_configs import BuildConfigs, build_config_controller
from upwell.reconcilers.builds.builds import Builds, build_controller
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.builds.logins import BuildLogins
from upwell.reconcilers.builds.output import BuildOutputs
from upwell.reconcilers.builds.planner import BuildPlanner
from upwell.reconcilers.builds.run import BuildRun
from upwell.reconcilers.builds.slots import BuildCapacity
from upwell.reconcilers.images.image_streams import ImageStreams, image_stream_controller
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.registry.client.client import RegistryClient
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosts import RegistryHost, RegistryHosts
from upwell.registry.mirror import Mirror
from upwell.registry.routed import RoutedRegistry
from upwell.store.memory import MemoryStore
from upwell.uploads.files import FileInputs

NAMESPACE = "shop"
SECONDS = 90
BASES = ("library/busybox:latest",)
BUILDERS = (
    "openshift/test-build-simples2i:latest",
    "centos/ruby-22-centos7:latest",
    "centos/ruby-23-centos7:latest",
    "centos/nodejs-6-centos7:latest",
)


class BuildInstallation:
    """A store, a registry of our own, and reconcilers that import and build for real."""

    def __init__(
        self,
        builder: BuildahBuilder,
        internal: EmbeddedRegistry,
        client: RegistryClient,
        folder: Path,
    ) -> None:
        self.store = MemoryStore(now)
        self.cache = ObjectCache(self.store)
        self.index = BuildIndex(self.cache)
        self.actions = BuildActions(self.index)
        self.inputs = FileInputs(folder / "inputs")
        self.logs = FileBuildLogs(folder / "logs")
        self.internal = internal
        registries = RoutedRegistry(internal, client)
        logins = BuildLogins(self.store, internal.host)
        defaults = BuildDefaults()
        run = BuildRun(
            self.store,
            builder,
            self.logs,
            Mirror(registries, internal, machine_platform()),
            BuildPlanner(self.store, logins, registries, internal, defaults, self.inputs),
            BuildOutputs(self.store, internal, now),
            clock=now,
        )
        self.builds = Builds(
            self.index, builder, self.logs, run, capacity=BuildCapacity(2), clock=now
        )
        self.configs = BuildConfigs(self.index, clock=now)
        self.streams = ImageStreams(
            self.cache,
            registries,
            internal,
            PullSecrets(self.store),
            ImportSchedule(),
            clock=now,
            platforms=[machine_platform()],
        )

    async def apply(self, name: str, changes: Mapping[str, str] | None = None) -> None:
        """Create the objects of a file, with these words of its text changed."""
        text = (TESTDATA / name).read_text()
        for old, new in (changes or {}).items():
            assert old in text, old
            text = text.replace(old, new)
        await self.create(text)

    async def create(self, text: str) -> None:
        """Create the objects of manifests in our namespace, or in the one that they name."""
        for document in parse_manifests(text, "manifests"):
            resource: Resource = decode(to_group_form(document))
            if isinstance(resource, Template):
                objects = process_template(resource, ProcessRequest(), secrets.choice).objects
                found = [decode(each) for each in objects]
            else:
                found = [resource]
            for each in found:
                namespace = each.namespace or NAMESPACE
                await self.store.create(apply_defaults(each).with_metadata(namespace=namespace))

    async def stream(self, name: str) -> None:
        metadata = ObjectMeta(name=name, namespace=NAMESPACE)
        await self.store.create(ImageStream(metadata=metadata))

    async def build(self, config: str) -> Build:
        """Start a build; return it as it ended, or as it waits to be tried again."""
        build = await self.actions.instantiate(NAMESPACE, config, BuildRequest())
        return await self.outcome(build)

    async def upload(self, config: str, files: Mapping[str, str]) -> Build:
        """Start a build of these files; return it as it ended."""
        stored = await self.inputs.save(_archive(files))
        upload = BinaryInput(digest=str(stored.digest))
        build = await self.actions.instantiate_binary(NAMESPACE, config, upload)
        return await self.outcome(build)

    async def outcome(self, build: Build) -> Build:
        async with asyncio.timeout(SECONDS):
            async for event in self.store.watch(Build):
                found = event.resource
                over = found.status.phase.is_terminal or found.status.retry_time is not None
                if found.name == build.name and over:
                    return found
        raise AssertionError("the watch has ended")

    def pushed(self, build: Build, stream: str = "test") -> Reference:
        assert build.status.output is not None, self.log(build)
        assert build.status.output.to is not None
        digest = build.status.output.to.image_digest
        return Reference.parse(f"{self.internal.host}/{NAMESPACE}/{stream}@{digest}")

    def log(self, build: Build) -> str:
        return f"{build.status.message}\n{self.logs.tail(build.uid, 40)}"

    async def import_again(self, name: str) -> ImageStream:
        """Ask for all imports of a stream, as `import-image` does; return it once they are made."""
        old = await self.store.get(ImageStream, NAMESPACE, name)
        tags = tuple(tag.model_copy(update={"generation": 0}) for tag in old.spec.tags)
        spec = old.spec.model_copy(update={"tags": tags})
        asked = settle_generations(old, old.model_copy(update={"spec": spec}))
        await self.store.update(asked)
        wanted = {tag.name: tag.generation for tag in asked.spec.tags}
        async with asyncio.timeout(SECONDS):
            async for event in self.store.watch(ImageStream):
                found = event.resource
                states = {entry.tag: entry.import_state for entry in found.status.tags}
                made = {tag: state.generation for tag, state in states.items() if state is not None}
                if found.name == name and made == wanted:
                    return found
        raise AssertionError("the watch has ended")

    async def decided(self) -> None:
        """Let every BuildConfig decide once more what has to be built."""
        for build in (await self.store.list(Build)).items:
            await self.cache.wait_for(build)
        for config in (await self.store.list(BuildConfig)).items:
            await self.cache.wait_for(config)
            await self.configs.reconcile(config.key)

    async def builds_of(self, config: str) -> list[Build]:
        """Return the builds of a BuildConfig, oldest first."""
        found = (await self.store.list(Build)).items
        mine = [build for build in found if build.labels.get(BUILD_CONFIG_LABEL) == config]
        return sorted(mine, key=number_of)


def now() -> datetime:
    return datetime.now(UTC)


async def _archive(files: Mapping[str, str]) -> AsyncIterator[bytes]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o755 if text.startswith("#!") else 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    yield packed.getvalue()


@asynccontextmanager
async def open_builds(
    builder: BuildahBuilder, docker_hub: str, folder: Path, *, follows: bool
) -> AsyncIterator[BuildInstallation]:
    """Run builds with this registry as Docker Hub; with `follows`, triggers start builds too."""
    hosts = RegistryHosts((RegistryHost("docker.io", location=docker_hub, insecure=True),))

    def create(host: str) -> EmbeddedRegistry:
        return EmbeddedRegistry(folder / "registry", host)

    async with (
        serving_registry(create) as internal,
        RegistryClient(unrestricted(), hosts) as client,
    ):
        installed = BuildInstallation(builder, internal, client, folder)
        parts: list[ObjectCache | Controller] = [
            installed.cache,
            build_controller(installed.builds, installed.index),
        ]
        if follows:
            parts.append(build_config_controller(installed.index, now))
            parts.append(image_stream_controller(installed.streams, installed.cache))
        tasks = [asyncio.create_task(part.run()) for part in parts]
        try:
            yield installed
            assert not any(task.done() for task in tasks), "a reconciler has stopped"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            installed.logs.close_all()


def push_as_docker_hub(images: BaseImages) -> str:
    """Push our images under the names of the cases to the test registry; return its host."""
    for source, names in ((images.base, BASES), (images.s2i, BUILDERS)):
        for name in names:
            run(
                *("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"),
                *(f"docker://{source}", f"docker://{images.registry}/{name}"),
            )
    return images.registry


def committed(path: Path, files: Mapping[str, str]) -> str:
    """Make a git repository of these files."""
    folder = write_tree(path, files)
    identity = ("-c", "user.name=Jo", "-c", "user.email=jo@example.com")
    for arguments in (("init", "-q", "-b", "master"), ("add", "."), ("commit", "-qm", "first")):
        run("git", *identity, *arguments, cwd=folder)
    return str(folder)


def files_of(image: Reference) -> dict[str, bytes]:
    """Return what a pushed image's layers hold, by path: of a path, all layers' contents."""
    found: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        run("skopeo", "copy", "--src-tls-verify=false", f"docker://{image}", f"dir:{folder}")
        for blob in Path(folder).iterdir():
            with contextlib.suppress(tarfile.ReadError), tarfile.open(blob) as layer:
                for entry in layer:
                    path = f"/{entry.name.strip('/')}"
                    file = layer.extractfile(entry) if entry.isreg() else None
                    found[path] = found.get(path, b"") + (file.read() if file else b"")
    return found
