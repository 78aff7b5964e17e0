"""People who ask for imports: kept apart from the author by whose right the stream imports."""

from typing import Any

import pytest

from upwell.api.codec import decode_as
from upwell.api.image import ImageStream, TagReference
from upwell.api.values.author import IMPORT_REQUESTERS_ANNOTATION, author_of, authored_as
from upwell.policy.access.authority import Requester, authored
from upwell.policy.access.people.import_requesters import requester_of
from upwell.policy.access.rights import GrantedRights
from upwell.policy.access.roles import parse_grants
from upwell.policy.images.generations import settle_generations
from upwell.policy.images.repository_tags import GENERATION_ANNOTATION

OWN = {"name": "11", "from": {"kind": "DockerImage", "name": "vendor.test/debian:11"}}
OTHER = {"kind": "DockerImage", "name": "evil.test/debian:11"}
FOREIGN = {"name": "b", "from": {"kind": "ImageStreamTag", "namespace": "bank", "name": "base:1"}}


def requester(name: str, *grants: str) -> Requester:
    return Requester(name, GrantedRights(parse_grants(" ".join(grants))), person=f"p-{name}")


ADMIN = requester("adm", "admin@*")
BUILDER = requester("ann", "builder@shop")


def written(
    old: ImageStream | None, who: Requester, *tags: dict[str, Any], **annotations: str
) -> ImageStream:
    """Return a stream as the server stores it."""
    document = {
        "metadata": {"name": "debian", "namespace": "shop", "annotations": annotations},
        "spec": {"tags": list(tags)},
    }
    new = settle_generations(old, decode_as(ImageStream, document))
    generation = old.generation + 1 if old is not None else 1
    return authored(new, old, who).with_metadata(generation=generation)


def asked(stream: ImageStream, name: str = "11") -> str:
    return requester_of(stream, next(tag for tag in stream.spec.tags if tag.name == name))


def test_who_lacks_a_right_of_the_stream_has_asked_for_the_import_all_the_same() -> None:
    stream = written(None, ADMIN, OWN, FOREIGN)
    changed = written(stream, BUILDER, {**OWN, "from": OTHER}, FOREIGN)
    assert author_of(changed) == "adm", "it follows the other namespace by their right"
    assert asked(changed) == "p-ann"
    assert asked(changed, "b") == "p-adm"

    again = written(changed, ADMIN, {**OWN, "from": OTHER, "generation": 0}, FOREIGN)
    assert asked(again) == "p-adm"


def test_who_changes_something_else_has_not_asked() -> None:
    stream = written(None, ADMIN, OWN, FOREIGN)
    changed = written(stream, BUILDER, OWN, FOREIGN, {"name": "12", "from": OTHER})
    assert (asked(changed), asked(changed, "12")) == ("p-adm", "p-ann")


def test_nobody_writes_the_name_of_another() -> None:
    stream = written(None, ADMIN, OWN)
    told = {IMPORT_REQUESTERS_ANNOTATION: "2 p-adm\n1 p-ann"}
    changed = written(stream, BUILDER, {**OWN, "from": OTHER}, **told)
    assert asked(changed) == "p-ann"
    assert authored_as(decode_as(ImageStream, {"metadata": {"annotations": told}}), stream) == (
        authored_as(decode_as(ImageStream, {}), stream)
    )


def test_a_tag_without_an_import_takes_no_generation_that_comes() -> None:
    stream = written(None, ADMIN, OWN)
    holder = {"name": "mine", "generation": 3}
    prepared = written(stream, requester("ben", "builder@shop"), OWN, holder)
    changed = written(prepared, BUILDER, {**OWN, "from": OTHER}, holder)
    assert asked(changed) == "p-ann"


def test_who_asks_for_a_whole_repository_is_known() -> None:
    stream = written(None, ADMIN, OWN, FOREIGN)
    whole = {GENERATION_ANNOTATION: "1"}
    changed = written(stream, BUILDER, OWN, FOREIGN, **whole)
    assert requester_of(changed, TagReference(name="new", generation=1)) == "p-ann"
    assert asked(changed) == "p-adm"


@pytest.mark.parametrize("text", ["", "x y", "1", "repository", "repository x ann"])
def test_of_what_was_stored_before_the_author_has_asked(text: str) -> None:
    stream = written(None, ADMIN, OWN)
    stream = stream.with_metadata(
        annotations={**stream.annotations, IMPORT_REQUESTERS_ANNOTATION: text}
    )
    assert asked(stream) == "p-adm"
