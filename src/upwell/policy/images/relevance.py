"""Relevance of a new image upstream: what of it differs from the image in force."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.api.image import Image, ImageManifest
from upwell.formats.canonical_json import canonical_json
from upwell.oci import Digest, Platform

CONTENT_ANNOTATION = "upwell.dev/content"
"""On an Image of one platform: the hash of all that its containers would notice."""

_TIMES = {"created", "history"}
_MADE_BY = {"container", "container_config", "docker_version", "id", "parent"}
"""Keys that Docker's own builder leaves of the build itself."""
_CONFIG_MADE_BY = {"Image", "Hostname"}
_TIME_LABELS = {
    "build-date",
    "org.label-schema.build-date",
    "org.opencontainers.image.created",
}


@dataclass(frozen=True, slots=True)
class Irrelevance:
    """Reason why an image is passed over; reason and message are for the status of the tag."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """Image on one platform; `content` is empty where it could not be read."""

    digest: str
    content: str = ""


type ImagesByPlatform = Mapping[Platform, PlatformImage | None]
"""For each platform that is used here; None where the image has nothing for it."""


def content_hash(config: Mapping[str, Any]) -> str:
    """Return what two image configurations have in common that differ in times alone.

    The diff_ids in it stand for the layers: the times of files are content, those of the image
    are not.
    """
    kept = {key: value for key, value in config.items() if key not in _TIMES | _MADE_BY}
    run = kept.get("config")
    if isinstance(run, dict):
        run = {key: value for key, value in run.items() if key not in _CONFIG_MADE_BY}
        labels = run.get("Labels")
        if isinstance(labels, dict):
            run["Labels"] = {k: v for k, v in labels.items() if k not in _TIME_LABELS}
        # Builders differ in whether they write what is empty.
        kept["config"] = {key: value for key, value in run.items() if value}
    return str(Digest.of(canonical_json(kept)))


def irrelevance(old: ImagesByPlatform, new: ImagesByPlatform) -> Irrelevance | None:
    """Say why `new` need not take the place of `old`; None when it matters.

    Both tell of the same platforms: those that are used here.
    """
    changed = [platform for platform in new if old.get(platform) != new[platform]]
    names = ", ".join(sorted(str(platform) for platform in new))
    if not changed:
        return Irrelevance("OtherPlatformsOnly", f"what changed is not for {names}")
    if all(_same_content(old.get(platform), new[platform]) for platform in changed):
        return Irrelevance(
            "TimestampsOnly", f"layers and configuration for {names} are the same but for times"
        )
    return None


def by_platform(
    image: Image, children: Mapping[str, Image], ours: Sequence[Platform]
) -> ImagesByPlatform:
    """Return what a kept Image is on each of our platforms.

    `children` are the Images of an index's manifests, by digest, as far as they are kept.
    """
    if not image.docker_image_manifests:
        whole = PlatformImage(image.name, image.annotations.get(CONTENT_ANNOTATION, ""))
        return dict.fromkeys(ours, whole)
    found: dict[Platform, PlatformImage | None] = {}
    for platform in ours:
        digest = child_digest(image, platform)
        child = children.get(digest)
        content = child.annotations.get(CONTENT_ANNOTATION, "") if child is not None else ""
        found[platform] = PlatformImage(digest, content) if digest else None
    return found


def for_platform(manifests: Sequence[ImageManifest], platform: Platform) -> ImageManifest | None:
    """Return an index's manifest for `platform`; as in `Index.select`, any variant will do."""
    candidates = [
        entry
        for entry in manifests
        if (entry.os, entry.architecture) == (platform.os, platform.architecture)
    ]
    exact = [entry for entry in candidates if (entry.variant or "") == platform.variant]
    return next(iter([*exact, *candidates]), None)


def child_digest(image: Image, platform: Platform) -> str:
    """Return the digest of an index's manifest for `platform`; empty when it has none."""
    entry = for_platform(image.docker_image_manifests, platform)
    return entry.digest if entry is not None else ""


def _same_content(old: PlatformImage | None, new: PlatformImage | None) -> bool:
    return old is not None and new is not None and bool(old.content) and old.content == new.content
