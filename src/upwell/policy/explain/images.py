"""Explanation of image streams, tags and images."""

from collections.abc import Iterator

from upwell.api.image import Image, ImageStream, ImageStreamTag, NamedTagEventList
from upwell.policy.explain.freshness import Snapshot, short
from upwell.policy.explain.origins import OriginExplainer
from upwell.policy.explain.statement import Statement, Topic
from upwell.policy.images.streams import StreamTag


class ImageExplainer:
    """Says what a stream, a tag or an image is, where that comes from, and what it is to be."""

    def __init__(self, snapshot: Snapshot, origins: OriginExplainer) -> None:
        self._snapshot = snapshot
        self._origins = origins

    def explain(self, asked: ImageStream | ImageStreamTag | Image) -> Iterator[Statement]:
        """Yield the statements about a stream, a tag or an image."""
        match asked:
            case ImageStream():
                yield from self._stream(asked)
            case ImageStreamTag():
                yield from self._named_tag(asked)
            case Image():
                yield from self._image(asked)

    def _stream(self, stream: ImageStream) -> Iterator[Statement]:
        if not stream.status.tags:
            yield Statement(Topic.IMAGE, "no tag has an image yet")
        for history in stream.status.tags:
            tag = StreamTag(stream.namespace, stream.name, history.tag)
            yield from self._tag(tag, history)
        if stream.spec.docker_image_repository is None and not stream.spec.tags:
            text = "nothing is imported: images are pushed or built"
            yield Statement(Topic.NEXT, text)

    def _named_tag(self, asked: ImageStreamTag) -> Iterator[Statement]:
        tag = StreamTag.named(asked.name, asked.namespace)
        history = self._snapshot.history(tag)
        if history is None:
            yield Statement(Topic.IMAGE, f"{tag} has no image yet")
        else:
            yield from self._tag(tag, history)

    def _image(self, image: Image) -> Iterator[Statement]:
        text = f"it is {image.docker_image_reference or image.name}"
        since = image.metadata.creation_timestamp
        yield Statement(Topic.IMAGE, text, at=since, new=image.name)
        yield from self._origins.origin(None, image.name, 1)
        told = list(self._snapshot.policies.statements(image.name, None))
        yield from told
        if not told:
            yield Statement(Topic.POLICY, "no image policy that you may read has judged it")

    def _tag(self, tag: StreamTag, history: NamedTagEventList) -> Iterator[Statement]:
        """Say what a tag is, what image policies say of it, and what it is to be."""
        latest, state = history.latest, history.import_state
        if latest is None:
            yield Statement(Topic.IMAGE, f"{tag} has no image yet")
        else:
            text = f"{tag} is {short(latest.image)}"
            yield Statement(Topic.IMAGE, text, at=latest.created, new=latest.image)
            yield from self._snapshot.policies.statements(latest.image, tag.namespace, 1)
            yield from self._origins.origin(tag, latest.image, 1)
        coming = state.imported_digest if state is not None else ""
        if coming and (latest is None or coming != latest.image):
            yield from self._snapshot.policies.statements(coming, tag.namespace)
        yield from self._origins.import_state(tag, history)
