"""People who ask for imports: kept apart from the author by whose right the stream imports."""

from datetime import UTC, datetime
from typing import Any

import pytest

from upwell.api.codec import decode_as
from upwell.api.image import (
    ImageStream,
    ImportedChange,
    ImportState,
    NamedTagEventList,
    RepositoryImport,
    TagEvent,
    TagReference,
)
from upwell.api.values.author import (
    IMPORT_REQUESTERS_ANNOTATION,
    author_of,
    authored_as,
    people_in,
)
from upwell.oci import Digest
from upwell.policy.access.authority import Requester, authored
from upwell.policy.access.people.import_requesters import requester_of
from upwell.policy.access.rights import GrantedRights
from upwell.policy.access.roles import parse_grants
from upwell.policy.images.generations import settle_generations
from upwell.policy.images.import_request import PREFER_ARCH
from upwell.policy.images.repository_tags import (
    GENERATION_ANNOTATION,
    INSECURE_ANNOTATION,
    effective_tags,
)
from upwell.policy.images.selection import SELECTION_ANNOTATION
from upwell.policy.images.streams import StreamName, record_image
from upwell.reconcilers.images.tracking import take_sources

OWN = {"name": "11", "from": {"kind": "DockerImage", "name": "vendor.test/debian:11"}}
OTHER = {"kind": "DockerImage", "name": "evil.test/debian:11"}
FOREIGN = {"name": "b", "from": {"kind": "ImageStreamTag", "namespace": "bank", "name": "base:1"}}


def requester(name: str, *grants: str) -> Requester:
    return Requester(name, GrantedRights(parse_grants(" ".join(grants))), person=f"p-{name}")


ADMIN = requester("adm", "admin@*")
BUILDER = requester("ann", "builder@shop")
BEN = requester("ben", "builder@shop")
LEGACY = {"importMode": "Legacy"}


def written(
    old: ImageStream | None,
    who: Requester,
    *tags: dict[str, Any],
    repository: str | None = None,
    **annotations: str,
) -> ImageStream:
    """Return a stream as the server stores it."""
    document = {
        "metadata": {"name": "debian", "namespace": "shop", "annotations": annotations},
        "spec": {"tags": list(tags), "dockerImageRepository": repository},
    }
    new = settle_generations(old, decode_as(ImageStream, document))
    generation = old.generation + 1 if old is not None else 1
    made = authored(new, old, who).with_metadata(generation=generation)
    return made if old is None else made.with_status(old.status)


def imported(stream: ImageStream) -> ImageStream:
    """Return a stream all of whose imports have succeeded."""
    states = {one.name: ImportState(generation=one.generation or 0) for one in stream.spec.tags}
    tags = tuple(NamedTagEventList(tag=name, import_state=one) for name, one in states.items())
    return stream.with_status(stream.status.model_copy(update={"tags": tags}))


def listed(stream: ImageStream) -> ImageStream:
    """Return a stream whose repository was listed: it has the tag `11`."""
    source = stream.spec.docker_image_repository or ""
    found = RepositoryImport(source=source, tags=("11",))
    return stream.with_status(stream.status.model_copy(update={"repository": found}))


def asked(stream: ImageStream, name: str = "11") -> str:
    return requester_of(stream, next(tag for tag in effective_tags(stream) if tag.name == name))


def test_who_lacks_a_right_of_the_stream_has_asked_for_the_import_all_the_same() -> None:
    stream = imported(written(None, ADMIN, OWN, FOREIGN))
    changed = written(stream, BUILDER, {**OWN, "from": OTHER}, FOREIGN)
    assert author_of(changed) == "adm", "it follows the other namespace by their right"
    assert asked(changed) == "p-ann"
    assert asked(changed, "b") == "p-adm"

    again = written(imported(changed), ADMIN, {**OWN, "from": OTHER, "generation": 0}, FOREIGN)
    assert asked(again) == "p-adm"


def test_who_changes_something_else_has_not_asked() -> None:
    stream = written(None, ADMIN, OWN, FOREIGN)
    changed = written(stream, BUILDER, OWN, FOREIGN, {"name": "12", "from": OTHER})
    assert (asked(changed), asked(changed, "12")) == ("p-adm", "p-ann")


def test_nobody_writes_the_name_of_another() -> None:
    stream = written(None, ADMIN, OWN)
    told = {IMPORT_REQUESTERS_ANNOTATION: "2 p-adm\n1 p-ann"}
    changed = written(imported(stream), BUILDER, {**OWN, "from": OTHER}, **told)
    assert asked(changed) == "p-ann"
    assert authored_as(decode_as(ImageStream, {"metadata": {"annotations": told}}), stream) == (
        authored_as(decode_as(ImageStream, {}), stream)
    )


