"""Contract of builders: a plan in, a digest out, and nothing left behind."""

import asyncio
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.builds.base_images import (
    BaseImages,
    Log,
    inspect,
    push_base_images,
    serve_registry,
)
from tests.support.builds.memory_builds import FakeBuilder
from tests.support.builds.pod_builders import builder_in_pods

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import (
    BinaryKind,
    BinarySource,
    Builder,
    BuildError,
    BuilderStrategy,
    BuildPlan,
    LocalBuilder,
)
from upwell.builder.kubernetes.builder import KubernetesBuilder
from upwell.machine.containers_conf import write_containers_conf
from upwell.oci import Digest, Reference
from upwell.registry.embedded import EmbeddedRegistry

BUILD = "uid-1"
MEBIBYTE = 1024**2
DAY, NOW = timedelta(days=1), timedelta(0)
QUICK, SLOW = "FROM base:1\nRUN echo made > /made\n", "FROM base:1\nRUN sleep 600\n"
BROKEN = "FROM base:1\nRUN false\n"
TOOLS = {
    "buildah": "buildah",
    "runc": "runc",
    "skopeo": "skopeo",
    "docker-registry": "docker-registry",
    "busybox": "busybox-static",
}


@dataclass
class BuilderUnderTest:
    """A builder, and plans for it; each Dockerfile does what its text says."""

    builder: Builder
    base: Reference
    pushed: Callable[[Reference], Awaitable[Digest]]
    """Return the digest that a registry has by a tag."""
    will: Callable[[str], None]
    """Tell a builder in memory what a Dockerfile does."""

    def plan(self, dockerfile: str, **changes: object) -> BuildPlan:
        self.will(dockerfile)
        plan = BuildPlan(
            id=BUILD,
            namespace="shop",
            name="app-1",
            strategy=BuilderStrategy.DOCKER,
            context=None,
            images={"base:1": self.base},
            push=Reference(self.base.registry, "shop/app", "latest"),
            dockerfile=dockerfile,
            insecure_registries=frozenset({self.base.registry}),
        )
        return replace(plan, **changes)  # type: ignore[arg-type]  # each field as it is named


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseImages]:
    missing = sorted(package for tool, package in TOOLS.items() if shutil.which(tool) is None)
    if missing:
        pytest.skip(f"apt install {' '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    for registry in serve_registry(tmp_path_factory.mktemp("registry")):
        yield push_base_images(registry)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildahSettings]:
    """A builder's settings; all tests share its store, as the builds of one machine do."""
    folder = tmp_path_factory.mktemp("builder")
    conf = folder / "containers.conf"
    asyncio.run(write_containers_conf(conf, folder / "root"))
    with tempfile.TemporaryDirectory(prefix="upwell-passage-") as name:
        passage = Path(name)
        passage.chmod(0o711)  # builds drop files there: not in pytest's folder, which is ours alone
        yield BuildahSettings(
            folder / "work",
            storage_root=folder / "root",
            run_root=folder / "run",
            temporary_dir=passage,
            containers_conf=conf,
        )


@pytest.fixture
async def buildah(images: BaseImages, settings: BuildahSettings) -> AsyncIterator[BuilderUnderTest]:
    builder = BuildahBuilder(settings, dialer=None)

    async def pushed(reference: Reference) -> Digest:
        document = await asyncio.to_thread(inspect, reference)
        return Digest.parse(document["Digest"])

    yield BuilderUnderTest(builder, images.base, pushed, lambda _: None)
    await builder.recover()


def in_memory(folder: Path) -> BuilderUnderTest:
    registry = EmbeddedRegistry(folder / "registry", "registry.test")
    builder = FakeBuilder(registry, folder / "builds")
    base = Reference("registry.test", "base", digest=Digest.of(b"base"))

    async def pushed(reference: Reference) -> Digest:
        return (await registry.resolve(reference)).digest

    def will(dockerfile: str) -> None:
        builder.failure = (
            BuildError("DockerBuildFailed", "false") if "false" in dockerfile else None
        )
        (builder.gate.clear if "sleep" in dockerfile else builder.gate.set)()

    return BuilderUnderTest(builder, base, pushed, will)


@pytest.fixture
async def pods(tmp_path: Path) -> AsyncIterator[BuilderUnderTest]:
    """A KubernetesBuilder, whose Pods are tasks that build in memory."""
    inside = in_memory(tmp_path)
    assert isinstance(inside.builder, FakeBuilder)
    async with builder_in_pods(tmp_path / "server", inside.builder) as (builder, _):
        yield replace(inside, builder=builder)


