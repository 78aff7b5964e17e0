import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.image import (
    ImageStream,
    ImageStreamSpec,
    ImageStreamStatus,
    RepositoryImport,
    TagReference,
)
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.policy.images.repository_tags import (
    GENERATION_ANNOTATION,
    INSECURE_ANNOTATION,
    bulk_source,
    by_priority,
    effective_tags,
    plan_bulk_import,
    repository_generation,
)

SOURCE = "vendor.example/mysql"


def stream(*tags: TagReference, found: tuple[str, ...] = (), source: str = SOURCE) -> ImageStream:
    return ImageStream(
        metadata=ObjectMeta(name="mysql", annotations={INSECURE_ANNOTATION: "true"}),
        spec=ImageStreamSpec(tags=tags, docker_image_repository=source),
        status=ImageStreamStatus(repository=RepositoryImport(source=SOURCE, tags=found)),
    )


def test_the_order_is_openshifts() -> None:
    tags = ["zeta", "5.1", "v5.2", "5.1-rc1", "5.1.9", "5.1.10", "alpha", "latest", "5", "5.10"]
    expected = ["latest", "5.10", "v5.2", "5.1", "5.1-rc1", "5.1.10", "5.1.9", "5", "alpha", "zeta"]
    assert by_priority(tags) == expected


@given(st.lists(st.text("0123456789.v-a", min_size=1, max_size=6), max_size=20))
def test_the_order_loses_and_invents_nothing(tags: list[str]) -> None:
    assert sorted(by_priority(tags)) == sorted(set(tags))
    assert by_priority(reversed(tags)) == by_priority(tags)


def test_the_rest_beyond_the_limit_is_known_by_name() -> None:
    plan = plan_bulk_import([f"1.{minor}" for minor in range(60)], ())
    assert len(plan.imported) == 50
    assert plan.imported[0] == "1.59"
    assert plan.additional == tuple(f"1.{minor}" for minor in range(9, -1, -1))


def test_a_new_tag_of_high_priority_displaces_nothing() -> None:
    before = plan_bulk_import(["1.1", "1.2"], (), limit=2).imported
    plan = plan_bulk_import(["1.0", "1.1", "1.2", "1.3"], before, limit=2)
    assert plan.imported == ("1.3", "1.2", "1.1")
    assert plan.additional == ("1.0",)


def test_a_tag_that_is_gone_is_not_asked_for_any_more() -> None:
    assert plan_bulk_import(["1.2"], ("1.1", "1.2")).imported == ("1.2",)


def test_the_internal_registry_is_not_imported_from() -> None:
    assert bulk_source(stream(), "127.0.0.1:7080") == SOURCE
    assert bulk_source(stream(source="127.0.0.1:7080/a/b"), "127.0.0.1:7080") is None
    assert bulk_source(ImageStream(), "127.0.0.1:7080") is None


def test_declared_tags_come_before_discovered_ones() -> None:
    own = TagReference(name="5.7", from_=ObjectReference(kind="DockerImage", name="other:5.7"))
    holder = TagReference(name="latest", annotations={"a": "b"})
    tags = effective_tags(stream(own, holder, found=("latest", "5.7", "8.0")))
    assert [(tag.name, tag.imports) for tag in tags] == [
        ("5.7", "other:5.7"),
        ("latest", f"{SOURCE}:latest"),
        ("8.0", f"{SOURCE}:8.0"),
    ]
    assert tags[1].annotations == {"a": "b"}
    assert (tags[2].scheduled, tags[2].insecure) == (True, True)


def test_tags_of_an_earlier_repository_are_forgotten() -> None:
    assert effective_tags(stream(found=("8.0",), source="vendor.example/other")) == ()


@pytest.mark.parametrize(
    ("text", "count"), [("3", 3), ("", 0), ("-1", 0), ("x", 0), ("٣", 0), ("9" * 5000, 0)]
)
def test_how_often_the_import_was_asked_for_is_the_generation_of_its_tags(
    text: str, count: int
) -> None:
    asked = stream(found=("5.1",)).with_metadata(annotations={GENERATION_ANNOTATION: text})
    assert repository_generation(asked.annotations) == count
    (tag,) = effective_tags(asked)
    assert (tag.generation or 0) == count


def test_tags_of_signatures_are_no_images() -> None:
    signature = f"sha256-{'a' * 64}.sig"

    assert plan_bulk_import(["latest", signature], ()).imported == ("latest",)
