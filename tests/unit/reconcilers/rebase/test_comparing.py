"""Rebases that a server compares: by workers, whose answers are small, and checked."""

import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry.hosted_images import push_blob
from tests.support.registry.made_images import MadeImage, made_image, tar_of

from upwell.inventory.files.scanning import FileScanner
from upwell.oci import Digest, InvalidManifestError, Manifest, Reference, parse_manifest
from upwell.oci.rebase.documents import NotRebasableError, rebased
from upwell.policy.rebase.findings import RebaseFault
from upwell.reconcilers.rebase import comparing
from upwell.reconcilers.rebase.comparing import (
    ComparedRebase,
    RebaseBounds,
    RebaseComparer,
    RebaseComparison,
)
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosting import ManifestPush

HOST = "registry.test"
OLD, NEW = (tar_of({"bin/": b"", "bin/sh": text}) for text in (b"old", b"new"))
APP = tar_of({"srv/": b"", "srv/app": b"app"})
MIB = 1024 * 1024


class Setup:
    """A registry with an image, its base and the next one."""

    def __init__(self, folder: Path) -> None:
        self.registry = EmbeddedRegistry(folder / "registry", HOST)
        self.scanner = FileScanner(folder / "facts")

    async def push(self, name: str, image: MadeImage) -> Reference:
        repository, _, tag = name.rpartition(":")
        for content in (image.config, *image.layers):
            await push_blob(self.registry, repository, content)
        raw, media_type = image.manifest.raw, str(image.manifest.media_type)
        await self.registry.put_manifest(
            ManifestPush(repository, raw, media_type, tag=tag, actor="test")
        )
        return Reference(HOST, repository, tag)

    async def compare(
        self, image: MadeImage, old: MadeImage, new: MadeImage, **bounds: int
    ) -> ComparedRebase:
        comparer = RebaseComparer(self.registry, self.scanner, RebaseBounds(**bounds))
        name = await self.push("app:1", image)
        below, above = await self.push("base:1", old), await self.push("base:2", new)
        return await comparer.compare(RebaseComparison(name, below, above))


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


async def test_a_worker_makes_what_a_rebase_makes(setup: Setup) -> None:
    image, old, new = made_image(OLD, APP), made_image(OLD), made_image(NEW)
    found = await setup.compare(image, old, new)
    wanted = rebased(image.layered, old.named(f"{HOST}/base:1"), new.named(f"{HOST}/base:2"))
    assert found.findings == ()
    assert found.placed is not None
    assert found.placed.manifest == wanted.manifest
    assert found.placed.config == wanted.config
    assert found.placed.base_layers == wanted.base_layers
    assert found.placed.own_layers == wanted.own_layers
    assert (found.placed.base.tag, found.placed.source.repository) == ("2", "app")


async def test_reasons_are_told_in_short(setup: Setup) -> None:
    names = [f"etc/{at:03}-{'x' * 300}" for at in range(200)]
    old, new, own = (tar_of(dict.fromkeys(names, text)) for text in (b"o", b"n", b"mine"))
    found = await setup.compare(made_image(old, own), made_image(old), made_image(new))
    (finding,) = found.findings
    assert finding.fault is RebaseFault.FILE_OVERLAP
    assert str(finding).endswith("and 195 more")
    assert len(str(finding)) < 2000


async def test_of_thousands_of_reasons_some_come_back(setup: Setup) -> None:
    steps = [f"LABEL {at}=v" for at in range(1000)]
    labels = {str(at): "v" for at in range(1000)}
    history = [{"created_by": step, "empty_layer": True} for step in steps]
    history = [{"created_by": "base"}, *history, {"created_by": "own"}]
    image = made_image(OLD, APP, settings={"Labels": labels}, history=history)
    old = made_image(OLD, settings={"Labels": labels}, history=[{"created_by": "base"}])
    found = await setup.compare(image, old, made_image(NEW))
    assert len(found.findings) == 101
    assert "900 more reasons" in str(found.findings[-1])


async def test_content_that_is_not_what_the_configuration_says_is_unknown(setup: Setup) -> None:
    other = made_image(OLD, APP)
    lie = made_image(OLD, tar_of({"a": b"another"}))
    lying = MadeImage(with_config(lie, other.config), other.config, lie.layers)
    found = await setup.compare(lying, made_image(OLD), made_image(NEW))
    assert [one.fault for one in found.findings] == [RebaseFault.UNKNOWN]
    assert "its content is not what the configuration says" in str(found.findings[0])


def with_config(image: MadeImage, config: bytes) -> Manifest:
    document = json.loads(image.manifest.raw)
    document["config"] |= {"digest": str(Digest.of(config)), "size": len(config)}
    manifest = parse_manifest(json.dumps(document).encode())
    assert isinstance(manifest, Manifest)
    return manifest


async def test_an_image_of_another_base_is_refused(setup: Setup) -> None:
    with pytest.raises(NotRebasableError, match="its lowest layers are not those of"):
        await setup.compare(made_image(APP), made_image(OLD), made_image(NEW))


async def test_the_files_of_bases_are_never_in_this_process(setup: Setup) -> None:
    old, new = (
        tar_of({f"usr/{at % 50}/{at}-{text}": b"" for at in range(8000)}) for text in ("o", "n")
    )
    images = made_image(old, APP), made_image(old), made_image(new)
    await setup.compare(*images)  # what is imported at the first call
    tracemalloc.start()
    try:
        await setup.compare(*images)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * MIB


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"manifest": "{}", "config": "", "findings": []},
        {"manifest": "OLD", "config": "{}", "findings": []},
        {"manifest": "APP", "config": "{}", "findings": []},
        {"manifest": "SIZES", "config": "CONFIG", "findings": []},
        {"manifest": "URLS", "config": "CONFIG", "findings": []},
        {"manifest": "APP", "config": "\ud800", "findings": []},
        {"manifest": "\ud800", "config": "CONFIG", "findings": []},
    ],
)
async def test_what_a_worker_may_not_say_is_refused(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, answer: Mapping[str, Any] | None
) -> None:
    image, old, new = made_image(OLD, APP), made_image(OLD), made_image(NEW)
    outcome = rebased(image.layered, old.named("a.test/b:1"), new.named("a.test/b:2"))
    documents = {
        "OLD": image.manifest.raw.decode(),
        "APP": outcome.manifest.raw.decode(),
        "SIZES": with_layers(outcome.manifest, size=7),
        "URLS": with_layers(outcome.manifest, urls=["http://a.test/layer"]),
        "CONFIG": outcome.config.decode(),
    }

    async def lie(*_: object) -> Any:
        if answer is None or "manifest" not in answer:
            return answer
        told = {key: documents.get(answer[key], answer[key]) for key in ("manifest", "config")}
        return {**answer, **told}

    monkeypatch.setattr(comparing, "run_worker", lie)
    with pytest.raises((NotRebasableError, InvalidManifestError)):
        await setup.compare(image, old, new)


def with_layers(manifest: Manifest, **changes: Any) -> str:
    document = json.loads(manifest.raw)
    document["layers"] = [{**one, **changes} for one in document["layers"]]
    return json.dumps(document)
