"""Kustomizations: the entries of `images`, with a digest in place of a tag."""

import yaml

from upwell.policy.promotion.manifests.wanted import WantedImage
from upwell.policy.promotion.manifests.yaml_text import (
    YamlText,
    items_of,
    pair_of,
    text_of,
    value_of,
)

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""The names that such a file may have; a folder has one of them."""


def edit(text: YamlText, wanted: WantedImage) -> bool:
    """Set the digest of the entries that are meant; return whether there are any."""
    entries = [
        entry
        for document in text.documents
        for entry in items_of(value_of(document, "images"))
        if isinstance(entry, yaml.MappingNode) and pair_of(entry, "name")
    ]
    meant = [entry for entry in entries if _is_meant(entry, wanted)]
    if not meant and not wanted.key:
        meant = [one for one in entries if text_of(value_of(one, "name")) == wanted.component]
    for entry in meant:
        _set(text, entry, wanted)
    return bool(meant)


def missing(wanted: WantedImage, where: str) -> str:
    """Say what is missing when there is no entry for the image."""
    name = wanted.key or wanted.image.name
    return f"{where} has no image {name} in `images`: add `- name: {name}`"


def _is_meant(entry: yaml.MappingNode, wanted: WantedImage) -> bool:
    names = [text_of(value_of(entry, key)) for key in ("name", "newName")]
    if wanted.key:
        return wanted.key == names[0]
    return any(wanted.is_named(name) for name in names if name)


def _set(text: YamlText, entry: yaml.MappingNode, wanted: WantedImage) -> None:
    name = pair_of(entry, "name")
    if name is None:
        return
    new_name, tag, digest = (pair_of(entry, key) for key in ("newName", "newTag", "digest"))
    present = new_name or name
    if not wanted.image_is_in(text_of(present[1])):
        if new_name is not None:
            text.set(new_name[1], wanted.image.name)
        else:
            text.add_after(entry, name, "newName", wanted.image.name)
    value = str(wanted.image.digest)
    if digest is not None:
        text.set(digest[1], value)
        if tag is not None:
            text.remove(entry, tag)
    elif tag is not None:
        text.rename(tag[0], "digest")
        text.set(tag[1], value)
    else:
        text.add_after(entry, present, "digest", value)
