"""Hints of webhooks: each is looked for until it is seen, and no longer."""

from datetime import UTC, datetime, timedelta

import pytest

from upwell.api.image import ImageStream, ImageStreamStatus, ImportState, NamedTagEventList
from upwell.api.meta import Condition, ObjectKey, ObjectMeta
from upwell.oci import Digest
from upwell.reconcilers.images.hints import Hint, ImportHints

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = Digest.of(b"old"), Digest.of(b"new")
FAILED = Condition(type="ImportSuccess", status="False")


def stream(upstream: Digest, *conditions: Condition) -> ImageStream:
    state = ImportState(upstream_digest=str(upstream))
    tag = NamedTagEventList(tag="11", import_state=state, conditions=conditions)
    metadata = ObjectMeta(name="debian", namespace="default")
    return ImageStream(metadata=metadata, status=ImageStreamStatus(tags=(tag,)))


KEY: ObjectKey = stream(OLD).key


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        pytest.param(stream(OLD), [0.015, 0.045, 0.14, 0.4, 1.2, 3.6], id="the old image"),
        pytest.param(stream(OLD, FAILED), [0.1, 0.5], id="an error"),
    ],
)
def test_upstream_is_asked_again_with_growing_pauses(
    answered: ImageStream, expected: list[float]
) -> None:
    hints = ImportHints()
    hints.add(KEY, "11", Hint(NOW, NEW))
    now, pauses = NOW, []
    while taken := hints.take(KEY, now):
        hints.repeat_unseen(answered, taken, now)
        due = hints.next_due(KEY)
        if due is None:
            break
        assert hints.take(KEY, now) == {}
        pauses.append((due - now).total_seconds())
        now = due
    assert pauses == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        pytest.param(stream(NEW), NEW, id="seen"),
        pytest.param(stream(OLD), None, id="no digest told"),
        pytest.param(ImageStream(), NEW, id="tag gone"),
    ],
)
def test_a_hint_ends(seen: ImageStream, told: Digest | None) -> None:
    hints = ImportHints()
    hints.add(KEY, "11", Hint(NOW, told))
    hints.repeat_unseen(seen, hints.take(KEY, NOW), NOW)
    assert hints.next_due(KEY) is None


def test_a_hint_that_came_meanwhile_stays_in_force() -> None:
    hints = ImportHints()
    hints.add(KEY, "11", Hint(NOW, OLD))
    taken = hints.take(KEY, NOW)
    newer = Hint(NOW + timedelta(seconds=1), NEW)
    hints.add(KEY, "11", newer)
    hints.put_back(KEY, taken)
    assert hints.take(KEY, newer.due) == {"11": newer}
