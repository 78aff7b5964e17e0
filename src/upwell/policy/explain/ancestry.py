"""Tags, Builds and layers that a running image stands on, one below another; pure.

An image is told by its digest. Its own tag is one that has had the digest; what it stands on is
what a Build of ours was made of, or the image whose layers are its lowest ones (image-spec,
config.md: layers are ordered from the base up).
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from upwell.api.builds.build import Build, ResolvedImage
from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import Image, ImageStream
from upwell.api.requests.base_search import FoundBase
from upwell.api.requests.running import ImageAncestor
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.builds.triggers import digest_of
from upwell.policy.explain.freshness import images_of, output_digest
from upwell.policy.images.streams import StreamTag

MOST_ANCESTORS = 16
"""Images below one another that are told of."""

type LayersOf = Mapping[str, Sequence[str]]
"""Digests of layers, the lowest first, by the digest of an image."""
type MayRead = Callable[[str], bool]
"""Tells whether somebody may read the ImageStreams of a namespace."""


@dataclass(frozen=True, slots=True)
class UsedBase:
    """Base of a build that follows no stream."""

    namespace: str
    name: str
    """As its Dockerfile or strategy names it."""
    image: str
    """By digest."""


def followed_tags(builds: Iterable[Build], namespace: str) -> frozenset[StreamTag]:
    """Return the tags that builds of a namespace have stood on, of whichever namespace they are."""
    return frozenset(
        StreamTag.parse(one.stream_tag)
        for build in builds
        if build.namespace == namespace
        for one in build.status.images
        if one.final and one.stream_tag
    )


def used_bases(builds: Iterable[Build]) -> Iterator[UsedBase]:
    """Yield the bases of builds that no stream has brought, each once."""
    seen = set()
    for build in builds:
        for one in build.status.images:
            if not one.final or one.stream_tag is not None:
                continue
            found = UsedBase(build.namespace, _name_of(build, one), one.reference)
            if found.name and found not in seen:
                seen.add(found)
                yield found


def by_chain(bases: Iterable[UsedBase], layers: LayersOf) -> Mapping[str, UsedBase]:
    """Return bases by the chain of their layers, as far as these are known; the last of equals."""
    known = ((one, layers.get(one.image.partition("@")[2])) for one in bases)
    return {_last(_chains(own)): one for one, own in known if own}


@dataclass(frozen=True, slots=True)
class _Place:
    """A digest in the history of a tag; 0 is the newest."""

    tag: StreamTag
    behind: int
    newest: str
    image: str
    """Name of the very image, by digest."""
    source: str
    """Image of another registry that the tag is imported from; empty: it is pushed."""
    shown: bool = True
    """False where no registry has given the image to the tag's namespace."""


