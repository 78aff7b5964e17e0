"""Rebased images: layers, history, media types and annotations, of images as builders make them."""

import json
from typing import Any

import pytest
from tests.support.registry.made_images import MadeImage, made_image, made_index, tar_of

from upwell.oci import Digest, Index, InvalidManifestError, Manifest, parse_manifest
from upwell.oci.rebase.documents import NotRebasableError, RebasedImage, rebased, rebased_index
from upwell.oci.rebase.images import LayeredImage, closest_base
from upwell.oci.rebase.records import BASE_DIGEST, BASE_NAME, BUILDPACKS, REBASABLE, base_records

OLD, NEW, MORE, APP, DATA = (tar_of({name: name.encode()}) for name in ("o", "n", "m", "a", "d"))
OLD_STEPS: list[Any] = [{"created_by": "add old"}, {"created_by": "CMD old", "empty_layer": True}]
NEW_STEPS: list[Any] = [{"created_by": "add new"}, {"created_by": "add more"}]
APP_STEPS: list[Any] = [
    {"created_by": "ENV a", "empty_layer": True},
    {"created_by": "copy a"},
    {"created_by": "copy d"},
    {"created_by": "CMD d", "empty_layer": True},
]


def base(*layers: bytes, **options: Any) -> MadeImage:
    return made_image(*(layers or (OLD,)), **options)


def on_new(
    image: MadeImage, old: MadeImage | None = None, new: MadeImage | None = None
) -> RebasedImage:
    return rebased(
        image.layered,
        (old or base()).named("debian:11"),
        (new or base(NEW, MORE)).named("debian:11"),
    )


def steps(made: RebasedImage) -> list[Any]:
    return [one.get("created_by") for one in made.image.history]


def kinds(made: RebasedImage) -> set[str]:
    manifest = made.manifest
    return {str(manifest.media_type)} | {one.media_type for one in manifest.references}


def test_the_new_bases_layers_take_the_place_of_the_old_and_the_images_own_stay() -> None:
    image = made_image(OLD, APP, DATA)
    made = on_new(image)
    assert made.image.diff_ids == tuple(map(Digest.of, (NEW, MORE, APP, DATA)))
    assert made.own_layers == image.manifest.layers[1:]
    assert made.base_layers == base(NEW, MORE).manifest.layers
    assert Digest.of(made.config) == made.manifest.config.digest


def test_the_same_three_give_the_same_bytes() -> None:
    assert on_new(made_image(OLD, APP)).manifest.raw == on_new(made_image(OLD, APP)).manifest.raw


@pytest.mark.parametrize("below", ["docker", "oci"])
@pytest.mark.parametrize(("family", "other"), [("docker", "oci"), ("oci", "docker")])
def test_media_types_are_of_the_images_own_family(family: str, other: str, below: str) -> None:
    image = made_image(OLD, APP, docker=family == "docker")
    made = on_new(image, new=base(NEW, docker=below == "docker"))
    assert all(f"vnd.{family}." in kind for kind in kinds(made))
    assert not any(f"vnd.{other}." in kind for kind in kinds(made))


def test_a_base_that_zstd_compressed_makes_a_manifest_of_the_oci() -> None:
    new = base(NEW)
    raw = new.manifest.raw.replace(b"tar+gzip", b"tar+zstd")
    zstd = MadeImage(_parsed(raw), new.config, new.layers)
    made = on_new(made_image(OLD, APP, docker=True), new=zstd)
    assert all("vnd.oci." in kind for kind in kinds(made))
    with pytest.raises(NotRebasableError, match="zstd"):
        on_new(made_image(OLD, APP, docker=True, settings={"Shell": ["/bin/sh"]}), new=zstd)


def test_author_created_variant_unknown_fields_and_annotations_stay() -> None:
    image = made_image(
        OLD, APP, author="team", variant="v8", custom={"a": 1}, annotations={"mine": "yes"}
    )
    made = on_new(image, base(variant="v8"), base(NEW, created="2026-01-01T00:00:00Z"))
    assert made.image.config["author"] == "team"
    assert made.image.config["variant"] == "v8"
    assert made.image.config["custom"] == {"a": 1}
    assert made.image.config["created"] == "2026-01-01T00:00:00Z"
    assert made.manifest.annotations["mine"] == "yes"


def test_annotations_of_the_old_base_are_those_of_the_new() -> None:
    image = made_image(OLD, APP, annotations={"vendor": "old", "mine": "yes", "gone": "1"})
    old = base(annotations={"vendor": "old", "gone": "1"})
    made = on_new(image, old, base(NEW, annotations={"vendor": "new"}))
    assert made.manifest.annotations["vendor"] == "new"
    assert "gone" not in made.manifest.annotations