def test_a_tag_without_an_import_takes_no_generation_that_comes() -> None:
    stream = written(None, ADMIN, OWN)
    holder = {"name": "mine", "generation": 3}
    prepared = written(stream, BEN, OWN, holder)
    changed = written(imported(prepared), BUILDER, {**OWN, "from": OTHER}, holder)
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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {"annotations": {SELECTION_ANNOTATION: "semver: <2"}},
            {"annotations": {SELECTION_ANNOTATION: "semver: >=2"}},
        ),
        (
            {"importPolicy": LEGACY},
            {"importPolicy": LEGACY, "annotations": {PREFER_ARCH: "arm64"}},
        ),
        ({}, {"importPolicy": {"insecure": True}}),
        ({}, {"importPolicy": LEGACY}),
    ],
    ids=["selection", "platform", "insecure", "mode"],
)
def test_whoever_changes_which_image_it_brings_has_asked_for_the_import(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    stream = imported(written(None, BEN, {**OWN, **before}))
    assert asked(stream) == "p-ben"
    assert asked(written(stream, BUILDER, {**OWN, **after})) == "p-ann"


def test_all_who_have_asked_since_an_import_succeeded_count() -> None:
    bot = requester("ci", "builder@shop")
    stream = imported(written(None, BEN, OWN))
    changed = written(stream, BUILDER, {**OWN, "from": OTHER})
    again = written(changed, bot, {**OWN, "from": OTHER, "generation": 0})
    assert people_in(asked(again)) == ("p-ann", "p-ci")
    kept = written(again, BEN, {**OWN, "from": OTHER}, {"name": "12", "from": OTHER})
    assert people_in(asked(kept)) == ("p-ann", "p-ci")
    assert asked(written(imported(kept), BEN, {**OWN, "generation": 0})) == "p-ben"


def test_who_names_another_repository_has_asked_for_all_its_tags() -> None:
    stream = written(None, BEN, repository="vendor.test/debian")
    changed = listed(written(listed(stream), BUILDER, repository="evil.test/debian"))
    assert (asked(listed(stream)), asked(changed)) == ("p-ben", "p-ann")
    insecure = written(changed, BEN, repository="evil.test/debian", **{INSECURE_ANNOTATION: "true"})
    assert asked(insecure) == "p-ben"


def test_a_generation_below_a_repository_is_the_servers() -> None:
    stream = listed(written(None, BEN, repository="vendor.test/debian"))
    own = {"name": "11", "generation": 77}
    changed = written(stream, BUILDER, own, repository="vendor.test/debian")
    assert (changed.spec.tags[0].generation, asked(changed)) == (None, "p-ben")
    asks = {"name": "11", "generation": 0}
    assert people_in(asked(written(changed, BUILDER, asks, repository="vendor.test/debian"))) == (
        "p-ann",
        "p-ben",
    )
    selects = {"name": "11", "annotations": {SELECTION_ANNOTATION: "semver: *"}}
    assert "p-ann" in asked(written(stream, BUILDER, selects, repository="vendor.test/debian"))


def test_who_points_a_tag_at_another_has_chosen_what_that_has() -> None:
    """The schedule has brought it there: nobody else has asked for it."""
    now = datetime(2026, 11, 30, tzinfo=UTC)

    def event(mark: bytes, **more: Any) -> TagEvent:
        digest = str(Digest.of(mark))
        reference = f"registry.test/x@{digest}"
        return TagEvent(created=now, docker_image_reference=reference, image=digest, **more)

    change = ImportedChange(image="evil.test/x:1", digest=str(Digest.of(b"new")))
    mine = decode_as(ImageStream, {"metadata": {"name": "mine", "namespace": "shop"}})
    for one in (event(b"old", requested_by="p-ann"), event(b"new", imported=change)):
        mine = mine.with_status(record_image(mine.status, "x", one, changes={}))
    stream = imported(written(None, BEN, OWN))
    stream = stream.with_status(record_image(stream.status, "11", event(b"old"), changes={}))
    source = {"kind": "ImageStreamTag", "name": "mine:x"}
    changed = written(stream, BUILDER, {"name": "11", "from": source})
    known: dict[StreamName, ImageStream | None] = {
        StreamName("shop", "debian"): changed,
        StreamName("shop", "mine"): mine,
    }

    history = take_sources(changed, changed.status, known, now).tag("11")
    assert history is not None
    assert history.latest is not None
    assert history.latest.image == change.digest
    assert history.latest.imported is not None, "a change, that waits"
    assert history.latest.requested_by == "p-ann"
