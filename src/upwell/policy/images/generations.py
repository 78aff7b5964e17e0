"""The generation of each declared tag: raised when its import changes or is asked for again."""

from upwell.api.image import ImageStream, TagReference


def settle_generations(old: ImageStream | None, new: ImageStream) -> ImageStream:
    """Return `new` with the generations of its tags as the server keeps them (image/v1).

    A tag whose import changed, or whose generation the user set to 0, gets the generation that
    the stream is about to have; any other keeps its own, whatever the user wrote.
    """
    known = {tag.name: tag for tag in old.spec.tags} if old is not None else {}
    coming = old.generation + 1 if old is not None else 1
    tags = tuple(_settled(known.get(tag.name), tag, coming) for tag in new.spec.tags)
    if tags == new.spec.tags:
        return new
    return new.model_copy(update={"spec": new.spec.model_copy(update={"tags": tags})})


def _settled(old: TagReference | None, new: TagReference, coming: int) -> TagReference:
    if old is not None and new.generation != 0 and _import_of(old) == _import_of(new):
        generation = old.generation
    elif new.from_ is None and new.generation != 0:
        return new  # an annotation holder imports nothing
    else:
        generation = coming
    if generation == new.generation:
        return new
    return new.model_copy(update={"generation": generation})


def _import_of(tag: TagReference) -> tuple[object, ...]:
    mode = tag.import_policy.import_mode if tag.import_policy else None
    return tag.from_, bool(tag.reference), mode
