from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.image import (
    ImageStream,
    ImageStreamSpec,
    ImageStreamStatus,
    ImportState,
    NamedTagEventList,
    ReferencePolicy,
    TagEvent,
    TagReference,
)
from upwell.api.meta import Condition, ObjectMeta, ObjectReference
from upwell.oci import Digest
from upwell.policy.images.imported import MAX_HISTORY
from upwell.policy.images.streams import (
    StreamTag,
    forget_imports,
    pinned,
    record_image,
    replace_tag,
    resolve_tag,
    take_push,
    take_pushes,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
OLD, NEW = str(Digest.of(b"old")), str(Digest.of(b"new"))
INSIDE = "registry.internal:5000/shop/debian"
FAILED = Condition(type="ImportSuccess", status="False", reason="Unavailable")


def event(digest: str, *, at: datetime = NOW, where: str = "vendor.example/debian") -> TagEvent:
    return TagEvent(created=at, docker_image_reference=f"{where}@{digest}", image=digest)


def status(*items: TagEvent, **entry: object) -> ImageStreamStatus:
    history = NamedTagEventList(tag="11").model_copy(update={"items": items, **entry})
    return ImageStreamStatus(docker_image_repository=INSIDE, tags=(history,))


def stream(policy: str | None, of: ImageStreamStatus) -> ImageStream:
    how = ReferencePolicy(type=policy) if policy else ReferencePolicy()
    tag = TagReference(name="11", reference_policy=how)
    return ImageStream(
        metadata=ObjectMeta(name="debian", namespace="shop"),
        spec=ImageStreamSpec(tags=(tag,)),
        status=of,
    )


def digests(of: ImageStreamStatus, tag: str = "11") -> list[str]:
    history = of.tag(tag)
    return [entry.image for entry in history.items] if history else []


@pytest.mark.parametrize(
    ("name", "namespace", "expected"),
    [
        ("debian:11", None, StreamTag("shop", "debian", "11")),
        ("debian", None, StreamTag("shop", "debian", "latest")),
        ("debian:", "other", StreamTag("other", "debian", "latest")),
    ],
)
def test_a_reference_names_stream_and_tag(
    name: str, namespace: str | None, expected: StreamTag
) -> None:
    reference = ObjectReference(kind="ImageStreamTag", name=name, namespace=namespace)
    assert StreamTag.of(reference, "shop") == expected
    assert expected.stream_name.repository == f"{expected.namespace}/debian"


@pytest.mark.parametrize(
    ("name", "namespace", "expected"),
    [
        ("11", None, "shop/debian:11"),
        ("11", "other", "other/debian:11"),
        ("node:20", None, "shop/node:20"),
        ("node:20", "other", "other/node:20"),
    ],
)
def test_a_tag_may_name_a_tag_of_its_own_stream(
    name: str, namespace: str | None, expected: str
) -> None:
    reference = ObjectReference(kind="ImageStreamTag", name=name, namespace=namespace)
    stream = ImageStream(metadata=ObjectMeta(namespace="shop", name="debian"))
    assert str(StreamTag.source_in(stream, reference)) == expected


NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-_", min_size=1)


@given(NAMES, NAMES, NAMES)
def test_every_stream_tag_survives_its_text_and_its_reference(
    namespace: str, stream: str, tag: str
) -> None:
    named = StreamTag(namespace, stream, tag)
    assert StreamTag.parse(str(named)) == named
    assert StreamTag.of(named.reference, "elsewhere") == named
    assert StreamTag.named(named.name, namespace) == named


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("Source", f"vendor.example/debian@{NEW}"),
        (None, f"vendor.example/debian@{NEW}"),
        ("Local", f"{INSIDE}@{NEW}"),
    ],
)
def test_the_reference_policy_says_where_an_image_is_pulled_from(
    policy: str | None, expected: str
) -> None:
    assert resolve_tag(stream(policy, status(event(NEW), event(OLD))), "11") == expected


def test_a_tag_without_an_image_stands_for_nothing() -> None:
    assert resolve_tag(stream(None, status()), "11") is None
    assert resolve_tag(stream(None, status(event(NEW))), "12") is None


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (f"vendor.example/debian@{NEW}", f"vendor.example/debian@{NEW}"),
        ("vendor.example/debian:11", f"vendor.example/debian@{NEW}"),
        ("NO REFERENCE", "NO REFERENCE"),
    ],
)
def test_an_event_is_pinned_by_its_digest(reference: str, expected: str) -> None:
    assert pinned(event(NEW).model_copy(update={"docker_image_reference": reference})) == expected


