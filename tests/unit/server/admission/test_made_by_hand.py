"""The mark of Releases that clients have written: the server sets it, and nobody takes it off."""

from upwell.api.meta import ObjectMeta
from upwell.api.promotion import BY_HAND_ANNOTATION, Release, ReleaseSpec
from upwell.server.admission.promotions import admitted


def release(**annotations: str) -> Release:
    metadata = ObjectMeta(name="shop-9", namespace="shop", annotations=annotations)
    return Release(metadata=metadata, spec=ReleaseSpec(pipeline="shop", number=9))


def test_a_release_of_a_client_is_marked_and_stays_so() -> None:
    made = admitted(release(note="x"), None, "ann")
    assert dict(made.annotations) == {"note": "x", BY_HAND_ANNOTATION: "true"}
    assert BY_HAND_ANNOTATION in admitted(release(), made, "ann").annotations


def test_nobody_marks_what_the_server_has_made() -> None:
    changed = admitted(release(**{BY_HAND_ANNOTATION: "true", "note": "x"}), release(), "ann")
    assert dict(changed.annotations) == {"note": "x"}
