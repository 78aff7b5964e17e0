"""Builds against the same steps by hand with Buildah, as ratios within one run."""

import os
import resource
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.builds.base_images import run, serve_registry
from tests.support.builds.debian_applications import NODE, PYTHON, App, BaseImageContext

from upwell.builder.buildah import BuildahBuilder, BuildahSettings
from upwell.builder.interface import BuilderStrategy, BuildPlan
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
ROUNDS = 4
"""Even, since whoever comes second pays for what the first left to the disk."""

LIMIT_SECONDS = 120


@dataclass(frozen=True)
class BuildComparison:
    """An app's source, its base image in a registry, and what both sides build with."""

    app: App
    registry: str
    folder: Path
    base: BaseImageContext
    builder: BuildahBuilder

    def reference(self, name: str) -> Reference:
        return Reference.parse(f"{self.registry}/{name}")

    def store(self, name: str) -> tuple[str, ...]:
        folder = self.folder / name
        return ("buildah", f"--root={folder / 'root'}", f"--runroot={folder / 'run'}")

    def next_base(self) -> Reference:
        """Push another base image: as another fix of the same distribution would be."""
        fix = str(time.monotonic_ns())
        self.base.change(fix)
        store, digest = self.store("vendor"), self.folder / "digest"
        target = self.reference(f"vendor/base:{fix}")
        made = run(*store, "build", "--quiet", str(self.base.folder), seconds=LIMIT_SECONDS)
        options = ("--quiet", "--tls-verify=false", f"--digestfile={digest}")
        run(*store, "push", *options, made, f"docker://{target}", seconds=LIMIT_SECONDS)
        run(*store, "rmi", made)
        return target.with_digest(Digest.parse(digest.read_text()))


@pytest.fixture(params=[PYTHON, NODE], ids=lambda app: app.name)
def setup(
    request: pytest.FixtureRequest, tmp_path: Path, *, user_namespaces: bool
) -> Iterator[BuildComparison]:
    tools = ("buildah", "runc", "docker-registry", "mmdebstrap")
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        pytest.skip(f"install {' '.join(missing)}")
    app: App = request.param
    for name in ("registry", "source", "base"):
        (tmp_path / name).mkdir()
    app.write_source(tmp_path / "source")
    base = BaseImageContext(app, tmp_path / "base")
    conf = tmp_path / "containers.conf"
    conf.write_text(CONF)
    builder = BuildahBuilder(
        BuildahSettings(tmp_path / "ours", containers_conf=conf, user_namespaces=user_namespaces)
    )
    for registry in serve_registry(tmp_path / "registry"):
        yield BuildComparison(app, registry, tmp_path, base, builder)


type Stages = dict[str, float]


class StageTimer:
    """Notes how many seconds each stage took."""

    def __init__(self) -> None:
        self.stages: Stages = {}
        self._last = time.monotonic()

    def note(self, stage: str) -> None:
        now = time.monotonic()
        self.stages[stage], self._last = now - self._last, now


def by_hand(setup: BuildComparison, base: Reference) -> Stages:
    """Pull, build, push: what a person would type."""
    store, conf = setup.store("hand"), {"CONTAINERS_CONF": str(setup.folder / "containers.conf")}
    recipe = setup.folder / "Dockerfile"
    recipe.write_text(setup.app.recipe.replace("base:1", str(base)))
    target = setup.reference("hand/app:1")
    plain = "--tls-verify=false"
    watch = StageTimer()
    run(*store, "pull", "--quiet", plain, str(base), env=conf, seconds=LIMIT_SECONDS)
    watch.note("PullImages")
    options = ("--quiet", "--pull=never", "--tag=app", f"--file={recipe}", *setup.app.options)
    source = str(setup.folder / "source")
    run(*store, "build", *options, source, env=conf, seconds=LIMIT_SECONDS)
    watch.note("Build")
    push = ("push", "--quiet", plain, "app", f"docker://{target}")
    run(*store, *push, env=conf, seconds=LIMIT_SECONDS)
    watch.note("PushImage")
    return watch.stages


