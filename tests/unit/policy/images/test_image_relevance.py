from typing import Any

from upwell.api.image import Image, ImageManifest
from upwell.api.meta import ObjectMeta
from upwell.oci import Platform
from upwell.policy.images.relevance import (
    CONTENT_ANNOTATION,
    ImagesByPlatform,
    PlatformImage,
    by_platform,
    content_hash,
    irrelevance,
)

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64", "v8")


def config(**changes: Any) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {"Env": ["A=1"], "Labels": {"build-date": "monday", "version": "11"}},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "a" * 64]},
        "history": [{"created": "2026-01-01T00:00:00Z"}],
        **changes,
    }


def on(**images: tuple[str, str] | None) -> ImagesByPlatform:
    platforms = {"amd64": AMD64, "arm64": ARM64}
    return {platforms[n]: PlatformImage(*found) if found else None for n, found in images.items()}


def test_times_are_no_content() -> None:
    labels = {"build-date": "tuesday", "version": "11"}
    other = config(
        created="2026-02-02T00:00:00Z",
        history=[],
        config={"Env": ["A=1"], "Labels": labels, "Image": "sha256:1", "Volumes": None},
    )
    assert content_hash(other) == content_hash(config())


def test_layers_environment_and_labels_are_content() -> None:
    hashes = {
        content_hash(changed)
        for changed in (
            config(),
            config(rootfs={"type": "layers", "diff_ids": ["sha256:" + "b" * 64]}),
            config(config={"Env": ["A=2"], "Labels": {"version": "11"}}),
            config(config={"Env": ["A=1"], "Labels": {"version": "12"}}),
            config(architecture="arm64"),
        )
    }
    assert len(hashes) == 5


def test_a_change_of_our_platform_matters() -> None:
    assert irrelevance(on(amd64=("old", "x")), on(amd64=("new", "y"))) is None
    assert irrelevance(on(amd64=("old", "")), on(amd64=("new", ""))) is None
    assert irrelevance(on(amd64=None), on(amd64=("new", "y"))) is None
    assert irrelevance(on(amd64=("old", "x")), on(amd64=None)) is None


def test_a_change_of_other_platforms_alone_does_not() -> None:
    found = irrelevance(on(amd64=("same", "")), on(amd64=("same", "")))
    assert found is not None
    assert (found.reason, found.message) == (
        "OtherPlatformsOnly",
        "what changed is not for linux/amd64",
    )


def test_a_rebuild_with_the_same_content_does_not() -> None:
    found = irrelevance(on(amd64=("old", "x")), on(amd64=("new", "x")))
    assert found is not None
    assert found.reason == "TimestampsOnly"


def test_every_platform_in_use_counts() -> None:
    old = on(amd64=("a1", "x"), arm64=("b1", "y"))
    assert irrelevance(old, on(amd64=("a1", "x"), arm64=("b2", "z"))) is None
    assert irrelevance(old, on(amd64=("a2", "x"), arm64=("b1", "y"))) is not None


def test_an_index_is_seen_through_the_manifests_of_our_platforms() -> None:
    entries = (
        ImageManifest(digest="d1", os="linux", architecture="amd64"),
        ImageManifest(digest="d2", os="linux", architecture="arm64", variant="v7"),
    )
    index = Image(metadata=ObjectMeta(name="index"), docker_image_manifests=entries)
    child = Image(metadata=ObjectMeta(name="d1", annotations={CONTENT_ANNOTATION: "c1"}))
    s390x = Platform("linux", "s390x")
    assert by_platform(index, {"d1": child}, [AMD64, ARM64, s390x]) == {
        AMD64: PlatformImage("d1", "c1"),
        ARM64: PlatformImage("d2", ""),  # any variant will do where ours is absent
        s390x: None,
    }
    assert by_platform(child, {}, [AMD64]) == {AMD64: PlatformImage("d1", "c1")}
