"""Builds by Buildah and rebases by `upwell rebase`, and what a container sees of each outcome."""

import asyncio
import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.support.registry.embedded_server import serving

from upwell.cli import main
from upwell.oci import Index, Manifest, Platform, Reference
from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient


@dataclass
class BuildSetup:
    host: str
    folder: Path
    client: RegistryClient

    async def build(
        self, name: str, tag: str, dockerfile: str, *more: str, image: str = ""
    ) -> None:
        """Build what a Dockerfile says of bases as they are now (HOST is the registry); push it.

        The image is `name:tag`, or another in the same registry.
        """
        context = self.folder / name
        image = f"{self.host}/{image or f'{name}:{tag}'}"
        await asyncio.to_thread(_write, context, dockerfile.replace("HOST", self.host))
        options = "--tls-verify=false", "--isolation=chroot", "--pull-always", "--format=oci"
        await self.buildah("build", "-q", *options, *more, "-t", image, str(context))
        await self.buildah("push", "-q", "--tls-verify=false", image)

    async def buildah(self, *arguments: str) -> bytes:
        store = f"--root={self.folder}/store", f"--runroot={self.folder}/run"
        # More files and processes than this machine may allow are Buildah's default.
        conf = self.folder / "containers.conf"
        conf.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
        command = ("env", f"CONTAINERS_CONF={conf}", "buildah", *store, "--storage-driver=vfs")
        return await output(*command, *arguments)

    async def index(self, image: str, entries: Sequence[str]) -> None:
        """Push an index of images that have been built."""
        await self.buildah("manifest", "create", image, *(f"{self.host}/{one}" for one in entries))
        where = f"docker://{self.host}/{image}"
        await self.buildah("manifest", "push", "--rm", "--all", "--tls-verify=false", image, where)

    async def run(self, image: str, *command: str) -> str:
        """Return what a command prints in an image of the registry."""
        source = f"{self.host}/{image}"
        made = await self.buildah("from", "--pull-always", "--tls-verify=false", source)
        container = made.decode().split()[-1]
        said = await self.buildah("run", "--isolation=chroot", container, "--", *command)
        await self.buildah("rm", container)
        return said.decode()

    async def rebase(self, *arguments: str) -> Result:
        env = {"XDG_CACHE_HOME": str(self.folder)}
        return await asyncio.to_thread(CliRunner().invoke, main, ["rebase", *arguments], env=env)

    async def config(self, name: str, architecture: str = "amd64") -> dict[str, Any]:
        """Return what a container gets of a configuration, as skopeo reads it."""
        where = f"docker://{self.host}/{name}"
        platform = f"--override-arch={architecture}"
        raw = await output("skopeo", platform, "inspect", "--tls-verify=false", "--config", where)
        config = json.loads(raw)
        settings = {**config["config"], "Env": sorted(config["config"]["Env"])}
        return {"settings": settings, "layers": config["rootfs"], "os": config["os"]}

    async def files(self, name: str, architecture: str = "amd64") -> dict[str, tuple[Any, ...]]:
        """Return every path of an image, with all that a container would see of it."""
        reference = Reference.parse(f"{self.host}/{name}")
        manifest = await self.client.manifest(reference)
        if isinstance(manifest, Index):
            entry = manifest.select(Platform("linux", architecture))
            assert entry is not None
            reference = reference.with_digest(entry.digest)
            manifest = await self.client.manifest(reference)
        assert isinstance(manifest, Manifest)
        found: dict[str, tuple[Any, ...]] = {}
        for layer in manifest.layers:
            raw = await self.client.blob(reference, layer.digest, layer.size)
            _add_layer(found, gzip.decompress(raw))
        return found


@asynccontextmanager
async def build_setup(folder: Path) -> AsyncIterator[BuildSetup]:
    """Serve an empty registry beside a storage of Buildah's; skips without the programs."""
    for program in ("buildah", "skopeo"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt install {program}")
    async with serving(folder / "registry") as served, RegistryClient(unrestricted()) as client:
        yield BuildSetup(served.host, folder, client)


def _write(context: Path, dockerfile: str) -> None:
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(dedent(dockerfile).strip() + "\n")


def _add_layer(found: dict[str, tuple[Any, ...]], raw: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for entry in archive:
            path = entry.name.removeprefix("./").strip("/")
            folder, _, name = path.rpartition("/")
            if name.startswith(".wh."):
                gone = f"{folder}/{name[4:]}".strip("/")
                for known in [one for one in found if f"{one}/".startswith(f"{gone}/")]:
                    del found[known]
            elif path:
                file = archive.extractfile(entry) if entry.isreg() else None
                content = hashlib.sha256(file.read()).hexdigest() if file else entry.linkname
                found[path] = entry.type, entry.mode, entry.uid, entry.gid, content


async def output(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    return stdout
