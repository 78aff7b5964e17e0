"""Choice of the pulled images that may go: those that nothing names or has used for long."""

from datetime import UTC, datetime, timedelta

from upwell.oci import Digest, Reference
from upwell.policy.pruning.pulled_images import unneeded_images
from upwell.policy.pruning.rules import Rules
from upwell.workload.interface import InstanceImage

OLDEST = datetime(2026, 1, 8, tzinfo=UTC)
MANIFEST = Digest.of(b"the manifest of an index")


def image(name: str, days: float) -> InstanceImage:
    digest = Digest.of(name.encode())
    reference = Reference("registry.test", name, digest=digest)
    return InstanceImage(reference, frozenset({digest, MANIFEST}), OLDEST + timedelta(days=days))


def test_what_was_unused_for_long_goes_the_longest_unused_first() -> None:
    images = [image("now", 1), image("just", 0), image("late", -1), image("early", -2)]
    assert unneeded_images(images, frozenset(), OLDEST) == [images[3], images[2]]


def test_what_anything_names_by_any_of_its_digests_stays() -> None:
    old = image("old", -9)
    assert unneeded_images([old], {Digest.of(b"old")}, OLDEST) == []
    assert unneeded_images([old], {MANIFEST}, OLDEST) == []
    assert unneeded_images([old], {Digest.of(b"another")}, OLDEST) == [old]


def test_while_space_is_short_they_go_as_early_as_all_else() -> None:
    day, week = timedelta(days=1), timedelta(days=7)
    assert Rules(3, day, week).when_space_is_short == Rules(3, day, day)
    assert Rules(3, week, day).when_space_is_short == Rules(3, week, day)
    assert Rules(3, day, None).when_space_is_short == Rules(3, day, None)
