"""People who ask for the imports of ImageStreams: those who approve them are others; pure."""

from collections.abc import Iterator, Mapping

from upwell.api.image import ImageStream, TagReference
from upwell.api.meta import Resource
from upwell.api.values.author import (
    REPOSITORY_IMPORT,
    author_person_of,
    import_requesters_of,
    people_text,
)
from upwell.policy.images.repository_tags import is_insecure, repository_generation


def asked_imports(resource: Resource, old: Resource | None, person: str) -> Mapping[str, str]:
    """Return who has asked for the imports of a stream as `person` writes it, by generations.

    That is whoever has changed what decides a tag's import, or asked for it again, whether the
    stream acts by their right or not; beside them, all who did so since an import has succeeded.
    Other objects have none. The generations are those that the server gives.
    """
    if not isinstance(resource, ImageStream):
        return {}
    before = old if isinstance(old, ImageStream) else None
    known = dict(import_requesters_of(before)) if before is not None else {}
    in_use = {str(tag.generation) for tag in resource.spec.tags}
    in_use.add(_whole(repository_generation(resource.annotations)))
    asked: dict[str, str] = {}
    for key, pending in _asked(resource, before, known):
        asked[key] = people_text(asked.get(key), pending, person)
    found = {key: one for key, one in known.items() if key in in_use and key not in asked}
    return found | asked  # those who asked last come last


def requester_of(stream: ImageStream, tag: TagReference) -> str:
    """Return the people who have asked for a tag's import at its present generation, one a line.

    Where nobody was kept, that is the stream's author. Empty: nobody.
    """
    known = import_requesters_of(stream)
    declared = next((one for one in stream.spec.tags if one.name == tag.name), None)
    people = known.get(str(declared.generation), "") if declared is not None else ""
    if declared is None or declared.from_ is None:
        listed = _whole(repository_generation(stream.annotations))
        people = people_text(people, known.get(listed))
    return people or author_person_of(stream)


def _asked(
    stream: ImageStream, before: ImageStream | None, known: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the keys of imports that are asked for, each with who has done so before in vain."""
    earlier = {one.name: one for one in before.spec.tags} if before is not None else {}
    coming = before.generation + 1 if before is not None else 1
    for tag in stream.spec.tags:
        was = earlier.get(tag.name)
        if tag.generation == coming and (was is None or was.generation != coming):
            is_open = before is not None and was is not None and not _succeeded(before, was)
            yield str(coming), known.get(str(was.generation), "") if is_open and was else ""
    listed = repository_generation(stream.annotations)
    was_listed = repository_generation(before.annotations) if before is not None else 0
    if listed != was_listed or _repository(stream) != _repository(before):
        is_open = before is not None and not _was_listed(before)
        yield _whole(listed), known.get(_whole(was_listed), "") if is_open else ""


def _succeeded(stream: ImageStream, tag: TagReference) -> bool:
    """Return True if a tag's import has succeeded since it was asked for."""
    history = stream.status.tag(tag.name)
    state = history.import_state if history is not None else None
    return (
        state is not None and state.generation == (tag.generation or 0) and not state.requested_by
    )


def _was_listed(stream: ImageStream) -> bool:
    """Return True if the repository was listed since that was asked for."""
    found = stream.status.repository
    if found is None or found.source != stream.spec.docker_image_repository:
        return False
    return found.generation >= repository_generation(stream.annotations)


def _repository(stream: ImageStream | None) -> object:
    """Return what decides which images a whole repository brings."""
    name = stream.spec.docker_image_repository if stream is not None else None
    return (name, is_insecure(stream)) if stream is not None and name else None


def _whole(generation: int) -> str:
    return f"{REPOSITORY_IMPORT}{generation}"
