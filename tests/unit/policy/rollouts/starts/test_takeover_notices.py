"""Time for which nothing is told of an object that takes a container's place."""

from datetime import UTC, datetime, timedelta

import pytest

from upwell.api.apps import Deployment
from upwell.api.meta import ObjectMeta, format_time
from upwell.policy.rollouts.starts.takeover import UNTIL_ANNOTATION, quiet_until

NOW = datetime(2026, 1, 10, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("created", "until", "quiet"),
    [
        (NOW - HOUR, NOW + HOUR, NOW + HOUR),
        (NOW - 3 * HOUR, NOW - HOUR, None),
        (NOW, NOW + 1000 * DAY, NOW + 2 * DAY),  # nobody hides an object for good
        (NOW - 30 * DAY, NOW + HOUR, None),  # nor one that has been there
    ],
)
def test_an_object_is_quiet_for_a_while_after_its_creation_alone(
    created: datetime, until: datetime, quiet: datetime | None
) -> None:
    annotations = {UNTIL_ANNOTATION: format_time(until)}
    metadata = ObjectMeta(name="web", creation_timestamp=created, annotations=annotations)
    assert quiet_until(Deployment(metadata=metadata), NOW) == quiet
