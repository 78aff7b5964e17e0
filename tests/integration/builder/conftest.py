"""A registry, base images made of a static busybox, git repositories, and a builder."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.builds.base_images import BaseImages, Log, push_base_images, serve_registry
from tests.support.builds.openshift_builds import (
    BuildInstallation,
    committed,
    open_builds,
    push_as_docker_hub,
)
from tests.support.builds.s2i_images import BuilderImages, push_builder_images

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings

TOOLS = {
    "buildah": "buildah",
    "runc": "runc",
    "skopeo": "skopeo",
    "docker-registry": "docker-registry",
    "git": "git",
    "busybox": "busybox-static",
}
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    missing = sorted(package for tool, package in TOOLS.items() if shutil.which(tool) is None)
    if missing:
        pytest.skip(f"install {' '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("building needs root")


@pytest.fixture(scope="session")
def containers_conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("conf") / "containers.conf"
    path.write_text(CONTAINERS_CONF)
    return path


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serve_registry(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="session")
def images(registry: str) -> BaseImages:
    return push_base_images(registry)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image store that all tests share, as the builds of one machine do."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def passage() -> Iterator[Path]:
    """A folder for what builds drop: not a temporary one of pytest's, which only we may enter."""
    with tempfile.TemporaryDirectory(prefix="upwell-passage-") as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


@pytest.fixture
def settings(tmp_path: Path, store: Path, passage: Path, containers_conf: Path) -> BuildahSettings:
    return BuildahSettings(
        work_dir=tmp_path / "work",
        storage_root=store / "root",
        run_root=store / "run",
        temporary_dir=passage,
        containers_conf=containers_conf,
        allow_local_sources=True,
    )


@pytest.fixture
async def builder(settings: BuildahSettings) -> AsyncIterator[BuildahBuilder]:
    builder = BuildahBuilder(settings, dialer=None)
    yield builder
    await builder.recover()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture(scope="session")
def fakes(images: BaseImages) -> BuilderImages:
    return push_builder_images(images)


@pytest.fixture(scope="session")
def docker_hub(images: BaseImages) -> str:
    """The test registry, with our images under the names of OpenShift's cases."""
    return push_as_docker_hub(images)


@pytest.fixture
async def installed(
    builder: BuildahBuilder, docker_hub: str, tmp_path: Path
) -> AsyncIterator[BuildInstallation]:
    """Builds that are asked for, run for real."""
    async with open_builds(builder, docker_hub, tmp_path / "site", follows=False) as running:
        yield running


@pytest.fixture
async def live_installed(
    builder: BuildahBuilder, docker_hub: str, tmp_path: Path
) -> AsyncIterator[BuildInstallation]:
    """A site whose streams import and whose triggers start builds."""
    async with open_builds(builder, docker_hub, tmp_path / "site", follows=True) as running:
        yield running


@pytest.fixture
def repository(tmp_path: Path) -> str:
    """A git repository of an application, as the cases have them at GitHub."""
    return committed(tmp_path / "repository", {"app.rb": "puts 1\n", "Dockerfile": "FROM x\n"})