async def ours(setup: BuildComparison, base: Reference) -> Stages:
    docker = setup.app.strategy is BuilderStrategy.DOCKER
    name = f"app-{time.monotonic_ns()}"
    plan = BuildPlan(
        id="uid",
        namespace="bench",
        name="app",
        strategy=setup.app.strategy,
        context=setup.folder / "source",
        images={"base:1" if docker else "builder": base},
        push=setup.reference("ours/app:1"),
        dockerfile=setup.app.recipe if docker else None,
        # As the server has it: no two builds have the same name.
        build_env=(("OPENSHIFT_BUILD_NAME", name), ("OPENSHIFT_BUILD_NAMESPACE", "bench")),
        labels={"io.openshift.build.name": name, "io.openshift.build.namespace": "bench"},
        insecure_registries=frozenset({setup.registry}),
    )
    watch = StageTimer()
    result = await setup.builder.build(plan, lambda _: None)
    watch.note("all")
    await setup.builder.discard("uid")
    rest = watch.stages["all"] - sum(result.stages.values())
    return {**result.stages, "rest": rest}


class Comparison:
    """The stages of both sides, round by round."""

    def __init__(self, setup: BuildComparison, what: str) -> None:
        self._site = setup
        self._what = f"{setup.app.name}, {what}"
        self._theirs: list[Stages] = []
        self._ours: list[Stages] = []
        self._processors: list[float] = []
        """Processor time of our builds, as a multiple of that of builds by hand."""

    async def round(self, base: Reference, *, we_begin: bool) -> None:
        used = {}
        for we in (we_begin, not we_begin):
            os.sync()  # what an earlier step left to the disk is not this one's time
            before = _processor_seconds()
            if we:
                self._ours.append(await ours(self._site, base))
            else:
                self._theirs.append(by_hand(self._site, base))
            used[we] = _processor_seconds() - before
        self._processors.append(used[True] / used[False])
        _say(
            f"{self._what}: {_sum(self._ours[-1]):.2f} s ({used[True]:.2f} s of processors),"
            f" by hand {_sum(self._theirs[-1]):.2f} s ({used[False]:.2f} s)"
        )

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: the two sides of a round share what else runs."""
        pairs = zip(self._ours, self._theirs, strict=True)
        return statistics.median(_sum(ours) / _sum(theirs) for ours, theirs in pairs)

    def __str__(self) -> str:
        return (
            f"{self._what}: {_median(self._ours):.2f} s ({_stages(self._ours)}),"
            f" by hand {_median(self._theirs):.2f} s ({_stages(self._theirs)}),"
            f" ratio {self.ratio:.2f}, of processors {statistics.median(self._processors):.2f}"
        )


def _median(rounds: list[Stages]) -> float:
    return statistics.median(_sum(stages) for stages in rounds)


def _sum(stages: Stages) -> float:
    return sum(stages.values())


def _processor_seconds() -> float:
    """Return what this process and all that it has waited for have used so far."""
    found = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # a benchmark's result


def _stages(rounds: list[Stages]) -> str:
    medians = {name: statistics.median(stages[name] for stages in rounds) for name in rounds[0]}
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in medians.items())


@pytest.mark.parametrize("user_namespaces", [False, True], ids=["machine-ids", "own-ids"])
async def test_a_rebuild_takes_as_long_as_by_hand(
    setup: BuildComparison, *, user_namespaces: bool
) -> None:
    ids = "own ids" if user_namespaces else "machine ids"
    changed = Comparison(setup, f"{ids}, base changed")
    unchanged = Comparison(setup, f"{ids}, no change")
    first = setup.next_base()
    await ours(setup, first)
    by_hand(setup, first)
    for number in range(ROUNDS):
        base = setup.next_base()
        await changed.round(base, we_begin=number % 2 == 0)
        await unchanged.round(base, we_begin=number % 2 == 0)
    for found in (changed, unchanged):
        _say(f"medians: {found}")
        assert found.ratio < 1.5
