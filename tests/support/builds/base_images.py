"""Images made of a static busybox, a registry for them, and what tests read back."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.builds.written_images import Layer, WrittenImage
from tests.support.ports import free_port

from upwell.builder.buildah import BuildahBuilder
from upwell.oci import Reference

ASSEMBLE = """\
#!/bin/sh -e
echo "assemble runs as $(id -u):$(id -g) in $PWD with GREETING=$GREETING"
mkdir -p /tmp/app
cp -R /tmp/src/. /tmp/app
[ ! -x /tmp/src/hook ] || /tmp/src/hook
"""


@dataclass
class Log:
    """A sink that keeps what it got."""

    content: bytearray = field(default_factory=bytearray)

    def __call__(self, piece: bytes) -> None:
        self.content += piece

    @property
    def text(self) -> str:
        return self.content.decode()


@dataclass(frozen=True)
class BaseImages:
    """The images that every test starts from, in one registry."""

    registry: str
    base: Reference
    s2i: Reference

    def reference(self, name: str) -> Reference:
        return Reference.parse(f"{self.registry}/{name}")


def run(
    *argv: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 60,
) -> str:
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        argv, cwd=cwd, env=environment, check=False, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def inspect(image: Reference, *options: str) -> dict[str, Any]:
    raw = run("skopeo", "inspect", *options, "--tls-verify=false", f"docker://{image}")
    document: dict[str, Any] = json.loads(raw)
    return document


def control_groups(builder: BuildahBuilder) -> list[Path]:
    """Return the groups that hold processes of this builder's builds."""
    place, top = f"upwell-builds/{builder._confinement.owner}/uid-*", Path("/sys/fs/cgroup")
    return [*top.glob(place), *top.glob(f"*/{place}")]


def serve_registry(
    folder: Path,
    settings: Mapping[str, str] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[str]:
    """Run a registry at an address of this machine until the generator is closed.

    Its port is a free one unless `port` says which.
    """
    address = f"{host}:{port or free_port()}"
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder / 'data'}'}}}}\n"
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", config],
        env={**os.environ, **(settings or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_port(address)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def _wait_for_port(address: str) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(address)


def root_file_system() -> bytes:
    """Return a layer with busybox and what programs expect of a system."""
    busybox = shutil.which("busybox") or ""
    layer = Layer()
    for name, mode in {"bin": 0o755, "etc": 0o755, "root": 0o700, "srv": 0o755}.items():
        layer.folder(name, mode)
    layer.folder("tmp", 0o1777)
    layer.file("bin/busybox", Path(busybox).read_bytes())
    for applet in run(busybox, "--list").split():
        if applet != "busybox":
            layer.link(f"bin/{applet}", "busybox")
    layer.file("bin/entry", b'#!/bin/sh\necho through the entrypoint\nexec "$@"\n')
    users = b"root:x:0:0:root:/root:/bin/sh\nmaker:x:431:77::/:/bin/sh\n"
    layer.file("etc/passwd", users, 0o644)
    layer.file("etc/group", b"root:x:0:\nmakers:x:77:\n", 0o644)
    return layer.tar()


def write_tree(root: Path, files: Mapping[str, str]) -> Path:
    """Write files; those that begin with `#!` become executable."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    return root


def push_base_images(registry: str) -> BaseImages:
    """Write a base and an S2I builder on it, and push both."""
    system = root_file_system()
    scripts = Layer()
    for folder in ("usr", "usr/libexec", "usr/libexec/s2i"):
        scripts.folder(folder)
    scripts.file("usr/libexec/s2i/assemble", ASSEMBLE.encode())
    scripts.file("usr/libexec/s2i/run", b"#!/bin/sh\nexec sleep 1\n")
    base = {"Env": ["PATH=/bin", "BASE=1"], "Cmd": ["/bin/sh"]}
    s2i = {
        "Env": base["Env"],
        "Labels": {"io.openshift.s2i.scripts-url": "image:///usr/libexec/s2i/"},
        "Entrypoint": ["/bin/entry"],
        "ExposedPorts": {"8080/tcp": {}},
        "WorkingDir": "/srv",
        "User": "1001",
    }
    return BaseImages(
        registry,
        WrittenImage([system], base).push(Reference.parse(f"{registry}/vendor/base:1")),
        WrittenImage([system, scripts.tar()], s2i).push(
            Reference.parse(f"{registry}/vendor/s2i:1")
        ),
    )
