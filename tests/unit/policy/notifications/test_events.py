"""Events of objects: reasons, warnings and messages."""

from datetime import UTC, datetime

from upwell.api.builds.build import Build, BuildStatus
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectMeta, Resource
from upwell.builder.interface import BuildError
from upwell.policy.builds.failures import retry_message
from upwell.policy.notifications.events import events_of


def reasons(resource: Resource) -> list[tuple[str, bool]]:
    return [(one.reason, one.warning) for one in events_of(resource)]


def test_builds_and_imports_tell_how_they_went() -> None:
    times = {
        "startTimestamp": "2026-01-01T00:00:00Z",
        "completionTimestamp": "2026-01-01T00:01:00Z",
    }
    failed = {**times, "phase": "Failed", "reason": "GenericBuildFailed", "message": "exit 1"}
    build = decode_as(Build, {"metadata": {"name": "shop-1"}, "status": failed})
    assert reasons(build) == [("BuildStarted", False), ("BuildFailed", True)]
    assert [one.message for one in events_of(build)][1] == (
        "build shop-1 failed: GenericBuildFailed: exit 1"
    )
    complete = decode_as(
        Build, {"metadata": {"name": "b"}, "status": {**times, "phase": "Complete"}}
    )
    assert reasons(complete)[1] == ("BuildCompleted", False)

    condition = {
        "type": "ImportSuccess",
        "status": "False",
        "message": "no such tag",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    stream = decode_as(
        ImageStream,
        {
            "metadata": {"name": "base"},
            "status": {"tags": [{"tag": "12", "conditions": [condition]}]},
        },
    )
    assert reasons(stream) == [("ImportFailed", True)]


def test_an_outage_makes_one_event_of_a_build_however_often_it_is_tried() -> None:
    records = []
    for attempt in (1, 2):
        error = BuildError("PullBuilderImageFailed", "Failed pulling builder image. It is away")
        at = datetime(2026, 1, 1, attempt, tzinfo=UTC)
        status = BuildStatus(
            attempts=attempt,
            start_timestamp=at,
            retry_time=at,
            reason=error.reason,
            message=retry_message(error, attempt + 1, at),
        )
        build = Build(metadata=ObjectMeta(name="shop-1", uid="1"), status=status)
        (record,) = [one for one in events_of(build) if one.reason == "BuildBackOff"]
        records.append((record.name(build), record.occasion, record.message, record.warning))
    assert records[0] == records[1]
    assert records[0][2] == (
        "build shop-1 is tried again: PullBuilderImageFailed:"
        " Failed pulling builder image. It is away."
    )
