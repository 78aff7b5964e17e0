"""Helm values: an image in one value, or in a repository with a tag or digest."""

import re

import yaml

from upwell.policy.promotion.manifests.wanted import (
    ManifestError,
    WantedImage,
    pull_spec,
    tag_with_digest,
)
from upwell.policy.promotion.manifests.yaml_text import YamlText, pair_of, text_of, value_of

NAMES = ("values.yaml", "values.yml")
_DOT = re.compile(r"(?<!\\)\.")


def edit(text: YamlText, wanted: WantedImage) -> bool:
    """Set the image at the key path, or wherever its repository stands; return whether it does."""
    if not wanted.key:
        meant = [one for one in text.mappings() if _is_meant(one, wanted)]
        for one in meant:
            _set_parts(text, one, wanted)
        return bool(meant)
    path = [part.replace("\\.", ".") for part in _DOT.split(wanted.key)]
    found = [node for one in text.documents if (node := value_of(one, *path)) is not None]
    for node in found:
        if isinstance(node, yaml.MappingNode):
            _set_parts(text, node, wanted)
        else:
            _set_value(text, node, path[-1], wanted)
    return bool(found)


def missing(wanted: WantedImage, where: str) -> str:
    """Say what is missing when the values have no place for the image."""
    if wanted.key:
        return f"{where} has no value {wanted.key}: add it, or correct `keys` of the stage's git"
    return (
        f"{where} has no `repository` {wanted.names} with a `tag` or `digest` beside it:"
        f" name the value of {wanted.component} in `keys` of the stage's git"
    )


def _is_meant(node: yaml.MappingNode, wanted: WantedImage) -> bool:
    repository = text_of(value_of(node, "repository"))
    if not repository or not (pair_of(node, "tag") or pair_of(node, "digest")):
        return False
    return wanted.is_named(_joined(node, repository))


def _joined(node: yaml.Node, repository: str) -> str:
    registry = text_of(value_of(node, "registry"))
    return f"{registry}/{repository}" if registry else repository


def _set_parts(text: YamlText, node: yaml.MappingNode, wanted: WantedImage) -> None:
    registry, repository, tag, digest = (
        value_of(node, key) for key in ("registry", "repository", "tag", "digest")
    )
    if digest is None and tag is None:
        where = f"{text.where(node)}: {wanted.key or wanted.component}"
        raise ManifestError(f'{where} has neither `digest` nor `tag`: add `digest: ""`')
    if repository is not None and not wanted.image_is_in(_joined(node, text_of(repository))):
        if registry is not None:
            text.set(registry, wanted.image.registry)
            text.set(repository, wanted.image.repository)
        else:
            text.set(repository, wanted.image.name)
    if digest is not None:
        text.set(digest, str(wanted.image.digest))
    elif tag is not None:
        text.set(tag, tag_with_digest(text_of(tag), wanted.image))


def _set_value(text: YamlText, node: yaml.Node, name: str, wanted: WantedImage) -> None:
    present = text.scalar(node).value
    if name == "digest":
        text.set(node, str(wanted.image.digest))
    elif name == "tag":
        text.set(node, tag_with_digest(present, wanted.image))
    else:
        text.set(node, pull_spec(present, wanted.image))
