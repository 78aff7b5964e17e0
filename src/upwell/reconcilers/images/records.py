"""Images as objects: one for every digest that was met, with what its manifest and config say."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from upwell.api.codec import encode_json
from upwell.api.image import Image, ImageLayer, ImageManifest
from upwell.api.meta import ObjectMeta, format_time
from upwell.oci import Descriptor, Digest, Index, Manifest, Platform, Reference
from upwell.oci.manifest import MAX_CONFIG_BYTES
from upwell.oci.registry_prefix import repository_in
from upwell.policy.images.proofs import (
    DESCRIBED_ANNOTATION,
    PUBLIC_ANNOTATION,
    UNREAD_ANNOTATION,
    is_public,
)
from upwell.policy.images.relevance import (
    CONTENT_ANNOTATION,
    ImagesByPlatform,
    by_platform,
    child_digest,
    content_hash,
)
from upwell.registry.errors import BlobUnknownError, ManifestUnknownError, RegistryError
from upwell.registry.interface import DEFAULT_ACCESS, Credential, Registry, RequestAccess
from upwell.store.interface import AlreadyExistsError, NotFoundError, Store
from upwell.store.retry import update_with_retry

FIRST_SEEN_ANNOTATION = "upwell.dev/first-seen"
"""On an Image: when any stream met its digest for the first time."""

_FEW_FAILURES = 2
"""Failures that may pass, of as many repositories or logins, until those that wait ask together."""
_AT_ONCE = 4
"""Of them: the registry may be away, and each find that out after a long time."""
_MAX_METADATA_BYTES = 256 * 1024
"""A configuration beyond this is hashed, and not kept in the Image."""

_MAX_HOSTED_BYTES = 16 * 1024
"""JSON of an Image of the embedded registry: one with 30 layers and as many labels has the half."""

_MAX_GIVEN = 8192
"""Answers that are remembered: which repository has given which logins which image."""

type _Question = tuple[str, Digest | None, tuple[Credential, ...]]


@dataclass(slots=True)
class _Flight:
    """Requests for one image of a registry at the same time: one asks after the other.

    After failures of others that may pass, some ask at the same time: none of these says anything
    of another repository or login, and whoever met them may have wished for them.
    """

    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    waiting: int = 0
    failures: list[tuple[str, RequestAccess, RegistryError]] = field(default_factory=list)
    """With the repository and the access by which each was asked."""
    _passing: int = 0
    """Number of those that may pass."""

    def raise_failure(self, since: int, pinned: Reference, access: RequestAccess) -> None:
        """Raise what another request would meet too, of the failures from number `since` on.

        That is one of the same repository by the same login.
        """
        for repository, other, error in self.failures[since:]:
            if (repository, other) == (pinned.repository, access):
                raise error

    def note(self, pinned: Reference, access: RequestAccess, error: RegistryError) -> None:
        """Keep a failure for those that wait."""
        self.failures.append((pinned.repository, access, error))
        self._passing += error.retryable
        if error.retryable and self._passing == _FEW_FAILURES:
            for _ in range(_AT_ONCE - 1):
                self.turn.release()


class ImageRecords:
    """Keeps Images; `platforms` are those whose images are used here.

    `prefix` is that of the internal registry: what lies there is read by the server's own right,
    and is not everybody's for that.
    """

    def __init__(
        self, store: Store, upstream: Registry, platforms: Sequence[Platform], prefix: str
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._upstream = upstream
        self._platforms = platforms
        self._flights: dict[tuple[str, str], _Flight] = {}
        """By registry and digest."""
        self._given: OrderedDict[_Question, None] = OrderedDict()

    @property
    def platforms(self) -> Sequence[Platform]:
        """The platforms whose images are used here."""
        return self._platforms

    async def learn(self, pinned: Reference, access: RequestAccess, now: datetime) -> Image:
        """Return the Image of `pinned` as its registry gives it. Raises RegistryError.

        What is known of it spares the question only where it needs no login, or the same repository
        has given it to the same login: a registry may claim the digest of anybody's image. One that
        gives no configuration has its own Image returned, whatever is known from others.

        Who wants an image that is being fetched from the same registry waits for that, and shares
        its failure, unless another repository or login may do better: these ask one by one, or few
        at once where others have failed, until one gets it. Of another registry nobody waits.
        """
        question = (pinned.name, pinned.digest, await self._upstream.logins(pinned, access))
        if known := await self._answer(question):
            return known
        place = (pinned.registry, str(pinned.digest))
        flight = self._flights.setdefault(place, _Flight())
        flight.waiting, since = flight.waiting + 1, len(flight.failures)
        try:
            async with flight.turn:
                if known := await self._answer(question):
                    return known
                flight.raise_failure(since, pinned, access)
                return await self._fetch_in(flight, question, pinned, access, now)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                del self._flights[place]

    async def _fetch_in(
        self,
        flight: _Flight,
        question: _Question,
        pinned: Reference,
        access: RequestAccess,
        now: datetime,
    ) -> Image:
        try:
            return await self._fetch(pinned, access, question, now)
        except RegistryError as error:
            flight.note(pinned, access, error)
            raise

    async def learn_children(
        self, index: Image, pinned: Reference, access: RequestAccess, now: datetime
    ) -> None:
        """Fetch what is not known of an index's manifests for our platforms."""
        for platform in self._platforms:
            digest = child_digest(index, platform)
            if digest:
                child = pinned.with_digest(Digest.parse(digest))
                try:
                    await self.learn(child, access, now)
                except ManifestUnknownError:
                    continue  # an index may name more than its registry holds

    async def record(self, hosted: Registry, pinned: Reference, seen: datetime) -> None:
        """Keep what a registry of our own holds, an index with the manifests for our platforms.

        Raises RegistryError. What is known already is not read again. A push costs its client
        little: so no more is kept of one image than an ordinary one has.
        """
        digest = str(pinned.digest)
        image = await self.find(digest)
        if image is None:
            image = _bounded(await examine(hosted, pinned, DEFAULT_ACCESS, seen))
            await self._keep(image)
        for platform in self._platforms:
            name = child_digest(image, platform)
            if name and name != digest and await self.find(name) is None:
                child = pinned.with_digest(Digest.parse(name))
                with suppress(ManifestUnknownError):  # an index may name more than lies here
                    found = await examine(hosted, child, DEFAULT_ACCESS, seen)
                    await self._keep(_bounded(found))

    async def find(self, digest: str) -> Image | None:
        """Return a kept Image, as a registry has described it in full."""
        try:
            image = await self._store.get(Image, "", digest)
        except NotFoundError:
            return None
        return image if _is_complete(image) else None

    async def content(self, digest: str) -> ImagesByPlatform | None:
        """Return what a kept image is on our platforms; None when that is not known."""
        image = await self.find(digest)
        if image is None or not self._platforms:
            return None
        children: dict[str, Image] = {}
        for platform in self._platforms:
            name = child_digest(image, platform)
            child = await self.find(name) if name else None
            if child is not None:
                children[name] = child
        return by_platform(image, children, self._platforms)

    async def _answer(self, question: _Question) -> Image | None:
        """Return the kept Image, if it is nothing new to the repository and login that ask."""
        _, digest, _ = question
        known = await self.find(str(digest))
        if known is None or self._is_cut(known):
            return None
        return known if is_public(known) or question in self._given else None

    async def _fetch(
        self, pinned: Reference, access: RequestAccess, question: _Question, now: datetime
    ) -> Image:
        image = await examine(self._upstream, pinned, access, now)
        _, _, logins = question
        is_hosted = repository_in(pinned, self._prefix) is not None
        if not logins and not is_hosted and _is_complete(image):
            annotations = {**image.annotations, PUBLIC_ANNOTATION: "true"}
            image = image.with_metadata(annotations=annotations)
        kept = await self._keep(_bounded(image) if is_hosted else image)
        if self._is_cut(kept):
            return image
        if not _is_complete(image):
            return image if _is_complete(kept) else kept
        self._given[question] = None
        while len(self._given) > _MAX_GIVEN:
            self._given.popitem(last=False)
        return kept

    async def _keep(self, image: Image) -> Image:
        try:
            return await self._store.create(image)
        except AlreadyExistsError:
            # Two tags of one digest: either's record is the same. One that says less is replaced.
            return await self._in_place_of_less(image)

    async def _in_place_of_less(self, image: Image) -> Image:
        async def decided() -> tuple[Image, Image]:
            known = await self._store.get(Image, "", image.name)
            return known, self._merged(known, image)

        async def write(images: tuple[Image, Image]) -> Image:
            known, wanted = images
            return known if wanted is known else await self._store.update(wanted)

        return await update_with_retry(decided, write)

    def _merged(self, known: Image, image: Image) -> Image:
        """Return what to keep of a digest: what says more, with its first day, and if it is public.

        An image's own registry outranks whoever has pushed a copy to the embedded one: it says
        where the image is from, and since when it was seen there.
        """
        labels: Mapping[str, str] = {}
        if DESCRIBED_ANNOTATION in known.annotations:
            annotations = dict(image.annotations)
        elif not _is_complete(known):
            if not _is_complete(image):
                return known
            annotations = dict(image.annotations)
            if FIRST_SEEN_ANNOTATION in known.annotations:
                annotations[FIRST_SEEN_ANNOTATION] = known.annotations[FIRST_SEEN_ANNOTATION]
        elif self._is_hosted(known) and not self._is_hosted(image) and _is_complete(image):
            annotations, labels = {**known.annotations, **image.annotations}, known.labels
        elif is_public(known) or not is_public(image):
            return known
        else:
            return known.with_metadata(annotations={**known.annotations, PUBLIC_ANNOTATION: "true"})
        update = {"annotations": annotations, "labels": labels}
        return image.model_copy(update={"metadata": known.metadata.model_copy(update=update)})

    def _is_hosted(self, image: Image) -> bool:
        return image.docker_image_reference.startswith(f"{self._prefix}/")

    def _is_cut(self, image: Image) -> bool:
        """Return True of a pushed image of which not all is kept: its own registry says more."""
        if not self._is_hosted(image):
            return False
        if image.docker_image_metadata_version:  # it has a configuration
            return not image.docker_image_metadata
        return not (image.docker_image_manifests or image.docker_image_layers)


