"""Builds whose base alone has changed: a builder that makes images with layers of their own."""

from pathlib import Path
from typing import Any

from tests.support.builds.memory_builds import (
    INTERNAL,
    NAMESPACE,
    VENDOR,
    BuildMachine,
    docker_build,
    until,
)
from tests.support.registry.hosted_images import push_blob
from tests.support.registry.made_images import MadeImage, made_image, tar_of

from upwell.api.builds.build import Build
from upwell.builder.interface import BuilderStrategy, BuildPlan
from upwell.formats.s2i.contract import generated_labels
from upwell.inventory.files.scanning import FileScanner
from upwell.oci import Digest, Manifest, Reference
from upwell.oci.rebase.images import LayeredImage
from upwell.oci.rebase.records import BASE_DIGEST, BASE_NAME
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosting import ManifestPush

OLD, NEW = (
    tar_of({"bin/": b"", "bin/sh": text, "etc/os-release": b"ID=test\n"})
    for text in (b"old", b"new")
)
APP = tar_of({"srv/": b"", "srv/app": b"app"})
BASE = f"{VENDOR}/base:1"
FROM_BASE = f"FROM {BASE}\nRUN make\n"


class RebaseMachine(BuildMachine):
    """One whose builder makes images with layers: those of the base, and its own."""

    def __init__(self, folder: Path, found_files: Path) -> None:
        super().__init__(folder)
        self.found_files = found_files
        self.scanner = FileScanner(found_files)
        self.builder.make = self._make
        self.own = APP
        self.layers: dict[Digest, bytes] = {}
        self.settings: dict[str, Any] = {}

    async def update_base(self, *layers: bytes, **settings: Any) -> Digest:
        self.layers |= {Digest.of(layer): layer for layer in layers}
        image = made_image(*layers, settings=settings)
        return await push_image(self.vendor.registry, "base:1", image)

    async def _make(self, plan: BuildPlan) -> Digest:
        (base,) = plan.images.values()
        under = await pulled(self.internal, base)
        layers = [self.layers[one] for one in under.diff_ids]
        settings = {
            **under.settings,
            **self.settings,
            "Labels": {**under.labels, **labels_of(plan)},
            "Env": [f"{name}={value}" for name, value in (*plan.env, *plan.build_env)],
        }
        annotations = {
            **plan.annotations,
            BASE_NAME: plan.base_name,
            BASE_DIGEST: plan.base_digest,
        }
        history = [{"created_by": f"COPY {at}"} for at in range(len(layers) + 1)]
        made = made_image(
            *layers, self.own, settings=settings, annotations=annotations, history=history
        )
        assert plan.push is not None
        return await self.push(plan.push, made)

    async def push(self, target: Reference, image: MadeImage) -> Digest:
        """Push what was built."""
        return await push_image(self.internal, f"{target.repository}:{target.tag}", image)

    async def done(self, build: Build) -> Build:
        """Run a build to its end."""
        await self.store.create(build)
        async with self.building():
            await until_ended(self, build.name)
        return await self.build(build.name)

    async def log(self, build: Build) -> str:
        return b"".join([piece async for piece in self.logs.read(build.uid)]).decode()

    async def result(self, build: Build) -> LayeredImage:
        return await pulled(
            self.internal, Reference(INTERNAL, f"{NAMESPACE}/app", digest=digest(build))
        )


async def until_ended(machine: BuildMachine, name: str, seconds: float = 30) -> None:
    async def has_ended() -> bool:
        return (await machine.build(name)).status.phase.is_terminal

    await until(has_ended, seconds)


def labels_of(plan: BuildPlan) -> dict[str, str]:
    if plan.strategy is not BuilderStrategy.SOURCE:
        return dict(plan.labels)
    return generated_labels(plan.labels, str(plan.images["builder"]), plan.display_name)


def digest(build: Build) -> Digest:
    assert build.status.output is not None
    assert build.status.output.to is not None
    return Digest.parse(build.status.output.to.image_digest)


async def push_image(registry: EmbeddedRegistry, name: str, image: MadeImage) -> Digest:
    repository, _, tag = name.rpartition(":")
    for content in (image.config, *image.layers):
        await push_blob(registry, repository, content)
    manifest = image.manifest
    push = ManifestPush(repository, manifest.raw, str(manifest.media_type), tag=tag, actor="test")
    return (await registry.put_manifest(push)).digest


async def pulled(registry: EmbeddedRegistry, name: Reference) -> LayeredImage:
    manifest = await registry.manifest(name)
    assert isinstance(manifest, Manifest)
    for layer in manifest.layers:
        assert len(await registry.blob(name, layer.digest, layer.size)) == layer.size
    raw = await registry.blob(name, manifest.config.digest, manifest.config.size)
    return LayeredImage.parse(manifest, raw)


def app(number: int, answer: str | None = None, **spec: Any) -> Build:
    """Return a build of the application; with an answer, its base alone is said to have changed."""
    fields: dict[str, Any] = {"dockerfile": FROM_BASE, "on_base_change": answer, **spec}
    return docker_build(number, **fields)
