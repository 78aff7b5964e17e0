"""By which names images are known: the stream tag that keeps an image of a given pull spec."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from upwell.api.builds.config import BuildConfig
from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectReference
from upwell.api.pod_template import PodTemplate
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.images.local_names import is_local, local_stream
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.images.streams import StreamName, StreamTag


@dataclass(frozen=True, slots=True, order=True)
class UpstreamImage:
    """An image of a registry that no stream of ours keeps, by its complete name."""

    name: str

    def __str__(self) -> str:
        return self.name


type ImageNode = UpstreamImage | StreamTag

type Name = StreamName | str
"""A name without its tag: a stream, or a repository of a registry."""


class ImageNames:
    """Finds the stream tag that keeps an image which someone names as a pull spec.

    Streams come and go by `put` and `drop`; the answers depend on which are there, not on how.
    """

    def __init__(self, streams: Iterable[ImageStream] = ()) -> None:
        self._repositories: dict[str, StreamName] = {}
        self._imports: dict[str, dict[StreamName, str]] = defaultdict(dict)
        self._local: set[StreamName] = set()
        for stream in streams:
            self.put(stream)

    def put(self, stream: ImageStream) -> None:
        """Take a stream in that is not there."""
        where = StreamName(stream.namespace, stream.name)
        for repository in _repositories(stream):
            self._repositories[repository] = where
        if is_local(stream):
            self._local.add(where)
        for image, tag in _imports(stream):
            self._imports[str(image)].setdefault(where, tag)

    def drop(self, stream: ImageStream) -> None:
        """Forget a stream that was put in this state."""
        where = StreamName(stream.namespace, stream.name)
        for repository in _repositories(stream):
            if self._repositories.get(repository) == where:
                del self._repositories[repository]
        self._local.discard(where)
        for image, _ in _imports(stream):
            importers = self._imports[str(image)]
            importers.pop(where, None)
            if not importers:
                del self._imports[str(image)]

    def keeper(self, image: str, namespace: str) -> StreamTag | None:
        """Return the tag through which `namespace` knows the image that it writes as `image`.

        In this order: a short name of a stream with a local lookup policy; a tag of the internal
        registry; the first tag of a stream of the namespace that imports this very image.
        """
        short = local_stream(image, namespace)
        if short is not None and short in self._local and "@" not in image:
            return StreamTag.named(image.strip(), namespace)
        origin = self.origin(image)
        if not isinstance(origin, UpstreamImage):
            return origin
        return _first(
            importer for importer in self._importers(origin) if importer.namespace == namespace
        )

    def find(self, image: str, namespace: str) -> ImageNode | None:
        """Return what keeps `image`, as written in `namespace`; None if it is no image name.

        An image that the namespace itself does not know may be imported by another's stream.
        """
        keeper = self.keeper(image, namespace)
        if keeper is not None:
            return keeper
        origin = self.origin(image)
        return _first(self._importers(origin)) or origin if origin is not None else None

    def origin(self, image: str) -> ImageNode | None:
        """Return where `image` is pulled from: a tag of the internal registry, or an upstream."""
        reference = _parsed(image)
        if reference is None:
            return None
        where = self._repositories.get(reference.name)
        if where is not None and reference.tag is not None:
            return StreamTag(where.namespace, where.name, reference.tag)
        return UpstreamImage(str(reference))

    def _importers(self, image: ImageNode) -> Iterator[StreamTag]:
        for stream, tag in self._imports.get(str(image), {}).items():
            yield StreamTag(stream.namespace, stream.name, tag)


def names_of(stream: ImageStream) -> set[Name]:
    """Return every name by which an object may mean a tag of `stream`."""
    imported = (image.name for image, _ in _imports(stream))
    return {StreamName(stream.namespace, stream.name), *_repositories(stream), *imported}


def naming_of(stream: ImageStream) -> Hashable:
    """Return what decides which names mean which tags of `stream`: equal, if they are the same."""
    return is_local(stream), tuple(_repositories(stream)), tuple(_imports(stream))


def names_in(reference: ObjectReference | None, namespace: str) -> Iterator[Name]:
    """Yield the names that a reference, written in `namespace`, may mean a stream by."""
    if reference is None or not reference.name:
        return
    if reference.kind != DOCKER_IMAGE:
        name = reference.name.partition("@")[0]
        yield StreamTag.named(name, reference.namespace or namespace).stream_name
        return
    short = local_stream(reference.name, namespace)
    if short is not None:
        yield short
    parsed = _parsed(reference.name)
    if parsed is not None:
        yield parsed.name


def names_read(config: BuildConfig) -> set[Name]:
    """Return the names of all that a build of `config` starts from, follows or reads."""
    spec = config.spec
    changes = (trigger.image_change for trigger in spec.triggers)
    named = [
        spec.strategy.base,
        *(image.from_ for image in spec.source.images),
        *(change.from_ for change in changes if change is not None),
        *(ObjectReference(kind=DOCKER_IMAGE, name=n) for n in config.status.tracked_images),
    ]
    return {name for reference in named for name in names_in(reference, config.namespace)}


def names_copied(stream: ImageStream) -> set[Name]:
    """Return the names of what the stream's tags take their images from."""
    return {
        name for tag in effective_tags(stream) for name in names_in(tag.from_, stream.namespace)
    }


def names_run(template: PodTemplate | None, namespace: str) -> set[Name]:
    """Return the names of the images that the containers of a pod template are written with."""
    images = [one.image for one in template.spec.containers] if template is not None else []
    named = (ObjectReference(kind=DOCKER_IMAGE, name=image.strip()) for image in images)
    return {name for reference in named for name in names_in(reference, namespace)}


def names_written(config: BuildConfig) -> set[Name]:
    """Return the names of what a build of `config` is pushed to."""
    return set(names_in(config.spec.output.to, config.namespace))


def _repositories(stream: ImageStream) -> Iterator[str]:
    status = stream.status
    for repository in (status.docker_image_repository, status.public_docker_image_repository):
        if repository:
            yield repository


def _imports(stream: ImageStream) -> Iterator[tuple[Reference, str]]:
    """Yield the images that the stream imports, each with its tag, in the stream's order."""
    for tag in effective_tags(stream):
        reference = _parsed(tag.imports) if tag.imports else None
        if reference is not None:
            yield reference, tag.name


def _parsed(image: str) -> Reference | None:
    try:
        return Reference.parse(image)
    except InvalidReferenceError:
        return None


def _first(tags: Iterable[StreamTag]) -> StreamTag | None:
    return min(tags, default=None)
