"""Stores of images as Buildah lists them: what a build sees of the pulled ones, and what stays."""

import asyncio
import json
from pathlib import Path

import pytest

from upwell.builder.disk.listings import stored_images
from upwell.builder.interface import BuildError, BuilderStrategy, BuildPlan
from upwell.builder.steps.store import StepStores, are_plain, may_find_steps
from upwell.oci import ImageConfig

MARK, OTHER = "a1" * 32, "b2" * 32
STEPS = Path("steps", MARK[:16])
"""Store of the builds whose mark is MARK, below the builder's folder."""


class BuildahOnFiles:
    """A `buildah` on one store, as far as these tests ask for it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.removed: list[str] = []
        self.busy: set[str] = set()
        """Images that cannot be removed."""

    async def above(self, root: Path, _run_root: Path, _folder: Path) -> "BuildahOnFiles":
        self.steps = BuildahOnFiles(root)
        return self.steps

    async def remove_image(self, image: str, _folder: Path) -> bool:
        self.removed.append(image)
        listing = self.root / "overlay-images/images.json"
        kept = [one for one in json.loads(listing.read_text()) if one["id"] != image]
        if image not in self.busy:
            listing.write_text(json.dumps(kept))
        return image not in self.busy


def write_store(root: Path, images: dict[str, str], layers: dict[str, str]) -> None:
    """Write a store of images with their uppermost layers, and of layers with their parents."""
    for name, content in {
        "images/images": [
            {"id": name, "layer": layer, "created": f"2026-01-0{day}T00:00:00Z"}
            for day, (name, layer) in enumerate(images.items(), 1)
        ],
        "layers/layers": [{"id": name, "parent": parent} for name, parent in layers.items()],
    }.items():
        path = root / f"overlay-{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    for image in images:
        (root / "overlay-images" / image).mkdir()
    for layer in layers:
        write_files(root, layer)


def write_files(root: Path, layer: str, *lower: str) -> None:
    """Write the files of a layer, under a name of its own, above those of these names."""
    files = root / "overlay" / layer
    (files / "diff").mkdir(parents=True)
    (files / "lower").write_text(":".join(f"l/{name}" for name in lower))
    names = root / "overlay/l"
    names.mkdir(exist_ok=True)
    (names / f"name-{layer}").symlink_to(f"../{layer}/diff")


@pytest.fixture
def pulled(tmp_path: Path) -> BuildahOnFiles:
    images = {"base": "l2", "forged": "l3", "lone": "l9"}
    write_store(tmp_path / "storage", images, {"l1": "", "l2": "l1", "l3": "l2", "l9": ""})
    return BuildahOnFiles(tmp_path / "storage")


@pytest.fixture
def store(tmp_path: Path, pulled: BuildahOnFiles) -> StepStores:
    return StepStores(pulled, tmp_path / "steps", tmp_path / "run")  # type: ignore[arg-type]


async def test_a_build_sees_the_images_that_it_names_alone(
    tmp_path: Path, store: StepStores
) -> None:
    kept = await store.kept_steps(tmp_path, ["base"], MARK)
    assert kept is not None
    assert kept.commands.root == tmp_path / STEPS
    assert [one.id for one in stored_images(kept.bases)] == ["base"]
    assert not (kept.bases / "overlay-images/forged").exists()
    assert (kept.bases / "overlay-images/base").samefile(tmp_path / "storage/overlay-images/base")
    again = await store.kept_steps(tmp_path, ["base"], MARK)
    assert again == kept
    assert await store.kept_steps(tmp_path, ["base", "not-there"], MARK) is None


async def test_a_step_that_lost_its_base_goes_before_it_fails_builds(
    tmp_path: Path, pulled: BuildahOnFiles, store: StepStores
) -> None:
    images = {"label": "l2", "old-label": "gone", "run": "s1", "lost": "s9", "above": "s2"}
    write_store(tmp_path / STEPS, images, {"s1": "l2", "s2": "gone"})
    assert await store.kept_steps(tmp_path, ["base"], MARK)
    assert pulled.steps.removed == ["above", "lost", "old-label"]
    pulled.steps.removed.clear()
    assert await store.kept_steps(tmp_path, ["base"], MARK)
    assert pulled.steps.removed == []


async def test_a_step_on_a_base_that_was_pulled_anew_goes(
    tmp_path: Path, pulled: BuildahOnFiles, store: StepStores
) -> None:
    """Layers have the same ids then, and other names, by which overlay finds them."""
    root = tmp_path / STEPS
    images = {"label": "l2", "one": "s1", "two": "s2", "old": "s3", "above": "s4", "empty": "s5"}
    write_store(root, images, {})
    layers = {"s1": "l2", "s2": "s1", "s3": "l2", "s4": "s3", "s5": "l2"}
    listed = [{"id": name, "parent": parent} for name, parent in layers.items()]
    (root / "overlay-layers/layers.json").write_text(json.dumps(listed))
    write_files(root, "s1", "name-l2", "name-l1")
    write_files(root, "s2", "name-s1", "name-l2", "name-l1")
    write_files(root, "s3", "older-l2", "name-l1")
    write_files(root, "s4", "name-s3")
    (root / "overlay/s5").mkdir()  # its files are lost
    assert await store.kept_steps(tmp_path, ["base"], MARK)
    assert pulled.steps.removed == ["empty", "above", "old"]

    (root / "overlay/s2/diff").rmdir()
    pulled.steps.busy.add("two")
    assert await store.kept_steps(tmp_path, ["base"], MARK) is None


async def test_builds_of_each_scope_have_a_store_of_their_own(
    tmp_path: Path, store: StepStores
) -> None:
    """The cost of a build does not grow with what others have built."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, mark in ((one, MARK), (other, OTHER)):
        kept = await store.kept_steps(folder, ["base"], mark)
        assert kept is not None
        write_store(kept.commands.root, {"run": "s1"}, {"s1": "l2"})
    assert [each.root for each in await store.used_by(one)] == [tmp_path / STEPS]
    assert [each.root for each in await store.used_by(other)] == [tmp_path / "steps" / OTHER[:16]]
    assert await store.used_by(tmp_path) == []
    assert {each.root.name for each in await store.opened()} == {MARK[:16], OTHER[:16]}


