"""Tags of an ImageStream: their history, and the pull specs that stand for them."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self

from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.image import (
    ImageStream,
    ImageStreamMapping,
    ImageStreamStatus,
    NamedTagEventList,
    TagEvent,
)
from upwell.api.meta import ObjectKey, ObjectReference
from upwell.formats.attachment_tags import image_of_tag
from upwell.oci import Digest, InvalidReferenceError, Reference
from upwell.oci.registry_names import has_imports
from upwell.policy.images.imported import MAX_HISTORY, change_brought, change_kept, with_items

INPUTS_TAG_PREFIX = "inputs-"
"""Tags in the internal registry that name what a set of build inputs was built into: no stream's
business, they only keep the same inputs from being built twice."""


def is_image_tag(tag: str) -> bool:
    """Return True if a pushed tag names an image of its stream.

    Not the result of a set of inputs, nor signatures, attestations or an SBOM of another image.
    """
    return not tag.startswith(INPUTS_TAG_PREFIX) and image_of_tag(tag) is None


@dataclass(frozen=True, slots=True, order=True)
class StreamName:
    """An ImageStream."""

    namespace: str
    name: str

    @property
    def repository(self) -> str:
        """Its repository in the internal registry."""
        return f"{self.namespace}/{self.name}"


class StreamTag(NamedTuple):
    """A tag of an ImageStream, whether the stream exists or not; written `ns/stream:tag`."""

    namespace: str
    stream: str
    tag: str

    @property
    def stream_key(self) -> ObjectKey:
        """The ImageStream's key."""
        return ObjectKey(ImageStream.KIND.kind, self.namespace, self.stream)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the tag of `NAMESPACE/STREAM:TAG`, as `str` writes it."""
        namespace, _, name = text.partition("/")
        return cls.named(name, namespace)

    @classmethod
    def named(cls, name: str, namespace: str, *, default: str = "latest") -> Self:
        """Return the tag that the API names `STREAM:TAG` in a namespace."""
        stream, _, tag = name.partition(":")
        return cls(namespace, stream, tag or default)

    @classmethod
    def of(cls, reference: ObjectReference, namespace: str) -> Self:
        """Return the tag that an ImageStreamTag reference names from within `namespace`."""
        return cls.named(reference.name, reference.namespace or namespace)

    @classmethod
    def source_in(cls, stream: ImageStream, reference: ObjectReference) -> Self:
        """Return the tag that a tag of `stream` names as its source.

        A bare `TAG` is one of a stream of that name (image/v1 TagReference.from).
        """
        if ":" in reference.name:
            return cls.of(reference, stream.namespace)
        return cls(reference.namespace or stream.namespace, stream.name, reference.name)

    @property
    def name(self) -> str:
        """`stream:tag`, as the API names it."""
        return f"{self.stream}:{self.tag}"

    @property
    def stream_name(self) -> StreamName:
        """The stream."""
        return StreamName(self.namespace, self.stream)

    @property
    def reference(self) -> ObjectReference:
        """Reference by which an object names the tag, from any namespace."""
        return ObjectReference(kind=IMAGE_STREAM_TAG, namespace=self.namespace, name=self.name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def resolve_tag(stream: ImageStream, tag: str) -> str | None:
    """Return the pull spec, pinned by digest, that `stream:tag` stands for now.

    referencePolicy Source (the default) names the upstream, Local the internal registry
    (image/v1 TagReferencePolicy), if that has imports at all. None while the tag has no image.
    """
    return next(pull_specs(stream, tag), None)


def pull_specs(stream: ImageStream, tag: str) -> Iterator[str]:
    """Yield the pull specs, pinned by digest, that `stream:tag` has stood for, the newest first."""
    history = stream.status.tag(tag)
    if history is None:
        return
    declared = next((entry for entry in stream.spec.tags if entry.name == tag), None)
    local = declared is not None and declared.reference_policy.type == "Local"
    local = local and has_imports()
    repository = stream.status.docker_image_repository if local else ""
    for event in history.items:
        yield f"{repository}@{event.image}" if repository and event.image else pinned(event)


def pinned(event: TagEvent) -> str:
    """Return the event's pull spec with its digest."""
    try:
        reference = Reference.parse(event.docker_image_reference)
    except InvalidReferenceError:
        return event.docker_image_reference
    if reference.digest is None and event.image:
        return str(reference.with_digest(Digest.parse(event.image)))
    return str(reference)


def record_image(
    status: ImageStreamStatus, tag: str, event: TagEvent, *, changes: dict[str, object]
) -> ImageStreamStatus:
    """Return `status` with `event` as the newest of the tag, and `changes` made to its entry.

    The same image again is no new event: it says only where the image is pulled from now. It
    clears the tag's conditions, as any success does. What was proven of it stays so, and by which
    change and by whom it was imported: they brought it in.
    """
    old = status.tag(tag) or NamedTagEventList(tag=tag)
    return replace_tag(status, recorded(old, event, changes))


def recorded(
    old: NamedTagEventList, event: TagEvent, changes: dict[str, object]
) -> NamedTagEventList:
    """Return a tag's history with `event` as its newest; see `record_image`."""
    if old.latest is not None and _same_image(old.latest, event):
        kept = {
            "created": old.latest.created,
            "unproven": event.unproven and old.latest.unproven,
            "requested_by": _requester(old, old.latest, event),
            "imported": change_kept(old, event),
        }
        items = (event.model_copy(update=kept), *old.items[1:])
    else:
        again = [one.requested_by for one in old.items if _same_image(one, event)]
        again += [one.requested_by for one in old.earlier_imports if one.image == event.image]
        brought = event.requested_by or next(filter(None, again), None)
        change = change_brought(old, event)
        event = event.model_copy(update={"requested_by": brought, "imported": change})
        items = _bounded((event, *old.items))
    return with_items(old, items).model_copy(update={"conditions": (), **changes})


