"""The generation of each declared tag: raised when its import changes or is asked for again."""

from upwell.api.image import ImageStream, TagReference
from upwell.policy.images.import_request import request_of
from upwell.policy.images.repository_tags import implied_tag


def settle_generations(old: ImageStream | None, new: ImageStream) -> ImageStream:
    """Return `new` with the generations of its tags as the server keeps them (image/v1).

    A tag whose import changed, or whose generation the user set to 0, gets the generation that
    the stream is about to have; any other keeps its own, whatever the user wrote. What an import
    is includes all that decides which image it brings: options, a selection, and the repository
    of the stream.
    """
    coming = old.generation + 1 if old is not None else 1
    tags = tuple(_settled(old, tag, new, coming) for tag in new.spec.tags)
    if tags == new.spec.tags:
        return new
    return new.model_copy(update={"spec": new.spec.model_copy(update={"tags": tags})})


def _settled(
    before: ImageStream | None, tag: TagReference, stream: ImageStream, coming: int
) -> TagReference:
    old = _declared_before(before, tag)
    is_same = old is not None and _import_of(old, before) == _import_of(tag, stream)
    if old is not None and tag.generation != 0 and is_same:
        generation = old.generation
    elif _repository_of(tag, stream) is None and tag.from_ is None and tag.generation != 0:
        return tag  # an annotation holder imports nothing
    else:
        generation = coming
    if generation == tag.generation:
        return tag
    return tag.model_copy(update={"generation": generation})


def _declared_before(stream: ImageStream | None, tag: TagReference) -> TagReference | None:
    """Return a tag as it was: what nobody has declared is imported with the whole repository."""
    if stream is None:
        return None
    declared = next((one for one in stream.spec.tags if one.name == tag.name), None)
    if declared is None and tag.from_ is None and stream.spec.docker_image_repository:
        return TagReference(name=tag.name)
    return declared


def _import_of(tag: TagReference, stream: ImageStream | None) -> tuple[object, ...]:
    """Return all that decides which image a tag gets."""
    repository = _repository_of(tag, stream)
    if repository is not None and stream is not None:
        tag = implied_tag(tag, stream, repository)
    mode = tag.import_policy.import_mode if tag.import_policy else None
    return tag.from_, bool(tag.reference), mode, request_of(tag)


def _repository_of(tag: TagReference, stream: ImageStream | None) -> str | None:
    """Return the repository by which a tag without a source of its own is imported."""
    whole = stream.spec.docker_image_repository if stream is not None else None
    return whole or None if tag.from_ is None else None
