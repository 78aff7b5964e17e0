"""Events of objects: reasons, warnings and messages."""

from upwell.api.build import Build
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
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