def _bounded(items: tuple[TagEvent, ...]) -> tuple[TagEvent, ...]:
    """Return the history without its oldest items, where there are too many.

    What was referred to without an import goes first: what remains tells that there were any.
    """
    kept = [*items]
    while len(kept) > MAX_HISTORY:
        del kept[min(range(1, len(kept)), key=lambda at: (bool(kept[at].image), -at))]
    return tuple(kept)


def _requester(old: NamedTagEventList, latest: TagEvent, event: TagEvent) -> str | None:
    """Return who had an image imported by hand that a tag has, and that `event` brings again.

    Of one that was pushed or mapped, they are who has imported it now.
    """
    state = old.import_state
    is_known = state is not None and state.imported_digest == event.image
    return latest.requested_by or (None if is_known else event.requested_by)


def _same_image(one: TagEvent, other: TagEvent) -> bool:
    """Return True if two events name one image; one never imported has its pull spec alone."""
    if one.image or other.image:
        return one.image == other.image
    return one.docker_image_reference == other.docker_image_reference


def replace_tag(status: ImageStreamStatus, entry: NamedTagEventList) -> ImageStreamStatus:
    """Return `status` with this entry in place of the one of its tag."""
    return replace_tags(status, {entry.tag: entry})


def replace_tags(
    status: ImageStreamStatus, entries: Mapping[str, NamedTagEventList]
) -> ImageStreamStatus:
    """Return `status` with these entries, by their tags, in place of those of these tags."""
    if not entries:
        return status
    others = [other for other in status.tags if other.tag not in entries]
    tags = tuple(sorted([*others, *entries.values()], key=lambda tag: tag.tag))
    return status.model_copy(update={"tags": tags})


def take_push(
    status: ImageStreamStatus, repository: str, tag: str, digest: Digest, now: datetime
) -> ImageStreamStatus:
    """Return `status` with a pushed image; `repository` carries the internal registry's host."""
    old = status.tag(tag) or NamedTagEventList(tag=tag)
    return replace_tag(status, _pushed(old, repository, digest, now))


def take_pushes(
    status: ImageStreamStatus, repository: str, pushed: Iterable[tuple[str, Digest]], now: datetime
) -> ImageStreamStatus:
    """Return `status` with those of the pushed images that it does not know; see `take_push`.

    A repository may have tens of thousands: none of them is searched for.
    """
    known = status.by_tag()
    entries = {}
    for tag, digest in pushed:
        old = known.get(tag) or NamedTagEventList(tag=tag)
        if old.pushed_digest != str(digest):
            entries[tag] = _pushed(old, repository, digest, now)
    return replace_tags(status, entries)


def _pushed(
    old: NamedTagEventList, repository: str, digest: Digest, now: datetime
) -> NamedTagEventList:
    event = TagEvent(
        created=now,
        docker_image_reference=f"{repository}@{digest}",
        image=str(digest),
        generation=old.latest.generation if old.latest else 1,
    )
    return recorded(old, event, {"pushed_digest": str(digest)})


def forget_imports(status: ImageStreamStatus, imported: Collection[str]) -> ImageStreamStatus:
    """Return `status` without the import state of tags that are not `imported` any more.

    Their digests stay. One that is declared again starts anew.
    """
    changes = {"import_state": None, "conditions": ()}
    forgotten = {
        entry.tag: entry.model_copy(update=changes)
        for entry in status.tags
        if entry.import_state is not None and entry.tag not in imported
    }
    return replace_tags(status, forgotten)


def newest_image(stream: ImageStream, tag: str) -> str:
    """Return the digest that a tag names; empty when it names none."""
    newest = newest_event(stream, tag)
    return newest.image if newest is not None else ""


def newest_event(stream: ImageStream, tag: str) -> TagEvent | None:
    """Return what a tag names now; None when it names nothing."""
    history = stream.status.tag(tag)
    return history.latest if history is not None else None


def mapped(
    stream: ImageStream, mapping: ImageStreamMapping, now: datetime, *, proven: bool = False
) -> ImageStream:
    """Return the stream with the image of a mapping as the newest of its tag.

    `proven`: the image's registry gives it to the stream's namespace.
    """
    event = TagEvent(
        created=now,
        docker_image_reference=mapped_reference(stream, mapping),
        image=mapping.image.name,
        generation=stream.generation,
        unproven=None if proven else True,
    )
    return stream.with_status(record_image(stream.status, mapping.tag, event, changes={}))


def mapped_reference(stream: ImageStream, mapping: ImageStreamMapping) -> str:
    """Return where the image of a mapping lies: where it says, or in the stream's repository."""
    own = f"{stream.status.docker_image_repository}@{mapping.image.name}"
    return mapping.image.docker_image_reference or own


def without_declaration(stream: ImageStream, tag: str) -> ImageStream:
    """Return the stream with a tag that its spec declares no more."""
    declared = tuple(entry for entry in stream.spec.tags if entry.name != tag)
    return stream.model_copy(update={"spec": stream.spec.model_copy(update={"tags": declared})})


def without_record(stream: ImageStream, tag: str) -> ImageStream:
    """Return the stream with no history of a tag."""
    recorded = tuple(entry for entry in stream.status.tags if entry.tag != tag)
    return stream.with_status(stream.status.model_copy(update={"tags": recorded}))
