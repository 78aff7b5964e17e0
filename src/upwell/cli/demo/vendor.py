"""Vendor of the base image: a registry, and the image before and after the fix."""

import asyncio
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from upwell.cli.demo.children import ChildProcesses, run
from upwell.cli.demo.ports import HOST, Ports
from upwell.cli.demo.rootfs import RootFileSystem
from upwell.oci import Digest, Reference

_BUILD_SECONDS = 180.0
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Vendor:
    """Vendor that makes images with buildah and pushes them to docker-registry."""

    folder: Path
    ports: Ports
    containers_conf: Path
    storage_driver: str

    @property
    def image(self) -> Reference:
        """Reference of the published image."""
        return Reference.parse(f"{self.ports.vendor_host}/vendor/debian:11")

    @property
    def _logins(self) -> Path:
        return self.folder / "auth.json"

    async def start(self, children: ChildProcesses, *, webhook_url: str = "") -> None:
        """Start the registry; it notifies `webhook_url` of each push, unless that is empty."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._logins.write_text("{}")
        path = self.folder / "registry.yml"
        path.write_text(json.dumps(self._configuration(webhook_url)))  # JSON is YAML
        children.start("registry", "docker-registry", "serve", path)
        await children.until_listening("registry", self.ports.vendor)

    async def prepare(self, root: RootFileSystem, without: str = "") -> str:
        """Make an image of a root file system; return its name in the vendor's own storage.

        `without` names a folder that is left out of it, relative to the root.
        """
        name = f"localhost/vendor:{'fixed' if root.fixed else 'first'}"
        container = (await self._buildah("from", "--quiet", "scratch")).strip()
        await self._buildah("add", "--quiet", container, root.tar, "/")
        if without:
            mounted = (await self._buildah("mount", container)).strip()
            await asyncio.to_thread(shutil.rmtree, Path(mounted, without))
            await self._buildah("umount", container)
        await self._buildah(
            "config", f"--env={_PATH}", "--cmd=bash", f"--label=suite={root.title}", container
        )
        await self._buildah("commit", "--quiet", "--rm", container, name)
        return name

    async def publish(self, name: str) -> Digest:
        """Push a prepared image to the one tag; return its digest."""
        digest_file = self.folder / "published"
        await self._buildah(
            *("push", "--quiet", "--tls-verify=false", f"--digestfile={digest_file}"),
            *(name, f"docker://{self.image}"),
        )
        return Digest.parse(digest_file.read_text().strip())

    def published_at(self) -> datetime:
        """Return the time of the tag's last write, from the registry's file."""
        tag = "docker/registry/v2/repositories/vendor/debian/_manifests/tags/11/current/link"
        written = (self.folder / "registry" / tag).stat().st_mtime
        return datetime.fromtimestamp(written, UTC)

    async def _buildah(self, *arguments: str | Path) -> str:
        return await run(
            "buildah",
            *("--root", self.folder / "storage", "--runroot", self.folder / "run"),
            *("--storage-driver", self.storage_driver),
            *arguments,
            environment={
                "CONTAINERS_CONF": str(self.containers_conf),
                "TMPDIR": str(self.folder),
                "REGISTRY_AUTH_FILE": str(self._logins),  # no user's logins
            },
            seconds=_BUILD_SECONDS,
        )

    def _configuration(self, webhook_url: str) -> dict[str, object]:
        endpoints = [
            {"name": "upwell", "url": webhook_url, "timeout": "5s", "threshold": 5, "backoff": "1s"}
        ]
        return {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "registry")}},
            "http": {"addr": f"{HOST}:{self.ports.vendor}"},
            **({"notifications": {"endpoints": endpoints}} if webhook_url else {}),
        }
