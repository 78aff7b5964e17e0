"""A Podman of the tests' own, and instances of one small image for it."""

import asyncio
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from upwell.machine.containers_conf import write_containers_conf
from upwell.oci import Digest, Reference
from upwell.workload.instance_spec import ContainerSpec, InstanceSpec, Owner

OWNER = Owner("Deployment", "shop", "web")

_APPLETS = (
    *("sh", "httpd", "sleep", "cat", "echo", "cp", "id", "nc", "rm", "touch", "stat", "mkdir"),
    *("mv", "true", "false", "uptime"),
)
_BASH = b'#!/bin/sh\nexec /bin/sh "$@"\n'
"""Manifests of OpenShift's call it."""


@dataclass(frozen=True)
class PodmanHome:
    """Storage of the tests' Podman, and the arguments to call it."""

    root: Path
    conf: Path
    image: Reference

    def run(self, *arguments: str, stdin: bytes | None = None) -> str:
        flags = ("--root", self.root / "storage", "--runroot", self.root / "run")
        done = subprocess.run(
            ["podman", *flags, "--tmpdir", self.root / "run" / "libpod", *arguments],
            input=stdin,
            env={**os.environ, "CONTAINERS_CONF": str(self.conf)},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def clear(self, instance_id: str, network: str) -> None:
        """Remove the containers of a runtime, with their anonymous volumes, and its network."""
        label = f"label=upwell.dev/instance={instance_id}"
        self.run("rm", "--force", "--time=0", "--volumes", "--depend", "--filter", label)
        self.run("network", "rm", "--force", network)


class Workload:
    """Builds specs around the test image."""

    def __init__(self, image: Reference) -> None:
        self.image = image

    def container(self, *args: str, name: str = "web") -> ContainerSpec:
        return ContainerSpec(name, self.image, command=("/bin/busybox",), args=args)

    def spec(self, *containers: ContainerSpec, name: str = "web-1-a") -> InstanceSpec:
        return InstanceSpec(name, OWNER, "rev1", containers)


@contextmanager
def podman_home_in(root: Path) -> Iterator[PodmanHome]:
    """Make storage below `root`, with the test image in it, and remove everything afterwards."""
    for tool, package in (("podman", "podman"), ("busybox", "busybox-static")):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: apt install {package}")
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


def root_filesystem() -> bytes:
    busybox = shutil.which("busybox") or "busybox"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        bash = tarfile.TarInfo("bin/bash")
        bash.size, bash.mode = len(_BASH), 0o755
        tar.addfile(bash, io.BytesIO(_BASH))
    return archive.getvalue()