def test_the_base_is_recorded_anew() -> None:
    old, new = base(), base(NEW)
    image = made_image(
        OLD,
        APP,
        annotations={BASE_NAME: "debian:10", BASE_DIGEST: str(old.manifest.digest)},
        settings={"Labels": {BASE_NAME: "debian:10", BASE_DIGEST: str(old.manifest.digest)}},
    )
    made = on_new(image, old, new)
    for known in (made.manifest.annotations, made.image.labels):
        assert known[BASE_NAME] == "docker.io/library/debian:11"
        assert known[BASE_DIGEST] == str(new.manifest.digest)
    (record, _) = base_records(made.image)
    assert [one.digest for one in record.pinned] == [new.manifest.digest]


def test_layers_survive_without_any_history() -> None:
    made = on_new(made_image(OLD, APP, DATA))
    assert made.image.diff_ids[2:] == (Digest.of(APP), Digest.of(DATA))
    assert "history" not in made.image.config


def test_layers_survive_a_history_of_the_images_own_alone() -> None:
    made = on_new(
        made_image(OLD, APP, DATA, history=APP_STEPS), new=base(NEW, history=NEW_STEPS[:1])
    )
    assert made.image.diff_ids == tuple(map(Digest.of, (NEW, APP, DATA)))
    assert steps(made) == ["add new", "ENV a", "copy a", "copy d", "CMD d"]


@pytest.mark.parametrize("history", [OLD_STEPS[:1], [*OLD_STEPS, *APP_STEPS, *NEW_STEPS]])
def test_a_history_that_does_not_fit_the_layers_is_made_up(history: list[dict[str, Any]]) -> None:
    made = on_new(made_image(OLD, APP, DATA, history=history))
    layers = [one for one in made.image.history if not one.get("empty_layer")]
    assert len(layers) == len(made.image.layers) == 4


def test_a_history_is_split_where_the_bases_layers_end() -> None:
    image = made_image(OLD, APP, DATA, history=[*OLD_STEPS, *APP_STEPS])
    made = on_new(image, base(history=OLD_STEPS), base(NEW, MORE, history=NEW_STEPS))
    assert steps(made) == ["add new", "add more", "ENV a", "copy a", "copy d", "CMD d"]
    assert all("created" not in one for one in made.image.history)


def test_a_base_whose_history_was_rewritten_keeps_its_empty_steps_to_itself() -> None:
    renamed = [{"created_by": "squashed"}, OLD_STEPS[1]]
    image = made_image(OLD, APP, DATA, history=[*renamed, *APP_STEPS])
    made = on_new(image, base(history=OLD_STEPS), base(NEW, MORE, history=NEW_STEPS))
    assert steps(made) == ["add new", "add more", "ENV a", "copy a", "copy d", "CMD d"]


def test_a_base_that_was_compressed_anew_is_the_same_base() -> None:
    big = tar_of({"file": b"text " * 4000})
    image = made_image(big, APP, level=1)
    assert image.manifest.layers[0].digest != base(big).manifest.layers[0].digest
    assert on_new(image, base(big)).image.diff_ids == tuple(map(Digest.of, (NEW, MORE, APP)))


def test_layers_are_told_apart_by_their_place() -> None:
    made = on_new(made_image(OLD, OLD, APP, OLD), base(OLD, OLD), base(NEW))
    assert made.image.diff_ids == tuple(map(Digest.of, (NEW, APP, OLD)))


def test_an_image_without_layers_of_its_own_gets_the_new_bases() -> None:
    made = on_new(made_image(OLD, settings={"Cmd": ["app"]}))
    assert made.own_layers == ()
    assert made.image.settings["Cmd"] == ["app"]


@pytest.mark.parametrize("layers", [(NEW, APP), (APP, OLD), ()])
def test_an_image_that_does_not_stand_on_the_base_is_refused(layers: tuple[bytes, ...]) -> None:
    with pytest.raises(NotRebasableError, match="--old-base"):
        on_new(made_image(*layers))


@pytest.mark.parametrize(
    "other",
    [{"architecture": "arm64"}, {"os": "windows"}, {"variant": "v6"}, {"os.version": "10.1"}],
)
def test_a_base_for_another_platform_is_refused(other: dict[str, str]) -> None:
    ours: dict[str, Any] = {"variant": "v8", "os.version": "10.0"}
    with pytest.raises(NotRebasableError, match="it is for"):
        on_new(made_image(OLD, APP, **ours), base(**ours), base(NEW, **{**ours, **other}))


