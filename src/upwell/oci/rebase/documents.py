"""Documents of a rebased image: configuration, manifest and index, of one family of media types.

(image-spec, manifest.md and image-index.md; Docker image manifest v2 schema 2. Podman refuses a
manifest of one family whose layers are of the other.)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from upwell.oci import (
    Descriptor,
    Digest,
    Index,
    InvalidManifestError,
    Manifest,
    MediaType,
    Reference,
    parse_manifest,
)
from upwell.oci.rebase.history import rebased_history
from upwell.oci.rebase.images import LayeredImage, encoded
from upwell.oci.rebase.merging import MergedSettings, merged_map, merged_settings
from upwell.oci.rebase.records import (
    BASE_DIGEST,
    BASE_MANIFEST,
    BASE_NAME,
    BUILDPACKS,
    buildpacks_label,
    recorded,
)

_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs"
_OCI_LAYER = "application/vnd.oci.image.layer"
_LAYER_TYPES = {
    f"{_DOCKER_LAYER}.diff.tar": f"{_OCI_LAYER}.v1.tar",
    f"{_DOCKER_LAYER}.diff.tar.gzip": f"{_OCI_LAYER}.v1.tar+gzip",
    f"{_DOCKER_LAYER}.diff.tar.zstd": f"{_OCI_LAYER}.v1.tar+zstd",
    f"{_DOCKER_LAYER}.foreign.diff.tar": f"{_OCI_LAYER}.nondistributable.v1.tar",
    f"{_DOCKER_LAYER}.foreign.diff.tar.gzip": f"{_OCI_LAYER}.nondistributable.v1.tar+gzip",
}
"""Layers of Docker's family -> the same of the OCI's."""
_TO_DOCKER = {oci: docker for docker, oci in _LAYER_TYPES.items() if "zstd" not in oci}
_BASE = (BASE_NAME, BASE_DIGEST)
_CONFIGS = frozenset({_DOCKER_CONFIG, _OCI_CONFIG})


class NotRebasableError(ValueError):
    """The image cannot stand on the new base; the message says why."""


@dataclass(frozen=True, slots=True)
class NamedBase:
    """A base on one platform, and by which name and digest it was found."""

    image: LayeredImage
    name: Reference
    digest: Digest
    """Digest that the name stands for: of an index, or of the image's own manifest."""
    known_as: str = ""
    """Name that images on it record; empty: the one that it was found by, which may be a copy's."""

    @property
    def recorded_name(self) -> str:
        """The name that images on it record: its tag, where it has one."""
        return self.known_as or str(
            self.name if self.name.tag is None else replace(self.name, digest=None)
        )


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """Values of an image that say which build it is of: they are set anew, whatever they were."""

    labels: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the environment; those that the image has."""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RebasedImage:
    """An image on its new base, of which nothing has been written."""

    source: LayeredImage
    """The image before."""
    image: LayeredImage
    config: bytes = field(repr=False)
    merged: MergedSettings
    old: NamedBase
    new: NamedBase

    @property
    def manifest(self) -> Manifest:
        """The manifest."""
        return self.image.manifest

    @property
    def base_layers(self) -> tuple[Descriptor, ...]:
        """The new base's layers."""
        return self.image.layers[: len(self.new.image.layers)]

    @property
    def own_layers(self) -> tuple[Descriptor, ...]:
        """The layers that the image has above its base."""
        return self.image.layers[len(self.new.image.layers) :]


def rebased(
    image: LayeredImage, old: NamedBase, new: NamedBase, record: BuildRecord | None = None
) -> RebasedImage:
    """Return `image`, which stands on `old`, on `new`; the same ones give the same bytes.

    Raises NotRebasableError, or InvalidManifestError for documents that cannot be written.
    """
    _check(image, old, new)
    try:
        merged = _merged(image, old, new)
        if record is not None:
            _set_anew(merged, record)
        config = encoded(_config(image, old.image, new.image, merged))
    except RecursionError:  # of a comparison
        raise InvalidManifestError(f"the configuration of {image.digest} is too deep") from None
    annotations = record.annotations if record is not None else {}
    manifest = encoded(_manifest(image, old, new, config, annotations))
    made = parse_manifest(manifest)
    if not isinstance(made, Manifest):
        raise NotRebasableError(f"{image.digest} is no image of one platform")
    result = RebasedImage(image, LayeredImage.parse(made, config), config, merged, old, new)
    _verify(image, result)
    return result


