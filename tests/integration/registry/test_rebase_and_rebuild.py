"""A rebased image is what Buildah makes of the same Dockerfile and the new base."""

import asyncio
import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.support.installation.vendor_images import publish
from tests.support.registry.embedded_server import serving

from upwell.cli import main
from upwell.oci import Manifest, Reference
from upwell.registry.client.client import RegistryClient

APPLICATIONS = {
    "shop": """
        FROM BASE
        ENV PATH=/opt/bin:$PATH MODE=production
        RUN mkdir -p /opt/bin && echo '#!/bin/sh' > /opt/bin/shop && chmod 750 /opt/bin/shop
        WORKDIR /srv
        USER 5:5
        CMD ["shop"]
        """,
    "tools": """
        FROM BASE
        COPY Dockerfile /etc/tools/
        RUN ln -s /bin/sh /bin/tool && chown 7:7 /etc/tools
        LABEL team=tools
        EXPOSE 8080
        VOLUME /data
        ENTRYPOINT ["/bin/tool"]
        """,
    "trap": """
        FROM BASE
        RUN cp /etc/base-version /copy && rm /etc/base-version
        """,
}


@dataclass
class BuildSetup:
    host: str
    folder: Path
    client: RegistryClient

    async def build(self, name: str, tag: str) -> None:
        """Build an application on the base as it is now, and push it."""
        context = self.folder / name
        image = f"{self.host}/{name}:{tag}"
        text = APPLICATIONS[name].replace("BASE", f"{self.host}/base:1")
        await asyncio.to_thread(written, context, text)
        options = "--tls-verify=false", "--isolation=chroot", "--pull-always", "--format=oci"
        await self.buildah("build", "-q", *options, "-t", image, str(context))
        await self.buildah("push", "-q", "--tls-verify=false", image)

    async def buildah(self, *arguments: str) -> None:
        store = f"--root={self.folder}/store", f"--runroot={self.folder}/run"
        # More files and processes than this machine may allow are Buildah's default.
        conf = self.folder / "containers.conf"
        conf.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
        command = ("env", f"CONTAINERS_CONF={conf}", "buildah", *store, "--storage-driver=vfs")
        await output(*command, *arguments)

    async def rebase(self, *arguments: str) -> Result:
        env = {"XDG_CACHE_HOME": str(self.folder)}
        return await asyncio.to_thread(CliRunner().invoke, main, ["rebase", *arguments], env=env)

    async def config(self, name: str) -> dict[str, Any]:
        """Return what a container gets of a configuration, as skopeo reads it."""
        where = f"docker://{self.host}/{name}"
        raw = await output("skopeo", "inspect", "--tls-verify=false", "--config", where)
        config = json.loads(raw)
        settings = {**config["config"], "Env": sorted(config["config"]["Env"])}
        return {"settings": settings, "layers": config["rootfs"], "os": config["os"]}

    async def files(self, name: str) -> dict[str, tuple[Any, ...]]:
        """Return every path of an image, with all that a container would see of it."""
        reference = Reference.parse(f"{self.host}/{name}")
        manifest = await self.client.manifest(reference)
        assert isinstance(manifest, Manifest)
        found: dict[str, tuple[Any, ...]] = {}
        for layer in manifest.layers:
            raw = await self.client.blob(reference, layer.digest, layer.size)
            add_layer(found, gzip.decompress(raw))
        return found


def written(context: Path, text: str) -> None:
    context.mkdir(exist_ok=True)
    lines = (line.strip() for line in text.splitlines())
    (context / "Dockerfile").write_text("\n".join(line for line in lines if line))


def add_layer(found: dict[str, tuple[Any, ...]], raw: bytes) -> None:
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


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[BuildSetup]:
    for program in ("buildah", "skopeo"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt install {program}")
    async with serving(tmp_path / "registry") as served, RegistryClient() as client:
        yield BuildSetup(served.host, tmp_path, client)


async def test_a_rebase_gives_what_a_build_would_or_says_why_not(setup: BuildSetup) -> None:
    await publish(setup.host, "base:1", "1.0")
    for name in APPLICATIONS:
        await setup.build(name, "old")
    await publish(setup.host, "base:1", "1.1")
    for name in ("shop", "tools"):
        done = await setup.rebase(f"{setup.host}/{name}:old", "--tag=rebased")
        assert done.exit_code == 0, done.output
        await setup.build(name, "built")
        files = await setup.files(f"{name}:rebased")
        assert files == await setup.files(f"{name}:built")
        assert files != await setup.files(f"{name}:old")
        rebased, built = [await setup.config(f"{name}:{tag}") for tag in ("rebased", "built")]
        assert rebased["settings"] == built["settings"]
        assert len(rebased["layers"]["diff_ids"]) == len(built["layers"]["diff_ids"])
    refused = await setup.rebase(f"{setup.host}/trap:old")
    assert refused.exit_code == 1
    assert "CopyOfBaseFile" in refused.stderr
    assert "Whiteout" in refused.stderr
