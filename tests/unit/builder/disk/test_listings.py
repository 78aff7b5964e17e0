"""Images of a store, read without asking Buildah."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from upwell.builder.disk.listings import stored_images, whole_image

NAME = "registry.example.com/base@sha256:" + "0" * 64


def write(root: Path, kind: str, entries: Iterable[dict[str, object]]) -> None:
    folder = root / f"overlay-{kind}"
    folder.mkdir(parents=True)
    (folder / f"{kind}.json").write_text(json.dumps(list(entries)))


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ({"l1": "", "l2": "l1"}, "there"),
        ({"l2": "l1"}, None),
        ({"l1": ""}, None),
        ({}, None),
    ],
)
def test_an_image_is_there_with_all_of_its_layers(
    tmp_path: Path, layers: dict[str, str], found: str | None
) -> None:
    images: list[dict[str, object]] = [
        {"id": "other", "layer": "l1"},
        {"id": "there", "names": [NAME], "layer": "l2"},
    ]
    write(tmp_path, "images", images)
    write(tmp_path, "layers", ({"id": one, "parent": below} for one, below in layers.items()))
    assert whole_image(tmp_path, NAME) == found
    assert whole_image(tmp_path, NAME.replace("0", "1")) is None


def test_a_store_that_is_not_there_has_no_images(tmp_path: Path) -> None:
    assert whole_image(tmp_path / "none", NAME) is None


def test_a_list_is_decoded_once_until_another_takes_its_place(tmp_path: Path) -> None:
    write(tmp_path, "images", [{"id": "first", "layer": "l1"}])
    first, again = stored_images(tmp_path), stored_images(tmp_path)
    assert first[0] is again[0]

    listing = tmp_path / "overlay-images/images.json"
    other = listing.with_name("other")  # as Buildah replaces it; of the same length
    other.write_text(listing.read_text().replace("first", "later"))
    other.replace(listing)
    assert [one.id for one in stored_images(tmp_path)] == ["later"]
