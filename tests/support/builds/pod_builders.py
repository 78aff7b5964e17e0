"""KubernetesBuilder over Pods in memory."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.builds.memory_builds import FakeBuilder
from tests.support.builds.memory_pods import MemoryPods

from upwell.builder.archive import ArchiveLimits
from upwell.builder.disk.room import RoomOnDisk
from upwell.builder.interface import BuildPlan, BuildResult, RegistryLogin
from upwell.builder.kubernetes.builder import KubernetesBuilder
from upwell.builder.kubernetes.manifests import PodSettings
from upwell.builder.kubernetes.pods import BuildPods
from upwell.builder.sources import BuildSources
from upwell.git.client import GitClient
from upwell.git.commands import GitProgram
from upwell.git.interface import GitLimits
from upwell.machine.process import SYSTEM_PATH, Launcher, LogSink


class InsidePod:
    """Builder of a Pod: a FakeBuilder, and what it was told of logins."""

    def __init__(self, builder: FakeBuilder) -> None:
        self._builder = builder
        self.renewed: list[Sequence[RegistryLogin]] = []

    async def build(self, plan: BuildPlan, log: LogSink) -> BuildResult:
        return await self._builder.build(plan, log)

    def renew_logins(self, build_id: str, logins: Sequence[RegistryLogin]) -> None:
        del build_id
        self.renewed.append(logins)


SETTINGS = PodSettings("upwell.test/upwell:1")


def pod_builder(
    folder: Path, pods: BuildPods, settings: PodSettings = SETTINGS
) -> KubernetesBuilder:
    """Return a builder of a server that keeps its files in `folder`."""
    launcher = Launcher(str(folder))
    program = GitProgram(launcher, {"PATH": SYSTEM_PATH}, allow_local=True)
    git = GitClient(program, GitLimits(), folder / "git")
    sources = BuildSources(folder / "builds", git, ArchiveLimits())
    return KubernetesBuilder(pods, settings, sources, RoomOnDisk(launcher, SYSTEM_PATH))


@asynccontextmanager
async def builder_in_pods(
    folder: Path, inside: FakeBuilder
) -> AsyncIterator[tuple[KubernetesBuilder, MemoryPods]]:
    """Give a builder and its Pods, each of which builds with `inside`."""
    pods = MemoryPods(lambda _: InsidePod(inside))
    try:
        yield pod_builder(folder, pods), pods
    finally:
        await pods.close()