def rebased_index(index: Index, made: Mapping[Digest, Manifest], kept: Sequence[Digest]) -> Index:
    """Return an index with manifests of `made` in the place of those that they were made from.

    Of the rest, `kept` stay: what speaks of the images before (attestations) does not.
    """
    document = dict(_decoded(index))
    entries = document["manifests"]
    document["manifests"] = [
        _entry(raw, made.get(entry.digest))
        for raw, entry in zip(entries, index.manifests, strict=True)
        if entry.digest in made or entry.digest in kept
    ]
    document["mediaType"] = str(index.media_type)
    if isinstance(named := document.get("annotations"), dict):
        document["annotations"] = _named_anew(named, list(made.values()))
    found = parse_manifest(encoded(document))
    if not isinstance(found, Index):
        raise InvalidManifestError(f"index {index.digest} is none any more")
    return found


def _decoded(index: Index) -> Mapping[str, Any]:
    found = json.loads(index.raw)
    return found if isinstance(found, dict) else {}


def _entry(raw: Mapping[str, Any], made: Manifest | None) -> Mapping[str, Any]:
    if made is None:
        return raw
    kept = {key: value for key, value in raw.items() if key != "data"}
    if isinstance(named := kept.get("annotations"), dict):
        kept["annotations"] = _named_anew(named, [made])
    size = len(made.raw)
    return {**kept, "mediaType": str(made.media_type), "digest": str(made.digest), "size": size}


def _named_anew(values: Mapping[str, Any], made: Sequence[Manifest]) -> Mapping[str, Any]:
    """Return annotations whose base, where they name one, is that of images; none of several."""
    if values.keys().isdisjoint(_BASE):
        return values
    bases = {tuple(one.annotations.get(key, "") for key in _BASE) for one in made}
    kept = {key: value for key, value in values.items() if key not in {*_BASE, BASE_MANIFEST}}
    return {**kept, **dict(zip(_BASE, bases.pop(), strict=True))} if len(bases) == 1 else kept


def _check(image: LayeredImage, old: NamedBase, new: NamedBase) -> None:
    if not image.stands_on(old.image):
        raise NotRebasableError(
            f"its lowest layers are not those of {old.name.name}@{old.image.digest}: name the base"
            " that it was built from with --old-base"
        )
    if image.manifest.config.media_type not in _CONFIGS:
        raise NotRebasableError(f"{image.manifest.config.media_type} is no image configuration")
    if not new.image.layers:
        raise NotRebasableError(f"{new.name} has no layers")
    # A variant that one of them does not name is no difference (image-spec, image-index.md).
    ours, theirs = image.platform, new.image.platform
    variants = {ours.variant, theirs.variant} - {""}
    if (ours.os, ours.architecture) != (theirs.os, theirs.architecture) or len(variants) > 1:
        raise NotRebasableError(f"it is for {ours}, and {new.name} is for {theirs}")
    if len({image.os_version, new.image.os_version} - {""}) > 1:
        raise NotRebasableError(
            f"it is for os.version {image.os_version}, and {new.name} for {new.image.os_version}"
        )


def _merged(image: LayeredImage, old: NamedBase, new: NamedBase) -> MergedSettings:
    merged = merged_settings(old.image.settings, new.image.settings, image.settings)
    labels = merged.settings.get("Labels")
    if isinstance(labels, dict):
        labels = dict(labels)
        if BASE_NAME in image.labels:
            labels = recorded(labels, new.recorded_name, new.digest, new.image.digest)
        if BUILDPACKS in image.labels:
            where = Reference.parse(new.recorded_name).name
            labels[BUILDPACKS] = buildpacks_label(image.labels[BUILDPACKS], new.image, where)
        merged.settings["Labels"] = labels
    return merged


def _config(
    image: LayeredImage, old: LayeredImage, new: LayeredImage, merged: MergedSettings
) -> dict[str, Any]:
    diff_ids = [*new.diff_ids, *image.diff_ids[len(old.diff_ids) :]]
    made = dict(image.config)
    made["config"] = merged.settings
    made["rootfs"] = {"type": "layers", "diff_ids": [str(one) for one in diff_ids]}
    made.pop("history", None)
    if (steps := rebased_history(image, old, new)) is not None:
        made["history"] = steps
    if created := _later(image.config.get("created"), new.config.get("created")):
        made["created"] = created
    return made