@pytest.fixture(params=["buildah", "memory", "pods"])
def building(request: pytest.FixtureRequest, tmp_path: Path) -> BuilderUnderTest:
    if request.param == "memory":
        return in_memory(tmp_path)
    found: BuilderUnderTest = request.getfixturevalue(request.param)
    return found


# unpack


def archived(folder: Path, *names: str) -> Path:
    path = folder / "upload.tar"
    with tarfile.open(path, "w") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 1
            archive.addfile(entry, io.BytesIO(b"x"))
    return path


async def test_an_archive_becomes_a_tree(building: BuilderUnderTest, tmp_path: Path) -> None:
    source = BinarySource(archived(tmp_path, "a", "sub/b"), BinaryKind.ARCHIVE)
    log = Log()
    whole = await building.builder.unpack(BUILD, source, log)
    assert ((whole.path / "sub/b").read_text(), whole.revision) == ("x", None)
    assert log.text

    (whole.path / "left").write_text("by an attempt before")
    part = await building.builder.unpack(BUILD, replace(source, context_dir="sub"), Log())
    assert [one.name for one in part.path.iterdir()] == ["b"]
    assert not (part.path.parent / "left").exists()


async def test_a_file_gets_its_name(building: BuilderUnderTest, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"\x00war")
    source = BinarySource(tmp_path / "upload", BinaryKind.FILE, "app.war")
    checkout = await building.builder.unpack(BUILD, source, Log())
    assert (checkout.path / "app.war").read_bytes() == b"\x00war"
    assert (tmp_path / "upload").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": BinaryKind.FILE, "as_file": "../x"}, "FetchSourceFailed"),
        ({"path": Path("/nothing")}, "FetchSourceFailed"),
        ({"path": Path("/etc/passwd")}, "FetchSourceFailed"),
        ({"context_dir": "none"}, "InvalidContextDirectory"),
        ({"context_dir": "../.."}, "InvalidContextDirectory"),
    ],
    ids=["name", "lost", "no archive", "no folder", "outside"],
)
async def test_an_upload_that_cannot_be_unpacked_is_an_error(
    building: BuilderUnderTest, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    source = BinarySource(archived(tmp_path, "a"), BinaryKind.ARCHIVE)
    with pytest.raises(BuildError) as caught:
        await building.builder.unpack(
            BUILD,
            replace(source, **change),  # type: ignore[arg-type]  # each field as it is named
            Log(),
        )
    assert (caught.value.reason, caught.value.retryable) == (reason, False)


# build


async def test_what_is_built_is_pushed_and_named_by_its_digest(building: BuilderUnderTest) -> None:
    plan, log = building.plan(QUICK), Log()
    for _ in range(2):
        result = await building.builder.build(plan, log)
        assert plan.push is not None
        assert result.digest == await building.pushed(plan.push)
        assert result.stages
        assert min(result.stages.values()) >= 0
    assert log.text


async def test_what_is_not_pushed_has_no_digest(building: BuilderUnderTest) -> None:
    assert (await building.builder.build(building.plan(QUICK, push=None), Log())).digest is None


async def test_a_build_that_fails_says_why_and_the_next_one_succeeds(
    building: BuilderUnderTest,
) -> None:
    with pytest.raises(BuildError) as caught:
        await building.builder.build(building.plan(BROKEN), Log())
    assert (caught.value.reason, caught.value.retryable) == ("DockerBuildFailed", False)
    assert str(caught.value)
    assert (await building.builder.build(building.plan(QUICK), Log())).digest is not None


async def test_a_build_ends_at_its_deadline(building: BuilderUnderTest) -> None:
    with pytest.raises(BuildError) as caught:
        await building.builder.build(building.plan(SLOW, deadline_seconds=1.0), Log())
    assert (caught.value.reason, caught.value.retryable) == ("DeadlineExceeded", False)


async def test_a_cancelled_build_ends_and_can_be_built_again(building: BuilderUnderTest) -> None:
    log = Log()
    running = asyncio.create_task(building.builder.build(building.plan(SLOW), log))
    async with asyncio.timeout(60):
        while not log.text:  # noqa: ASYNC110 - it is read, not told
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert (await building.builder.build(building.plan(QUICK), Log())).digest is not None


# room on the disk


async def test_room_is_what_a_build_has_on_the_disk_until_it_is_discarded(
    building: BuilderUnderTest, tmp_path: Path
) -> None:
    assert await building.builder.storage_used(BUILD) == 0
    (tmp_path / "upload").write_bytes(os.urandom(2 * MEBIBYTE))
    source = BinarySource(tmp_path / "upload", BinaryKind.FILE, "app.war")
    await building.builder.unpack(BUILD, source, Log())
    assert 2 * MEBIBYTE <= await building.builder.storage_used(BUILD) < 3 * MEBIBYTE
    assert await building.builder.storage_used("uid-2") == 0
    await building.builder.discard(BUILD)
    assert await building.builder.storage_used(BUILD) == 0


# afterwards


async def test_a_discarded_build_leaves_nothing(building: BuilderUnderTest, tmp_path: Path) -> None:
    source = BinarySource(archived(tmp_path, "a"), BinaryKind.ARCHIVE)
    checkout = await building.builder.unpack(BUILD, source, Log())
    await building.builder.build(building.plan(QUICK), Log())
    for _ in range(2):
        await building.builder.discard(BUILD)
        assert not checkout.path.exists()
    await building.builder.discard("uid-never-was")


async def test_the_end_leaves_nothing_outside_of_the_folders_of_the_server(
    building: BuilderUnderTest, settings: BuildahSettings, tmp_path: Path
) -> None:
    source = BinarySource(archived(tmp_path, "a"), BinaryKind.ARCHIVE)
    await building.builder.unpack(BUILD, source, Log())
    assert any(settings.temporary_dir.iterdir()) is isinstance(building.builder, BuildahBuilder)
    for _ in range(2):
        await building.builder.close()
        assert not any(settings.temporary_dir.iterdir())
    await building.builder.discard(BUILD)
    assert await building.builder.storage_used(BUILD) == 0


async def test_a_new_process_removes_what_is_left(
    building: BuilderUnderTest, settings: BuildahSettings, tmp_path: Path
) -> None:
    source = BinarySource(archived(tmp_path, "a"), BinaryKind.ARCHIVE)
    checkout = await building.builder.unpack(BUILD, source, Log())
    for _ in range(2):
        await building.builder.recover()
        assert not checkout.path.exists()
        assert not any(settings.temporary_dir.iterdir())
    assert (await building.builder.build(building.plan(QUICK), Log())).digest is not None


async def test_old_images_go_and_what_is_kept_or_young_stays(building: BuilderUnderTest) -> None:
    assert building.base.digest is not None
    keep, prune = frozenset({building.base.digest}), building.builder.prune
    if isinstance(building.builder, KubernetesBuilder):
        assert await prune(frozenset(), unused_for=NOW) == ()  # its images go with their Pods
        return
    await building.builder.build(building.plan(QUICK), Log())
    await building.builder.discard(BUILD)

    assert await prune(frozenset(), unused_for=DAY) == ()
    listed = await prune(keep, unused_for=NOW, dry_run=True)
    assert await prune(keep, unused_for=NOW) == listed != ()
    assert await prune(keep, unused_for=NOW) == ()
    assert len(await prune(frozenset(), unused_for=NOW)) == 1
    assert await prune(frozenset(), unused_for=NOW) == ()


# builders whose images stay on this machine


async def test_an_image_has_its_name_until_it_is_removed(buildah: BuilderUnderTest) -> None:
    assert isinstance(buildah.builder, BuildahBuilder)
    local: LocalBuilder = buildah.builder
    name = "localhost/app:latest"
    assert await local.image_id(name) is None
    try:
        await local.build(buildah.plan(QUICK, push=None, local_name=name), Log())
        await local.discard(BUILD)
        image = await local.image_id(name)
        assert image is not None
        assert await local.image_id(name) == image
        assert await local.remove_image(image)
        assert not await local.remove_image(image)
        assert await local.image_id(name) is None
    finally:
        if left := await local.image_id(name):
            await local.remove_image(left)


async def test_the_configuration_of_an_image_that_is_nowhere_is_an_error(
    buildah: BuilderUnderTest,
) -> None:
    assert isinstance(buildah.builder, BuildahBuilder)
    local: LocalBuilder = buildah.builder
    with pytest.raises(BuildError) as caught:
        await local.inspect(Reference.parse("127.0.0.1:1/none:latest"))
    assert caught.value.reason == "PullBuilderImageFailed"