async def examine(
    registry: Registry, pinned: Reference, access: RequestAccess, now: datetime
) -> Image:
    """Return what the Image of `pinned` would be, keeping nothing; raises RegistryError."""
    manifest = await registry.manifest(pinned, access)
    config: Mapping[str, Any] | None = {}
    if isinstance(manifest, Manifest):
        config = await _config(registry, pinned, manifest.config, access)
    return _image(pinned, manifest, config, now)


async def _config(
    registry: Registry, pinned: Reference, config: Descriptor, access: RequestAccess
) -> Mapping[str, Any] | None:
    """Return an image's configuration; {} of what has another kind of it, None: not given."""
    if config.size > MAX_CONFIG_BYTES:
        return {}
    try:
        raw = await registry.blob(pinned, config.digest, MAX_CONFIG_BYTES, access)
        document = json.loads(raw)
    except BlobUnknownError:
        return None
    except RegistryError as error:
        if error.retryable:
            raise
        return None
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) and "rootfs" in document else {}


def _bounded(image: Image) -> Image:
    """Return an Image without its largest parts, where it has more than an ordinary one."""
    for part in ("docker_image_metadata", "docker_image_layers", "docker_image_manifests"):
        if len(encode_json(image)) <= _MAX_HOSTED_BYTES:
            break
        image = image.model_copy(update={part: {} if part.endswith("metadata") else ()})
    return image