def _set_anew(merged: MergedSettings, record: BuildRecord) -> None:
    """Set what is the build's own: no value of before, and none of a base, matters for it."""
    own = {f"Labels.{name}" for name in record.labels} | {
        f"Env.{name}" for name in record.variables
    }
    merged.changes[:] = [one for one in merged.changes if one.path not in own]
    merged.conflicts[:] = [one for one in merged.conflicts if one.path not in own]
    settings = merged.settings
    labels = settings.get("Labels")
    if record.labels:
        settings["Labels"] = {**(labels if isinstance(labels, dict) else {}), **record.labels}
    variables = settings.get("Env")
    if isinstance(variables, list):
        settings["Env"] = [_variable(str(one), record.variables) for one in variables]


def _variable(entry: str, variables: Mapping[str, str]) -> str:
    name = entry.partition("=")[0]
    return f"{name}={variables[name]}" if name in variables else entry


def _manifest(
    image: LayeredImage,
    old: NamedBase,
    new: NamedBase,
    config: bytes,
    own: Mapping[str, str],
) -> dict[str, Any]:
    layers = [*new.image.document["layers"], *image.document["layers"][len(old.image.layers) :]]
    family = _family(image, new, layers)
    is_docker = family is MediaType.DOCKER_MANIFEST
    kept = {k: v for k, v in image.document["config"].items() if k not in {"data", "urls"}}
    described = {
        **kept,
        "mediaType": _DOCKER_CONFIG if is_docker else _OCI_CONFIG,
        "digest": str(Digest.of(config)),
        "size": len(config),
    }
    annotations = merged_map(
        old.image.manifest.annotations, new.image.manifest.annotations, image.manifest.annotations
    )
    return {
        **{k: v for k, v in image.document.items() if k != "subject"},
        "schemaVersion": 2,
        "mediaType": str(family),
        "config": described,
        "layers": [_layer(layer, is_docker=is_docker) for layer in layers],
        "annotations": recorded(
            {**annotations, **own}, new.recorded_name, new.digest, new.image.digest
        ),
    }


def _family(image: LayeredImage, new: NamedBase, layers: Sequence[Mapping[str, Any]]) -> MediaType:
    """Return the image's own family, or the OCI's for layers that Docker's has no type for."""
    own = image.manifest.media_type
    if own is MediaType.OCI_MANIFEST or not any("zstd" in _type(layer) for layer in layers):
        return own
    if any(image.settings.get(name) for name in ("Healthcheck", "Shell")):
        raise NotRebasableError(
            f"{new.name} has layers that zstd compressed, which no manifest of Docker's can name,"
            " and the image has a health check or a shell, for which the OCI's have no place"
        )
    return MediaType.OCI_MANIFEST


def _layer(layer: Mapping[str, Any], *, is_docker: bool) -> Mapping[str, Any]:
    types = _TO_DOCKER if is_docker else _LAYER_TYPES
    name = _type(layer)
    return {**layer, "mediaType": types.get(name, name)}


def _type(layer: Mapping[str, Any]) -> str:
    return str(layer.get("mediaType") or "")


def _later(*times: object) -> str:
    """Return the latest of times (RFC 3339): a rebase of the same three is the same image."""
    known = []
    for text in times:
        try:
            moment = datetime.fromisoformat(str(text))
        except ValueError:
            continue
        if moment.tzinfo is not None:
            known.append((moment, str(text)))
    return max(known)[1] if known else ""


def _verify(image: LayeredImage, made: RebasedImage) -> None:
    """Look at what was made as a client will: the new base's content, then the image's own."""
    count = len(made.old.image.diff_ids)
    wanted = (*made.new.image.diff_ids, *image.diff_ids[count:])
    blobs = [layer.digest for layer in (*made.new.image.layers, *image.layers[count:])]
    if made.image.diff_ids != wanted or [one.digest for one in made.image.layers] != blobs:
        raise NotRebasableError(f"{image.digest} came out with other layers than it was made of")
