"""The author of an object: kept on it by the server alone, and asked again when it acts; pure.

An object acts long after it was written, by the server's own right. So it keeps the name of whoever
stands for it: the last who changed its spec and had every right that the spec takes.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from upwell.api.meta import Resource

AUTHOR_ANNOTATION = "upwell.dev/author"
"""On an object that a client wrote, or that the server made of such a one: the token's name.

Without it the object is the administrator's: it was written before authors were kept."""

AUTHOR_PERSON_ANNOTATION = "upwell.dev/author-person"
"""Beside the author: the person whose token it was, where that names one. Kept by the server alone.

Rights are those of the token; the eyes are those of the person."""

AUTHOR_GROUPS_ANNOTATION = "upwell.dev/author-groups"
"""Beside an author who is a user of the cluster: their groups when they wrote it, one a line."""

ADMISSION_ANNOTATION = "upwell.dev/admission"
"""On a cluster: the id of the admission that has written the author. Where it is another, or none,
somebody else may have written it."""

CONTENT_AUTHORS_ANNOTATION = "upwell.dev/content-authors"
"""On a BuildConfig or Build: the names, one a line, of those who decide what it builds beside its
author: who uploaded, named the commit, set variables, or changed less than its author stands for.
Kept by the server alone."""

MADE_OF_ANNOTATION = "upwell.dev/made-of"
"""On a Build that the server has made of a BuildConfig: the uid of that. Kept by the server alone.

An ownerReference says it too, and is written by whoever writes the Build."""

WRITERS_ANNOTATION = "upwell.dev/writers"
"""On a Pipeline: the people who have written its spec, one a line, each behind the generation that
they found: `7 oidc:ada@example.com`. Kept by the server alone."""
IMPORT_REQUESTERS_ANNOTATION = "upwell.dev/import-requesters"
"""On an ImageStream: the people who have asked for the imports of its tags, one a line, each behind
the generation that the tags have since: `7 oidc:ada@example.com`; behind `repository 3`, whoever
has asked for the whole repository, the third time. Of one generation, all who have asked since the
last import that succeeded. Kept by the server alone.

They need not be the author, under whose authority the stream imports."""
REPOSITORY_IMPORT = "repository "
"""Begins the key of an import of a whole repository."""
_MAX_WRITERS = 500
"""Those who wrote last stay."""

_CLUSTER = "system:cluster-user:"
"""Begins the names of users of the cluster: what begins with `system:` is no token's name and no
person's."""
_MAX_GROUPS = 100
_MAX_GROUP_LETTERS = 8192
"""Of all together; whoever has more keeps the first."""


def author_of(resource: Resource) -> str:
    """Return the name of the author; empty: the administrator."""
    return resource.annotations.get(AUTHOR_ANNOTATION, "")


def author_person_of(resource: Resource) -> str:
    """Return the person that the author is: the token's own name where that names none."""
    return resource.annotations.get(AUTHOR_PERSON_ANNOTATION, "") or author_of(resource)


def cluster_author(user: str) -> str:
    """Return the name of an author who is a user of the cluster."""
    return f"{_CLUSTER}{user}"


def cluster_user_of(author: str) -> str | None:
    """Return the user of the cluster that an author is; None: the author is none."""
    return author.removeprefix(_CLUSTER) if author.startswith(_CLUSTER) else None


def author_groups_of(resource: Resource, author: str) -> tuple[str, ...]:
    """Return the groups that an author had; of others than the object's own author, none."""
    text = resource.annotations.get(AUTHOR_GROUPS_ANNOTATION, "")
    return tuple(text.split("\n")) if text and author == author_of(resource) else ()


def admission_of(resource: Resource) -> str:
    """Return the id of the admission that has written the author; empty: none has."""
    return resource.annotations.get(ADMISSION_ANNOTATION, "")


def content_authors_of(resource: Resource) -> tuple[str, ...]:
    """Return the names of those who decide what is built, besides the author."""
    text = resource.annotations.get(CONTENT_AUTHORS_ANNOTATION, "")
    return tuple(text.split("\n")) if text else ()


def made_of_uid(resource: Resource) -> str:
    """Return the uid of what the server has made the object of; empty: somebody else wrote it."""
    return resource.annotations.get(MADE_OF_ANNOTATION, "")


def with_made_of_uid[R: Resource](resource: R, uid: str) -> R:
    """Return the object as the server has made it of what has this uid; empty: of nothing."""
    return _annotated(resource, MADE_OF_ANNOTATION, uid)


