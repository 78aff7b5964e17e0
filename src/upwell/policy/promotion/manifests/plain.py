"""Plain manifests: the `image` of containers, wherever an object has any."""

import re
from collections.abc import Iterator

import yaml

from upwell.policy.promotion.manifests.wanted import WantedImage, pull_spec
from upwell.policy.promotion.manifests.yaml_text import (
    YamlText,
    items_of,
    pair_of,
    text_of,
    value_of,
)

_LISTS = ("containers", "initContainers")
_CONTAINER = re.compile(r"[A-Z][A-Za-z]*/[^/]+/[^/]+")
"""A key that names one container: KIND/NAME/CONTAINER."""


def edit(text: YamlText, wanted: WantedImage) -> bool:
    """Set the image of the containers that are meant; return whether there are any."""
    if _CONTAINER.fullmatch(wanted.key):
        meant = list(_named(text, *wanted.key.split("/")))
    else:
        every = [one for node in text.mappings() for one in _containers(node)]
        meant = [one for one in every if _has(one, wanted)]
        if not meant and not wanted.key:
            meant = [one for one in every if _name(one) == wanted.component]
    for image in [image for one in meant if (image := value_of(one, "image")) is not None]:
        text.set(image, pull_spec(text_of(image), wanted.image))
    return bool(meant)


def missing(wanted: WantedImage, where: str) -> str:
    """Say what is missing when no file has a place for the image."""
    if _CONTAINER.fullmatch(wanted.key):
        return f"no file in {where} has the container {wanted.key}"
    if wanted.key:
        return f"no container in {where} has an image of {wanted.key}"
    return (
        f"no container in {where} has an image of {wanted.names}, and none is named"
        f" {wanted.component}: set `keys` of the stage's git"
    )


def _has(container: yaml.Node, wanted: WantedImage) -> bool:
    present = text_of(value_of(container, "image"))
    return wanted.is_named(present) or wanted.is_key(present)


def _named(text: YamlText, kind: str, name: str, container: str) -> Iterator[yaml.Node]:
    for document in text.documents:
        for node in (document, *items_of(value_of(document, "items"))):
            mine = text_of(value_of(node, "kind")) == kind
            if mine and text_of(value_of(node, "metadata", "name")) == name:
                yield from (one for one in _below(node) if _name(one) == container)


def _below(node: yaml.Node) -> Iterator[yaml.Node]:
    """Yield the containers of one object: a template may be some keys deep."""
    spec = value_of(node, "spec")
    for place in (
        spec,
        value_of(spec, "template", "spec"),
        value_of(spec, "jobTemplate", "spec", "template", "spec"),
    ):
        yield from _containers(place)


def _containers(node: yaml.Node | None) -> Iterator[yaml.Node]:
    for name in _LISTS:
        yield from (one for one in items_of(value_of(node, name)) if pair_of(one, "image"))


def _name(container: yaml.Node) -> str:
    return text_of(value_of(container, "name"))
