"""People who ask for the imports of ImageStreams: those who approve them are others; pure."""

from collections.abc import Mapping

from upwell.api.image import ImageStream, TagReference
from upwell.api.meta import Resource
from upwell.api.values.author import (
    REPOSITORY_IMPORT,
    author_person_of,
    import_requesters_of,
)
from upwell.policy.images.repository_tags import repository_generation


def asked_imports(resource: Resource, old: Resource | None, person: str) -> Mapping[str, str]:
    """Return who has asked for the imports of a stream as `person` writes it, by generations.

    That is whoever has changed a tag's import, or asked for it again, whether the stream acts by
    their right or not. Other objects have none. The generations are those that the server gives.
    """
    if not isinstance(resource, ImageStream):
        return {}
    before = old if isinstance(old, ImageStream) else None
    known = dict(import_requesters_of(before)) if before is not None else {}
    earlier = {one.name: one.generation for one in before.spec.tags} if before is not None else {}
    coming = before.generation + 1 if before is not None else 1
    in_use = {str(tag.generation) for tag in resource.spec.tags}
    listed = repository_generation(resource.annotations)
    in_use.add(_whole(listed))
    found = {key: name for key, name in known.items() if key in in_use}
    asked = [
        str(coming)
        for tag in resource.spec.tags
        if tag.generation == coming and earlier.get(tag.name) != coming
    ]
    if listed != (repository_generation(before.annotations) if before is not None else 0):
        asked.append(_whole(listed))
    for key in asked:
        found.pop(key, None)  # those who asked last come last
        found[key] = person
    return found


def requester_of(stream: ImageStream, tag: TagReference) -> str:
    """Return the person who has asked for a tag's import at its present generation; empty: nobody.

    Where nobody was kept, that is the stream's author.
    """
    declared = next((one for one in stream.spec.tags if one.name == tag.name), None)
    is_own = declared is not None and declared.generation == tag.generation
    generation = tag.generation or 0
    key = str(generation) if is_own else _whole(generation)
    return import_requesters_of(stream).get(key, "") or author_person_of(stream)


def _whole(generation: int) -> str:
    return f"{REPOSITORY_IMPORT}{generation}"
