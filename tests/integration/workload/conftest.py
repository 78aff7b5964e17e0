"""A private Podman storage for the session, with one small image, and a folder for each test."""

import asyncio
import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.workload.podman_home import PodmanHome, Workload, root_filesystem

from upwell.machine.containers_conf import write_containers_conf
from upwell.oci import Digest, Reference
from upwell.workload.podman import PodmanSettings


@pytest.fixture(scope="session")
def podman_home() -> Iterator[PodmanHome]:
    for tool, package in (("podman", "podman"), ("busybox", "busybox-static")):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: apt install {package}")
    # Not below pytest's folder: a Unix socket's path may have 107 characters only.
    root = Path(tempfile.mkdtemp(prefix="upwell-podman-"))
    conf = root / "containers.conf"
    asyncio.run(write_containers_conf(conf, root / "storage"))
    home = PodmanHome(root, conf, Reference.parse("localhost/web"))
    try:
        home.run("import", "-", "localhost/web:latest", stdin=root_filesystem())
        digest = json.loads(home.run("image", "inspect", "localhost/web:latest"))[0]["Digest"]
        yield replace(home, image=home.image.with_digest(Digest.parse(digest)))
    finally:
        home.run("rm", "--all", "--force", "--time=0")
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def settings(podman_home: PodmanHome) -> Iterator[PodmanSettings]:
    name = uuid.uuid4().hex[:8]
    made = PodmanSettings(
        data_dir=podman_home.root / name,
        instance_id=name,
        storage_root=podman_home.root / "storage",
        run_root=podman_home.root / "run",
        containers_conf=podman_home.conf,
    )
    yield made
    label = f"label=upwell.dev/instance={name}"
    for container in podman_home.run("ps", "-aq", "--filter", label).split():
        podman_home.run("rm", "--force", "--time=0", "--depend", container)
    podman_home.run("network", "rm", "--force", made.network_name)


@pytest.fixture
def workload(podman_home: PodmanHome) -> Workload:
    return Workload(podman_home.image)
