"""Stores that pruning works on: real registry, logs, uploads and inventory in a folder."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from tests.support.builds.memory_builds import FakeBuilder, push
from tests.support.rollouts.memory_machine import FakeRuntime

from upwell.api.codec import decode
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.builder.logs.files import FileBuildLogs
from upwell.inventory.sqlite import SqliteInventory
from upwell.oci import Digest, MediaType, Reference
from upwell.policy.pruning.rules import Rules
from upwell.reconcilers.pruning import LeftoverSweep, MachineRoots, Pruning, Stores
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import BlobUnknownError
from upwell.registry.hosting import ManifestPush
from upwell.store.memory import MemoryStore
from upwell.uploads.files import FileInputs
from upwell.workload.instance_spec import ContainerSpec, InstanceSpec, Owner

HOST = "registry.internal:5000"
MONTH = timedelta(days=30)


class PrunedStores:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryStore(lambda: datetime.now(UTC) - MONTH)
        self.registry = EmbeddedRegistry(folder / "registry", HOST)
        self.logs = FileBuildLogs(folder / "logs")
        self.inputs = FileInputs(folder / "inputs")
        self.evidence = FileInputs(folder / "evidence")
        self.inventory = SqliteInventory(folder / "inventory.db")
        self.builder = FakeBuilder(self.registry, folder / "builds")
        self.runtime = FakeRuntime(lambda: datetime.now(UTC))
        self.stores = Stores(
            objects=self.store,
            registry=self.registry,
            host=HOST,
            logs=self.logs,
            inputs=self.inputs,
            evidence=self.evidence,
            inventory=self.inventory,
            builder=self.builder,
            roots=MachineRoots(self.store, self.runtime),
            runtime=self.runtime,
            clock=lambda: datetime.now(UTC),
        )
        self.pruning = Pruning(self.stores)
        self.sweep = LeftoverSweep(self.store, self.runtime, "", self.stores.clock)
        self.rules = Rules(keep_tag_revisions=1)

    async def run(self, name: str, digest: Digest) -> None:
        """Let an instance run with this image of `shop/web`."""
        container = ContainerSpec("web", Reference(HOST, "shop/web", digest=digest))
        owner = Owner("Deployment", "shop", name)
        await self.runtime.start(InstanceSpec(name, owner, "1", (container,)))

    async def push(self, name: str, mark: str, config: bytes | None = None) -> Digest:
        return await push(self.registry, name, mark, config or mark.encode() * 100)

    async def push_what_is_missing(self, name: str, mark: str, config: bytes) -> Digest:
        """Push as clients do: ask for the blob first, and send it only when it is not there."""
        repository, _, tag = name.rpartition(":")
        try:
            await self.registry.blob_size(repository, Digest.of(config))
        except BlobUnknownError:
            return await self.push(name, mark, config)
        await asyncio.sleep(0.01)  # a client takes a while; a run of the pruning falls in between
        raw = manifest_of(mark, config)
        entry = ManifestPush(repository, raw, MediaType.OCI_MANIFEST, tag=tag, actor="test")
        return (await self.registry.put_manifest(entry)).digest

    def grow_old(self) -> None:
        """Date every file back by a month."""
        then = time.time() - MONTH.total_seconds()
        for path in self.folder.rglob("*"):
            if path.is_file():
                os.utime(path, (then, then))

    async def put(self, kind: str, api: str, name: str, **fields: Any) -> Resource:
        meta: dict[str, Any] = {"name": name}
        if kind != "Image":
            meta["namespace"] = "shop"
        wanted = decode({"apiVersion": api, "kind": kind, "metadata": meta, **fields})
        created = await self.store.create(wanted)
        if "status" not in fields:
            return created
        return await self.store.update_status(
            created.model_copy(update={"status": cast("Any", wanted).status})
        )

    async def stream(self, name: str, *digests: Digest) -> None:
        then = (datetime.now(UTC) - MONTH).isoformat()
        items = [
            {
                "created": then,
                "image": str(digest),
                "dockerImageReference": f"{HOST}/shop/{name}@{digest}",
            }
            for digest in digests
        ]
        status = {"tags": [{"tag": "latest", "items": items}]}
        await self.put("ImageStream", "image.openshift.io/v1", name, status=status)

    async def history(self, name: str) -> list[str]:
        stream = await self.store.get(ImageStream, "shop", name)
        return [event.image for tag in stream.status.tags for event in tag.items]

    async def deploy(self, name: str, image: str) -> None:
        containers = [{"name": "web", "image": image}]
        template = {"spec": {"containers": containers}}
        await self.put("Deployment", "apps/v1", name, spec={"template": template})

    async def manifests(self, repository: str) -> set[Digest]:
        found: Mapping[str, set[Digest]] = {
            entry.name: {manifest.digest for manifest in entry.manifests}
            for entry in await self.registry.survey()
        }
        return found.get(repository, set())

    def size(self) -> int:
        """Bytes of the registry's content."""
        blobs = self.folder / "registry" / "blobs"
        return sum(path.stat().st_size for path in blobs.rglob("*") if path.is_file())


def manifest_of(mark: str, config: bytes) -> bytes:
    """Return the manifest that `Machine.push` makes."""
    described = {"mediaType": "c", "digest": str(Digest.of(config)), "size": len(config)}
    document = {"schemaVersion": 2, "mediaType": MediaType.OCI_MANIFEST, "config": described}
    return json.dumps({**document, "layers": [], "annotations": {"mark": mark}}).encode()


async def once(content: bytes) -> AsyncIterator[bytes]:
    yield content
    await asyncio.sleep(0)
