"""Images that a running one stands on, by tags, Builds and layers."""

from tests.support.cluster.images import build, described, digest, stream

from upwell.policy.explain.ancestry import MOST_ANCESTORS, KnownImages, most_behind

DEBIAN = stream("base", "debian", v12=["d3", "d2", "d1"], v12_1=["d1"])


def told(known: KnownImages, image: str, **options: object) -> list[tuple[str, str, int]]:
    found = known.ancestors(digest(image), **options)  # type: ignore[arg-type]
    return [(one.tag, one.by, one.behind) for one in found]


def test_an_image_of_a_tag_is_behind_by_what_the_tag_got_since() -> None:
    known = KnownImages.of([DEBIAN], [], [])

    assert told(known, "d3") == [("base/debian:v12", "tag", 0)]
    assert told(known, "d2") == [("base/debian:v12", "tag", 1)]


def test_an_image_without_a_digest_is_not_taken_for_a_reference_of_a_tag() -> None:
    history = DEBIAN.status.tags[0]
    reference = history.items[0].model_copy(update={"image": ""})
    items = (*history.items, reference)
    status = DEBIAN.status.model_copy(
        update={"tags": (history.model_copy(update={"items": items}),)}
    )
    known = KnownImages.of([DEBIAN.with_status(status)], [], [])

    assert not known.is_known("")
    assert list(known.ancestors("")) == []


def test_the_tag_that_moved_furthest_counts_unless_the_pods_name_another() -> None:
    known = KnownImages.of([DEBIAN], [], [])

    assert told(known, "d1") == [("base/debian:v12", "tag", 2)]
    found = list(known.ancestors(digest("d1"), "registry.test/debian:v12.1"))
    assert [(one.tag, one.behind) for one in found] == [("base/debian:v12.1", 0)]


def test_a_build_tells_what_its_result_was_made_of() -> None:
    app = stream("shop", "app", latest=["a1"])
    known = KnownImages.of([DEBIAN, app], [build("shop", "app-1", "a1", "d2")], [])

    found = list(known.ancestors(digest("a1")))

    assert [(one.tag, one.by, one.behind) for one in found] == [
        ("shop/app:latest", "tag", 0),
        ("base/debian:v12", "build", 1),
    ]
    assert found[1].newest == digest("d3")
    assert most_behind(found) == 1


def test_the_lowest_layers_tell_what_an_image_stands_on() -> None:
    images = [
        described("d2", "l1"),
        described("python", "l1", "l2"),
        described("x", "l1", "l2", "l3"),
    ]
    python = stream("base", "python", v3=["newer", "python"])
    known = KnownImages.of([DEBIAN, python], [], images)

    assert told(known, "x") == [("base/python:v3", "layers", 1), ("base/debian:v12", "layers", 1)]


def test_layers_of_an_image_that_no_object_describes_count_too() -> None:
    known = KnownImages.of([DEBIAN], [], [described("d2", "l1")])
    layers = {digest("foreign"): [digest("l1"), digest("l9")]}

    assert not known.is_known(digest("foreign"))
    assert told(known, "foreign", layers=layers) == [("base/debian:v12", "layers", 1)]
    assert told(known, "foreign") == []


def test_layers_in_another_order_are_another_base() -> None:
    known = KnownImages.of([DEBIAN], [], [described("d2", "l1", "l2")])
    layers = {digest("foreign"): [digest("l2"), digest("l1"), digest("l9")]}

    assert told(known, "foreign", layers=layers) == []


def test_of_two_images_with_the_same_layers_the_one_of_a_tag_counts() -> None:
    images = [described("d2", "l1"), described("other", "l1")]
    known = KnownImages.of([DEBIAN], [], images)

    assert told(known, "y", layers={digest("y"): [digest("l1"), digest("l2")]}) == [
        ("base/debian:v12", "layers", 1)
    ]


def test_a_manifest_counts_as_the_index_that_has_it() -> None:
    known = KnownImages.of([DEBIAN], [], [described("d1", manifests=("d1-amd64", "d1-arm64"))])

    assert told(known, "d1-arm64") == [("base/debian:v12", "tag", 2)]


def test_tags_that_may_not_be_read_are_passed_over() -> None:
    app = stream("shop", "app", latest=["a2", "a1"])
    known = KnownImages.of([DEBIAN, app], [build("shop", "app-1", "a1", "d1")], [])

    assert told(known, "a1", may_read=lambda one: one == "shop") == [("shop/app:latest", "tag", 1)]
    assert told(known, "d1", may_read=lambda one: one == "shop") == []


def test_builds_that_stand_on_one_another_end() -> None:
    builds = [build("shop", f"b-{n}", f"i{n}", f"i{(n + 1) % 40}") for n in range(40)]
    images = stream("shop", "app", **{f"t{n}": [f"i{n}"] for n in range(40)})
    known = KnownImages.of([images], builds, [])

    assert len(told(known, "i0")) == MOST_ANCESTORS
