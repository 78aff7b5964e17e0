"""A Podman of the tests' own, and instances of one small image for it."""

import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from upwell.oci import Reference
from upwell.workload.interface import ContainerSpec, InstanceSpec, Owner

OWNER = Owner("Deployment", "shop", "web")

_APPLETS = ("sh", "httpd", "sleep", "cat", "echo", "cp", "id", "nc", "rm", "touch", "stat", "mkdir")


@dataclass(frozen=True)
class PodmanHome:
    """Where the tests' Podman keeps everything, and how to call it."""

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
            check=True,
            timeout=60,
        )
        return done.stdout.decode()


class Workload:
    """Builds specs around the test image."""

    def __init__(self, image: Reference) -> None:
        self.image = image

    def container(self, *args: str, name: str = "web") -> ContainerSpec:
        return ContainerSpec(name, self.image, command=("/bin/busybox",), args=args)

    def spec(self, *containers: ContainerSpec, name: str = "web-1-a") -> InstanceSpec:
        return InstanceSpec(name, OWNER, "rev1", containers)


def root_filesystem() -> bytes:
    busybox = shutil.which("busybox") or "busybox"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return archive.getvalue()