def writers_of(resource: Resource) -> Mapping[str, int]:
    """Return who has written an object, and the generation that each found at the last time."""
    lines = resource.annotations.get(WRITERS_ANNOTATION, "").split("\n")
    found = (line.partition(" ") for line in lines)
    return {name: int(number) for number, _, name in found if name and number.isdecimal()}


def with_writers[R: Resource](resource: R, writers: Mapping[str, int]) -> R:
    """Return the object as these have written it."""
    kept = sorted(writers.items(), key=lambda one: one[1])[-_MAX_WRITERS:]
    text = "\n".join(f"{generation} {name}" for name, generation in kept)
    return _annotated(resource, WRITERS_ANNOTATION, text)


def people_in(text: str) -> tuple[str, ...]:
    """Return the people whom a text names, one a line."""
    return tuple(one for one in text.split("\n") if one)


def people_text(*texts: str | None) -> str:
    """Return the text of all people whom these name, each once."""
    return "\n".join(dict.fromkeys(one for text in texts for one in people_in(text or "")))


def import_requesters_of(resource: Resource) -> Mapping[str, str]:
    """Return who has asked for imports of an ImageStream, by their generations: one a line."""
    found: dict[str, str] = {}
    for line in resource.annotations.get(IMPORT_REQUESTERS_ANNOTATION, "").split("\n"):
        is_whole = line.startswith(REPOSITORY_IMPORT)
        start = len(REPOSITORY_IMPORT) if is_whole else 0
        number, _, name = line[start:].partition(" ")
        if name and number.isdecimal():
            key = f"{line[:start]}{number}"
            found[key] = people_text(found.get(key), name)
    return found


def with_import_requesters[R: Resource](resource: R, requesters: Mapping[str, str]) -> R:
    """Return the object as these have asked for its imports; those who did so last stay."""
    lines = [
        f"{generation} {name}"
        for generation, names in requesters.items()
        for name in people_in(names)
    ]
    text = "\n".join(lines[-_MAX_WRITERS:])
    return _annotated(resource, IMPORT_REQUESTERS_ANNOTATION, text)


def with_author[R: Resource](
    resource: R, author: str, person: str = "", *, groups: Iterable[str] = (), admission: str = ""
) -> R:
    """Return the object as `author` has written it; an empty one takes the name away.

    `person` is whose token the author is; empty: it names nobody, or has their name itself. On a
    cluster, `groups` are those of a user, and `admission` is the id of what has asked them.
    """
    texts = {
        AUTHOR_ANNOTATION: author,
        AUTHOR_PERSON_ANNOTATION: "" if person == author else person,
        AUTHOR_GROUPS_ANNOTATION: "\n".join(_bounded(groups)),
        ADMISSION_ANNOTATION: admission if author else "",
    }
    for key, text in texts.items():
        resource = _annotated(resource, key, text)
    return resource


def with_content_authors[R: Resource](resource: R, names: Iterable[str]) -> R:
    """Return the object as these decide its content, each named once; none: its author alone."""
    text = "\n".join(dict.fromkeys(name for name in names if name))
    return _annotated(resource, CONTENT_AUTHORS_ANNOTATION, text)


def authored_as[R: Resource](resource: R, other: Resource | None) -> R:
    """Return the object with the authors of another; None: with none.

    An earlier state of it says besides what the server has made it of.
    """
    earlier = other if isinstance(other, type(resource)) else None
    resource = with_made_of_uid(resource, made_of_uid(earlier) if earlier else "")
    if other is None:
        resource = with_import_requesters(resource, {})
        return with_writers(with_content_authors(with_author(resource, ""), ()), {})
    author = author_of(other)
    kept = with_author(
        resource,
        author,
        author_person_of(other),
        groups=author_groups_of(other, author),
        admission=admission_of(other),
    )
    kept = with_content_authors(kept, content_authors_of(other))
    kept = with_import_requesters(kept, import_requesters_of(earlier) if earlier else {})
    return with_writers(kept, writers_of(earlier) if earlier else {})


def made_of[R: Resource](made: R, source: Resource) -> R:
    """Return an object that the server makes of `source`, with the authors of that."""
    return authored_as(made, source)


def _bounded(groups: Iterable[str]) -> Iterator[str]:
    """Yield as many groups as an object keeps; fewer groups have fewer rights."""
    letters = 0
    for group in islice((one for one in dict.fromkeys(groups) if one.isprintable()), _MAX_GROUPS):
        letters += len(group)
        if letters > _MAX_GROUP_LETTERS:
            return
        yield group


def _annotated[R: Resource](resource: R, key: str, text: str) -> R:
    if resource.annotations.get(key, "") == text:
        return resource
    others = {name: value for name, value in resource.annotations.items() if name != key}
    return resource.with_metadata(annotations=others | {key: text} if text else others)