def test_a_new_image_goes_first_and_clears_what_failed() -> None:
    after = record_image(status(event(OLD), conditions=(FAILED,)), "11", event(NEW), changes={})
    assert digests(after) == [NEW, OLD]
    history = after.tag("11")
    assert history is not None
    assert history.conditions == ()


def test_the_same_image_is_no_new_event_but_may_come_from_elsewhere() -> None:
    again = event(NEW, at=LATER, where="mirror.example/debian")
    after = record_image(status(event(NEW), event(OLD)), "11", again, changes={})
    history = after.tag("11")
    assert history is not None
    assert digests(after) == [NEW, OLD]
    assert history.items[0].created == NOW
    assert history.items[0].docker_image_reference == f"mirror.example/debian@{NEW}"


def test_an_image_that_comes_back_is_an_event_of_its_own() -> None:
    after = record_image(status(event(NEW), event(OLD)), "11", event(OLD, at=LATER), changes={})
    assert digests(after) == [OLD, NEW, OLD]


def test_who_has_imported_an_image_by_hand_has_brought_it_in_when_it_comes_back() -> None:
    by_hand = event(OLD).model_copy(update={"requested_by": "ann"})
    after = record_image(status(event(NEW), by_hand), "11", event(OLD, at=LATER), changes={})
    history = after.tag("11")
    assert history is not None
    assert history.items[0].requested_by == "ann"


def test_a_history_has_an_end() -> None:
    found = ImageStreamStatus()
    for number in range(MAX_HISTORY + 5):
        digest = str(Digest.of(str(number).encode()))
        found = record_image(found, "11", event(digest), changes={})
    assert len(digests(found)) == MAX_HISTORY
    assert digests(found)[0] == str(Digest.of(str(MAX_HISTORY + 4).encode()))


def test_tags_stay_in_order() -> None:
    found = ImageStreamStatus()
    for name in ("b", "c", "a", "b"):
        found = replace_tag(found, NamedTagEventList(tag=name))
    assert [entry.tag for entry in found.tags] == ["a", "b", "c"]


def test_a_push_is_an_image_of_the_internal_registry() -> None:
    before = status(event(OLD).model_copy(update={"generation": 4}))
    history = take_push(before, INSIDE, "11", Digest.parse(NEW), LATER).tag("11")
    assert history is not None
    expected = event(NEW, at=LATER, where=INSIDE).model_copy(update={"generation": 4})
    assert (history.items[0], history.pushed_digest) == (expected, NEW)
    first = take_push(ImageStreamStatus(), INSIDE, "11", Digest.parse(NEW), LATER).tag("11")
    assert first is not None
    assert first.items[0].generation == 1


def test_many_pushes_are_taken_as_one_after_another_and_what_is_known_is_left() -> None:
    before = status(event(OLD), pushed_digest=OLD)
    pushed = [(tag, Digest.parse(digest)) for tag in ("9", "11", "10") for digest in (NEW,)]
    expected = before
    for tag, digest in pushed:
        expected = take_push(expected, INSIDE, tag, digest, LATER)
    taken = take_pushes(before, INSIDE, pushed, LATER)
    assert taken == expected
    assert [one.tag for one in taken.tags] == ["10", "11", "9"]
    assert take_pushes(taken, INSIDE, pushed, LATER + timedelta(hours=1)) is taken


def test_tens_of_thousands_of_pushes_are_taken_without_a_search_for_each() -> None:
    """Take so many that a search for each would be beyond this test's time."""
    pushed = [(f"v{number}", Digest.parse(NEW)) for number in range(12_000)]
    taken = take_pushes(ImageStreamStatus(), INSIDE, pushed, LATER)
    assert len(taken.tags) == len(pushed)
    assert take_pushes(taken, INSIDE, pushed, LATER) is taken


def test_what_is_imported_no_more_keeps_its_images_alone() -> None:
    before = status(event(OLD), conditions=(FAILED,), import_state=ImportState(source="x"))
    assert forget_imports(before, {"11"}) == before
    assert forget_imports(before, set()) == status(event(OLD), conditions=())