async def test_a_store_without_images_goes(tmp_path: Path, store: StepStores) -> None:
    write_store(tmp_path / STEPS, {"run": "s1"}, {"s1": "l2"})
    write_store(tmp_path / "steps" / OTHER[:16], {}, {})
    await store.remove_empty()
    assert [each.root for each in await store.opened()] == [tmp_path / STEPS]


async def test_the_one_store_of_an_earlier_version_is_there_to_be_pruned(
    tmp_path: Path, store: StepStores
) -> None:
    write_store(tmp_path / "steps", {"run": "s1"}, {"s1": "l2"})
    assert [each.root for each in await store.opened()] == [tmp_path / "steps"]
    assert await store.needed() == {"base", "forged"}
    kept = await store.kept_steps(tmp_path, ["base"], MARK)
    assert kept is not None
    assert kept.commands.root == tmp_path / STEPS


async def test_what_steps_stand_on_is_needed(tmp_path: Path, store: StepStores) -> None:
    assert await store.needed() == frozenset()
    assert await store.opened() == []
    write_store(tmp_path / STEPS, {"run": "s2"}, {"s1": "l2", "s2": "s1"})
    assert await store.needed() == {"base", "forged"}
    assert [one.root for one in await store.opened()] == [tmp_path / STEPS]


@pytest.mark.parametrize(
    ("listing", "content"),
    [
        ("images/images", b"\0\0\0\0"),
        ("images/images", b'[{"id": "run", "layer'),
        ("images/images", b'[{"id": "run", "created": "yesterday"}]'),
        ("images/images", b"[" * 100_000),
        ("images/images", b'{"id": "run"}'),
        ("layers/layers", b"\xff\xfe"),
        ("layers/volatile-layers", b"[7]"),
        ("containers/containers", b"garbage"),
    ],
)
@pytest.mark.parametrize("by", ["build", "start", "pruning"])
async def test_a_store_that_cannot_be_read_begins_anew(
    tmp_path: Path,
    store: StepStores,
    listing: str,
    content: bytes,
    by: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = tmp_path / STEPS
    write_store(root, {"run": "s1"}, {"s1": "l2"})
    broken = root / f"overlay-{listing}.json"
    broken.parent.mkdir(exist_ok=True)
    broken.write_bytes(content)
    if by == "build":
        assert await store.kept_steps(tmp_path, ["base"], MARK)
    elif by == "start":
        assert await store.opened() == []
    else:
        assert await store.needed() == frozenset()
    left = await asyncio.to_thread(lambda: list(tmp_path.glob("steps/*")))
    assert left == []
    (told,) = caplog.messages
    assert told == "store of build steps cannot be read and begins anew"

    write_store(root, {"run": "s1"}, {"s1": "l2"})
    assert await store.kept_steps(tmp_path, ["base"], MARK)
    assert await store.needed() == {"base", "forged"}
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("content", ["", "null", "[]"])
async def test_a_store_without_images_can_be_read(
    tmp_path: Path, store: StepStores, content: str
) -> None:
    write_store(tmp_path / STEPS, {}, {"s1": ""})
    (tmp_path / STEPS / "overlay-images/images.json").write_text(content)
    assert await store.kept_steps(tmp_path, ["base"], MARK)
    assert (tmp_path / STEPS).is_dir()


async def test_pulled_images_that_cannot_be_read_are_told_with_the_next_step(
    tmp_path: Path, pulled: BuildahOnFiles, store: StepStores
) -> None:
    (pulled.root / "overlay-images/images.json").write_text("garbage")
    with pytest.raises(BuildError, match=r"storage cannot be read \(images.json: .*remove it"):
        await store.kept_steps(tmp_path, ["base"], MARK)


@pytest.mark.parametrize(
    "more", [{"no_cache": True}, {"squash": True}, {"secret_env": (("A", "b"),)}]
)
def test_a_build_that_may_not_find_steps_adds_none(more: dict[str, object]) -> None:
    def plan(**given: object) -> BuildPlan:
        return BuildPlan("uid", "shop", "app-1", BuilderStrategy.DOCKER, None, {}, None, **given)  # type: ignore[arg-type]

    assert may_find_steps(plan())
    assert not may_find_steps(plan(**more))


@pytest.mark.parametrize(
    ("config", "plain"),
    [
        ({}, True),
        ({"config": {"OnBuild": ["RUN make"]}}, False),
        ({"history": [{"created_by": f"LABEL dev.upwell.build.steps={MARK}"}]}, False),
        ({"history": [{"created_by": "LABEL dev.upwell.build.steps=0"}, {}, 7]}, True),
        ({"history": "none"}, True),
    ],
)
def test_a_base_may_be_no_step_and_make_none(config: dict[str, object], *, plain: bool) -> None:
    document = {"architecture": "amd64", "os": "linux", **config}
    assert are_plain([ImageConfig.parse(json.dumps(document).encode())], MARK) == plain