@dataclass
class KnownImages:
    """Images as they are known at one moment, by their digests."""

    _places: dict[str, list[_Place]] = field(default_factory=lambda: defaultdict(list))
    _made_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _layers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _by_chain: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Images by the chain of all their layers, those that a tag has had last."""
    _indexes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Indexes (image-spec, image-index.md) that have a manifest."""

    @classmethod
    def of(
        cls, streams: Iterable[ImageStream], builds: Iterable[Build], images: Iterable[Image]
    ) -> "KnownImages":
        """Return what these objects say."""
        known = cls()
        for stream in streams:
            known._add_stream(stream)
        for build in builds:
            if digest := output_digest(build):
                known._made_of[digest] = tuple(digest_of(one) for one in images_of(build))
        for image in images:
            for child in image.docker_image_manifests:
                known._indexes[child.digest].append(image.name)
            if layers := tuple(one.name for one in image.docker_image_layers):
                known._layers[image.name] = layers
        # Of two images with the same layers, one that a tag has had says more.
        for digest in sorted(known._layers, key=lambda one: bool(known._found(one))):
            known._by_chain[_last(_chains(known._layers[digest]))].append(digest)
        return known

    def is_known(self, digest: str) -> bool:
        """Return True if anything is known that tells what the image stands on."""
        return bool(self._found(digest)) or digest in self._made_of or digest in self._layers

    def ancestors(
        self,
        digest: str,
        image: str = "",
        layers: LayersOf | None = None,
        may_read: MayRead = lambda _: True,
    ) -> Iterator[ImageAncestor]:
        """Yield an image's own tag and what it stands on, the nearest first.

        `image` is the name that its Pods have for it, and `layers` are those of images that no
        object describes. Tags that may not be read are passed over.
        """
        waiting, seen = [(digest, "tag", _tag_of(image))], {digest}
        told = 0
        while waiting and told < MOST_ANCESTORS:
            current, how, named = waiting.pop(0)
            if place := self._best(current, named, may_read):
                told += 1
                yield ImageAncestor(
                    tag=str(place.tag),
                    digest=current,
                    newest=place.newest,
                    behind=place.behind,
                    by=how,
                )
            below, by = self._below(current, layers or {})
            for one in below:
                if one not in seen:
                    seen.add(one)
                    waiting.append((one, by, ""))

    def bases(
        self,
        layers: Sequence[str],
        may_read: MayRead,
        others: Mapping[str, UsedBase],
        namespace: str = "",
        followed: Collection[StreamTag] = (),
    ) -> Iterator[FoundBase]:
        """Yield what an image stands on, by the digests of its layers; the most layers first.

        `others` are bases of builds by the chain of their layers. Tags that may not be read are
        passed over; of several that have had a base, those of `namespace` count alone, where it has
        one, then those that its builds have `followed`. In a namespace that counts by which updates
        come from outside; of several namespaces each is told that has another name for it. Who has
        none of these has the word of strangers alone, and is told so.
        """
        *below, _ = _chains(layers) or [""]
        for count in range(len(below), 0, -1):
            chain = below[count - 1]
            found = [one for digest in self._by_chain.get(chain, ()) for one in self._found(digest)]
            best: dict[str, _Place] = {}
            for one in sorted(
                found, key=lambda one: (one.tag not in followed, not one.source, str(one.tag))
            ):
                if one.shown and may_read(one.tag.namespace):
                    best.setdefault(one.tag.namespace, one)
            used = others.get(chain)
            own = [best[namespace]] if namespace in best else []
            own = own or [one for one in best.values() if one.tag in followed]
            if used is not None and not own and (not best or used.namespace == namespace):
                is_own = used.namespace == namespace
                yield FoundBase(name=used.name, image=used.image, layers=count, own=is_own)
                continue
            told = own or list(best.values())
            named = {one.source or _tagged(one): one.image for one in reversed(told)}
            for name, image in reversed(named.items()):
                yield FoundBase(name=name, image=image, layers=count, own=bool(own))

    def _add_stream(self, stream: ImageStream) -> None:
        for history in stream.status.tags:
            tag = StreamTag(stream.namespace, stream.name, history.tag)
            source = _source(stream, history.tag)
            for behind, event in enumerate(history.items):
                if not event.image:
                    continue  # a reference, of which nothing tells the digest
                image, newest = event.docker_image_reference, history.items[0].image
                place = _Place(tag, behind, newest, image, source, not event.unproven)
                self._places[event.image].append(place)

    def _found(self, digest: str) -> list[_Place]:
        """Return the places of an image, or of the indexes that have it for a platform."""
        found = list(self._places.get(digest, ()))
        for index in self._indexes.get(digest, ()):
            found += self._places.get(index, ())
        return found

    def _best(self, digest: str, named: str, may_read: MayRead) -> _Place | None:
        """Return the place by which an image is judged.

        The tag that its Pods name, where one has it; else the one that has moved furthest since, as
        tags of one version never move.
        """
        found = [one for one in self._found(digest) if may_read(one.tag.namespace)]
        meant = [one for one in found if named and one.tag.tag == named]
        return min(meant or found, key=lambda one: (-one.behind, str(one.tag)), default=None)

    def _below(self, digest: str, layers: LayersOf) -> tuple[Sequence[str], str]:
        """Return what an image was made of, and how that is known."""
        for one in (digest, *self._indexes.get(digest, ())):
            if made_of := self._made_of.get(one):
                return made_of, "build"
        own = self._layers.get(digest) or tuple(layers.get(digest, ()))
        *below, _ = _chains(own) or [""]
        for chain in reversed(below):
            if bases := self._by_chain.get(chain):
                return (bases[-1],), "layers"
        return (), ""


def most_behind(ancestors: Iterable[ImageAncestor]) -> int | None:
    """Return how far the one that is furthest behind is; None where there is none."""
    return max((one.behind for one in ancestors), default=None)


def _chains(layers: Sequence[str]) -> list[str]:
    """Return a key for the first layer, the first two, and so on (as config.md's ChainID is)."""
    found: list[str] = []
    before = ""
    for layer in layers:
        before = hashlib.sha256(f"{before} {layer}".encode()).hexdigest()
        found.append(before)
    return found


def _last(chains: Sequence[str]) -> str:
    return chains[-1]


def _source(stream: ImageStream, tag: str) -> str:
    """Return the tag of another registry that a stream's tag is imported from."""
    declared = next((one for one in stream.spec.tags if one.name == tag), None)
    from_ = declared.from_ if declared is not None else None
    if from_ is None or from_.kind != DOCKER_IMAGE:
        repository = stream.spec.docker_image_repository
        return f"{repository}:{tag}" if repository else ""
    return from_.name if "@" not in from_.name else ""


def _tagged(place: _Place) -> str:
    """Return the name of a pushed tag in the registry that has it."""
    return f"{place.image.partition('@')[0]}:{place.tag.tag}"


def _name_of(build: Build, image: ResolvedImage) -> str:
    """Return the tag by which a build has found its base; empty: it was named by digest."""
    base = build.spec.strategy.base
    for text in (image.name, base.name if base is not None else ""):
        try:
            named = Reference.parse(text)
        except InvalidReferenceError:
            continue
        if named.name == image.reference.partition("@")[0] and named.digest is None:
            return str(named)
    return ""


def _tag_of(image: str) -> str:
    """Return the tag by which Pods name an image; empty: they do not."""
    try:
        return Reference.parse(image).tag or ""
    except InvalidReferenceError:
        return ""