def is_unread(image: Image) -> bool:
    """Return True if the registry that was asked has not given the image's configuration."""
    return UNREAD_ANNOTATION in image.annotations


def _is_complete(image: Image) -> bool:
    return image.annotations.keys().isdisjoint({DESCRIBED_ANNOTATION, UNREAD_ANNOTATION})


def _image(
    pinned: Reference, manifest: Manifest | Index, config: Mapping[str, Any] | None, now: datetime
) -> Image:
    annotations = {FIRST_SEEN_ANNOTATION: format_time(now)}
    layers: tuple[ImageLayer, ...] = ()
    manifests: tuple[ImageManifest, ...] = ()
    if isinstance(manifest, Index):
        manifests = tuple(_manifest_of(entry) for entry in manifest.manifests)
    else:
        layers = tuple(
            ImageLayer(name=str(layer.digest), size=layer.size, media_type=layer.media_type)
            for layer in manifest.layers
        )
    if config is None:
        annotations[UNREAD_ANNOTATION] = "true"
    elif config:
        annotations[CONTENT_ANNOTATION] = content_hash(config)
    return Image(
        metadata=ObjectMeta(name=str(pinned.digest), annotations=annotations),
        docker_image_reference=str(pinned),
        docker_image_manifest_media_type=str(manifest.media_type),
        docker_image_layers=layers,
        docker_image_manifests=manifests,
        docker_image_metadata=_metadata(manifest, config),
        docker_image_metadata_version="1.0" if config else None,
    )


def _manifest_of(entry: Descriptor) -> ImageManifest:
    platform = entry.platform or Platform("", "")
    return ImageManifest(
        digest=str(entry.digest),
        media_type=entry.media_type,
        manifest_size=entry.size,
        os=platform.os,
        architecture=platform.architecture,
        variant=platform.variant or None,
    )


def _metadata(manifest: Manifest | Index, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the configuration as OpenShift's Image shows it (image/docker10 DockerImage)."""
    if not config or isinstance(manifest, Index):
        return {}
    found = {
        "kind": "DockerImage",
        "apiVersion": "1.0",
        "Id": str(manifest.config.digest),
        "Created": config.get("created"),
        "Architecture": config.get("architecture"),
        "Os": config.get("os"),
        "Author": config.get("author"),
        "Size": manifest.config.size + sum(layer.size for layer in manifest.layers),
        "Config": config.get("config"),
    }
    kept = {key: value for key, value in found.items() if value}
    return kept if len(json.dumps(kept)) <= _MAX_METADATA_BYTES else {}


def as_described(image: Image, namespace: str) -> Image:
    """Return an Image as a client of a namespace may have it kept."""
    annotations = {DESCRIBED_ANNOTATION: namespace}
    return image.model_copy(
        update={"metadata": ObjectMeta(name=image.name, annotations=annotations)}
    )
