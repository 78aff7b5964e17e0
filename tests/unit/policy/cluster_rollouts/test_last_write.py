"""Events about the last write of images, by the note that it has left."""

from datetime import UTC, datetime, timedelta

from tests.support.cluster.memory_cluster import owned_by
from tests.support.cluster.workloads import noted, workload

from upwell.api.apps import Deployment
from upwell.policy.cluster_rollouts.last_write import LastWrite, last_write, owed_write
from upwell.policy.cluster_rollouts.note import NOTE_ANNOTATION, NOTE_PATH, RolloutNote

AT = datetime(2026, 5, 1, 12, 0, 0, 123456, UTC)
HOUR = timedelta(hours=1)


def kept(note: RolloutNote) -> RolloutNote:
    """Return the note as another process reads it."""
    return RolloutNote.of(noted(workload(Deployment), note))


def test_images_that_were_set_are_told_without_those_that_stayed() -> None:
    note = RolloutNote({"z": "two", "b": "one", "a": "three"}, since=AT, changed=("z", "b"))

    assert last_write(note) == LastWrite("ImageUpdated", "set z = two, b = one", AT)
    assert last_write(kept(note)) == last_write(note)


def test_images_that_were_put_back_are_told_with_those_that_failed() -> None:
    images, failed = {"z": "one", "b": "good", "a": "three"}, {"z": "two", "b": "bad"}
    note = RolloutNote(images, failed=failed, why="it crashed", since=AT, changed=("z", "b"))
    told = "z = two, b = bad failed: it crashed; z = one, b = good put back"

    assert last_write(note) == LastWrite("RolledBack", told, AT)
    assert last_write(kept(note)) == last_write(note)


def test_a_failure_of_another_container_is_not_told_again() -> None:
    note = RolloutNote(
        {"a": "good", "b": "new"}, failed={"a": "bad"}, why="it crashed", since=AT, changed=("b",)
    )

    assert last_write(note) == LastWrite("ImageUpdated", "set b = new", AT)


def test_what_is_owed_depends_on_its_age_and_not_on_who_has_set_it() -> None:
    note = RolloutNote({"a": "one"}, since=AT, changed=("a",))
    promoted = RolloutNote({"a": "one"}, since=AT, changed=("a",), promotion="uid")
    back = RolloutNote({"a": "one"}, failed={"a": "two"}, since=AT, changed=("a",), promotion="uid")

    assert owed_write(kept(note), AT + HOUR - timedelta(seconds=1)) == last_write(note)
    assert owed_write(kept(note), AT + HOUR) is None
    assert owed_write(kept(promoted), AT) == last_write(note)
    assert owed_write(kept(back), AT) == last_write(back)
    assert owed_write(kept(RolloutNote({"a": "one"}, since=AT)), AT) is None


def test_a_note_that_somebody_else_has_written_is_none() -> None:
    note = RolloutNote({"a": "one"}, since=AT, changed=("a",))
    theirs = workload(Deployment).with_metadata(
        annotations={NOTE_ANNOTATION: note.format()},
        managed_fields=(owned_by("kubectl", NOTE_PATH),),
    )

    assert RolloutNote.of(theirs) == RolloutNote()