def test_a_configuration_with_other_layers_than_its_manifest_is_no_image() -> None:
    one, two = made_image(OLD), made_image(OLD, APP)
    with pytest.raises(InvalidManifestError, match="names 2"):
        LayeredImage.parse(one.manifest, two.config)


@pytest.mark.parametrize(
    "config", [b'{"rootfs":{"diff_ids":["sha256:1"]}}', b'{"a":NaN}', b"[]", b'{"a":' * 9000]
)
def test_a_configuration_that_is_none_is_refused(config: bytes) -> None:
    with pytest.raises(InvalidManifestError):
        LayeredImage.parse(made_image(OLD).manifest, config)


def test_a_number_that_json_has_not_is_written_nowhere() -> None:
    image = made_image(OLD, APP)
    config = image.config.replace(b'"config": {}', b'"config": {"x": 1e999}')
    with pytest.raises(InvalidManifestError, match="JSON has not"):
        on_new(MadeImage(image.manifest, config, image.layers))


def test_of_candidates_the_one_with_most_layers_is_the_base() -> None:
    image = made_image(OLD, MORE, APP).layered
    candidates = [base(OLD).layered, base(OLD, MORE).layered, base(NEW).layered]
    assert closest_base(image, candidates) is candidates[1]
    assert closest_base(image, candidates[2:]) is None


def test_the_metadata_of_buildpacks_name_the_new_run_image() -> None:
    metadata = {
        "runImage": {"topLayer": "x", "reference": "run@sha256:1", "image": "run:1"},
        "k": 1,
    }
    labels = {BUILDPACKS: json.dumps(metadata), REBASABLE: "true"}
    made = on_new(made_image(OLD, APP, settings={"Labels": labels}))
    written = json.loads(made.image.labels[BUILDPACKS])
    new = base(NEW, MORE).layered
    assert written == {
        "k": 1,
        "runImage": {
            "topLayer": str(new.diff_ids[-1]),
            "reference": f"docker.io/library/debian@{new.digest}",
            "image": "run:1",
        },
    }


@pytest.mark.parametrize("label", ["", "{", "[]", '{"runImage":[]}', '{"runImage":{"image":7}}'])
def test_metadata_that_are_none_name_no_base(label: str) -> None:
    assert base_records(made_image(OLD, settings={"Labels": {BUILDPACKS: label}}).layered) == []


def test_an_index_keeps_its_order_and_what_was_not_rebased() -> None:
    images = {"amd64": made_image(OLD, APP), "arm64": made_image(OLD, DATA)}
    attestation = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": str(Digest.of(b"about amd64")),
        "size": 5,
        "platform": {"os": "unknown", "architecture": "unknown"},
    }
    index = made_index(images, attestation)
    kept = images["arm64"].manifest
    made = on_new(images["amd64"]).manifest
    found = rebased_index(index, {images["amd64"].manifest.digest: made}, [kept.digest])
    assert [(one.digest, one.size) for one in found.manifests] == [
        (made.digest, len(made.raw)),
        (kept.digest, len(kept.raw)),
    ]
    assert found.annotations == {"of": "index"}
    assert [str(one.platform) for one in found.manifests] == ["linux/amd64", "linux/arm64"]


def test_an_index_that_names_its_base_names_the_new_one() -> None:
    images = {"amd64": made_image(OLD, APP), "arm64": made_image(OLD, DATA)}
    document = json.loads(made_index(images).raw)
    stale = {BASE_NAME: "debian:11", BASE_DIGEST: str(Digest.of(b"old")), "of": "index"}
    document["annotations"] = stale
    document["manifests"][0]["annotations"] = stale
    index = parse_manifest(json.dumps(document).encode())
    assert isinstance(index, Index)
    new = base(NEW, MORE)
    made = {one.manifest.digest: on_new(one).manifest for one in images.values()}
    found = rebased_index(index, made, [])
    name = "docker.io/library/debian:11"
    fresh = {"of": "index", BASE_NAME: name, BASE_DIGEST: str(new.manifest.digest)}
    assert found.annotations == fresh
    assert [dict(one.annotations) for one in found.manifests] == [fresh, {}]

    other = on_new(images["arm64"], new=base(MORE)).manifest
    mixed = {**made, images["arm64"].manifest.digest: other}
    assert rebased_index(index, mixed, []).annotations == {"of": "index"}, "each has its own"


def _parsed(raw: bytes) -> Manifest:
    manifest = parse_manifest(raw)
    assert isinstance(manifest, Manifest)
    return manifest
