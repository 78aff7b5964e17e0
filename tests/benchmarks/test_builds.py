"""Builds against the same steps by hand with Buildah, as ratios within one run."""

import shutil
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.integration.builder.base_images import (
    Images,
    inspect,
    push_base_images,
    root_file_system,
    run,
    serve_registry,
    write_tree,
)

from upwell.builder.buildah import BuildahBuilder, BuildahSettings
from upwell.builder.interface import BuildPlan, Strategy
from upwell.oci import Digest, Reference

pytestmark = pytest.mark.benchmark

CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
DOCKERFILE = """\
FROM base:1
COPY deps /app/deps
RUN cp -R /app/deps /app/installed && find /app/installed -type f | wc -l
COPY src /app/src
CMD ["/app/src/main"]
"""
RUNS = 3


@dataclass(frozen=True)
class App:
    """A source tree: its own files, and those of its dependencies."""

    name: str
    packages: int
    files_each: int

    def write(self, root: Path) -> Path:
        files = {f"src/file{index}": f"{index}\n" * 50 for index in range(30)}
        for package in range(self.packages):
            for index in range(self.files_each):
                files[f"deps/p{package}/f{index}"] = f"{package} {index}\n" * 100
        return write_tree(root, files)


APPS = [App("python", 20, 20), App("node", 500, 16)]


@dataclass(frozen=True)
class Machine:
    """A registry with base images, and a place to build in."""

    images: Images
    conf: Path
    folder: Path

    def next_base(self, number: int) -> Reference:
        """Push another base image: as another fix of the same distribution would be."""
        folder = self.folder / f"base-{number}"
        root_file_system(folder / "rootfs")
        (folder / "rootfs/fixed").write_text(str(time.monotonic_ns()))
        (folder / "Base").write_text("FROM scratch\nCOPY rootfs /\nENV PATH=/bin\n")
        store = ("buildah", f"--root={folder / 'store'}", f"--runroot={folder / 'run'}")
        target = self.images.reference(f"vendor/base:{number}-{time.monotonic_ns()}")
        run(*store, "build", "--quiet", "--tag=b", f"--file={folder / 'Base'}", str(folder))
        run(*store, "push", "--tls-verify=false", "b", f"docker://{target}")
        digest = Digest.parse(str(inspect(target)["Digest"]))
        shutil.rmtree(folder)
        return target.with_digest(digest)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    missing = [tool for tool in ("buildah", "docker-registry", "skopeo") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"install {' '.join(missing)}")
    folder = tmp_path_factory.mktemp("builds")
    conf = folder / "containers.conf"
    conf.write_text(CONF)
    (folder / "registry").mkdir()
    (folder / "images").mkdir()
    for registry in serve_registry(folder / "registry"):
        yield Machine(push_base_images(registry, conf, folder / "images"), conf, folder)


def by_hand(machine: Machine, context: Path, base: Reference, tag: str) -> None:
    """Pull, build with the layer cache, push: what a person would type."""
    store = (
        "buildah",
        f"--root={machine.folder / 'hand/root'}",
        f"--runroot={machine.folder / 'hand/run'}",
    )
    environment = {"CONTAINERS_CONF": str(machine.conf)}
    (machine.folder / "Dockerfile").write_text(DOCKERFILE.replace("base:1", str(base)))
    file = f"--file={machine.folder / 'Dockerfile'}"
    run(*store, "pull", "--quiet", "--tls-verify=false", str(base), env=environment)
    build = ("build", "--layers", "--quiet", "--pull=never", f"--tag={tag}", file, str(context))
    run(*store, *build, env=environment)
    target = f"docker://{machine.images.reference(f'hand/{tag}:1')}"
    run(*store, "push", "--quiet", "--tls-verify=false", tag, target, env=environment)


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    start = time.monotonic()
    await work()
    return time.monotonic() - start


@pytest.mark.parametrize("user_namespaces", [True, False], ids=["own-ids", "machine-ids"])
@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
async def test_a_rebuild_takes_as_long_as_by_hand(
    machine: Machine, tmp_path: Path, app: App, *, user_namespaces: bool
) -> None:
    context = app.write(tmp_path / "tree")
    settings = BuildahSettings(
        work_dir=tmp_path / "work",
        containers_conf=machine.conf,
        user_namespaces=user_namespaces,
    )
    tag = f"{app.name}-{user_namespaces}".lower()
    plan = BuildPlan(
        id="uid",
        namespace="bench",
        name=tag,
        strategy=Strategy.DOCKER,
        context=context,
        images={"base:1": machine.images.base},
        push=machine.images.reference(f"ours/{tag}:1"),
        dockerfile=DOCKERFILE,
        insecure_registries=frozenset({machine.images.registry}),
    )
    ratios: dict[str, list[float]] = {"no change": [], "base changed": []}
    times: dict[str, list[float]] = {"no change": [], "base changed": []}

    async def compare(kind: str, base: Reference) -> None:
        builder = BuildahBuilder(settings)  # as after a restart: the cache is on disk
        wanted = replace(plan, images={"base:1": base})

        async def hand() -> None:
            by_hand(machine, context, base, tag)

        theirs = await seconds(hand)
        ours = await seconds(lambda: builder.build(wanted, lambda _: None))
        await builder.discard("uid")
        ratios[kind].append(ours / theirs)
        times[kind].append(ours)

    await BuildahBuilder(settings).build(plan, lambda _: None)
    by_hand(machine, context, machine.images.base, tag)
    for number in range(RUNS):
        base = machine.next_base(number)
        await compare("base changed", base)
        await compare("no change", base)
    for kind, found in ratios.items():
        print(  # noqa: T201  # the result of a benchmark
            f"{app.name} {'own' if user_namespaces else 'machine'} ids, {kind}:"
            f" {statistics.median(times[kind]):.2f} s, ratio {statistics.median(found):.2f}"
        )
        assert statistics.median(found) < 2.5
