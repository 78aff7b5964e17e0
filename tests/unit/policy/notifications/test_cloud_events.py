"""CloudEvents of objects: types, ids that never change, audience and filters."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.codec import decode
from upwell.api.meta import Resource
from upwell.api.subscription import Subscription
from upwell.delivery.interface import Fate
from upwell.formats.cloud_events import CloudEvent, signature
from upwell.policy.notifications.cloud_events import (
    audience_of,
    cloud_events,
    subject_of,
)
from upwell.policy.notifications.subscriptions import NEWS_FOR, concerns, fate_of, is_news

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
UPWELL = "upwell.dev/v1alpha1"


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


def thing(api_version: str, kind: str, name: str, **fields: Any) -> Resource:
    metadata = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "creationTimestamp": at(0)}
    return decode({"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields})


def stream(*digests: str) -> Resource:
    """Return a stream whose tag had these digests, the newest first, a minute apart."""
    items = [
        {
            "created": at(len(digests) - number),
            "dockerImageReference": f"vendor.test/base@{digest}",
            "image": digest,
        }
        for number, digest in enumerate(digests)
    ]
    status = {"tags": [{"tag": "12", "items": items}]}
    return thing("image.openshift.io/v1", "ImageStream", "base", status=status)


def promotion(phase: str, **status: Any) -> Resource:
    spec = {"pipeline": "shop", "release": "shop-7", "stage": "dev"}
    return thing(UPWELL, "Promotion", "shop-7.dev", spec=spec, status={"phase": phase, **status})


def subscription(**spec: Any) -> Subscription:
    found = thing(UPWELL, "Subscription", "ci", spec=spec)
    assert isinstance(found, Subscription)
    return found


def types(resource: Resource) -> list[str]:
    return [event.type.removeprefix("dev.upwell.") for event in cloud_events(resource)]


def only(resource: Resource) -> CloudEvent:
    [event] = cloud_events(resource)
    return event


def test_an_image_change_names_the_old_and_the_new_digest() -> None:
    first, second = cloud_events(stream("sha256:b", "sha256:a"))
    assert (first.details["old"], first.details["new"]) == (None, "sha256:a")
    assert (second.details["old"], second.details["new"]) == ("sha256:a", "sha256:b")
    assert second.type == "dev.upwell.image.changed"
    assert second.subject == "shop/ImageStream/base"
    assert (second.details["stream"], second.details["tag"]) == ("base", "12")


def test_changes_of_one_second_are_told_in_their_order() -> None:
    # Whoever is told of them takes the last for what there is; times have whole seconds.
    made = stream("sha256:c", "sha256:b", "sha256:a").model_dump(mode="json")
    for item in made["status"]["tags"][0]["items"]:
        item["created"] = at(0)

    events = cloud_events(decode(made))

    assert [event.details["new"] for event in events] == ["sha256:a", "sha256:b", "sha256:c"]


def test_rollouts_of_one_second_are_told_in_their_order() -> None:
    revisions: list[dict[str, Any]] = [
        {
            "revision": number,
            "hash": f"h{number}",
            "created": at(0),
            "template": {"spec": {"containers": []}},
            "images": {"web": f"web@sha256:{number}"},
        }
        for number in (2, 1)
    ]
    workload = thing("apps/v1", "Deployment", "web", status={"revisions": revisions})

    begun = [event.details["revision"] for event in cloud_events(workload)]

    assert begun == [1, 2]


def test_the_json_form_is_cloudevents_1_0() -> None:
    event = only(stream("sha256:a"))
    document = json.loads(event.encode("https://upwell.test:7080"))
    assert document["specversion"] == "1.0"
    assert document["source"] == "https://upwell.test:7080"
    assert document["time"] == "2026-03-01T12:01:00Z"
    assert document["datacontenttype"] == "application/json"
    assert document["data"]["object"]["uid"] == "uid-base"
    # CloudEvents 1.0, 3.1: names of attributes are lower-case letters and digits.
    assert all(name.isalnum() and name == name.lower() for name in document)


@given(st.lists(st.sampled_from(["sha256:a", "sha256:b", "sha256:c"]), min_size=1, max_size=8))
def test_ids_stay_when_a_history_grows_and_none_is_given_twice(digests: list[str]) -> None:
    before = [event.id for event in cloud_events(stream(*digests))]
    after = [event.id for event in cloud_events(stream("sha256:d", *digests))]
    assert after[:-1] == before
    assert len(set(after)) == len(after)


def test_what_fails_to_be_imported_again_and_again_is_one_event() -> None:
    def failing(minute: float) -> Resource:
        condition = {
            "type": "ImportSuccess",
            "status": "False",
            "message": "no route",
            "lastTransitionTime": at(minute),
        }
        status = {"tags": [{"tag": "12", "conditions": [condition]}]}
        return thing("image.openshift.io/v1", "ImageStream", "base", status=status)

    assert only(failing(1)).id == only(failing(9)).id
    assert only(failing(1)).severity == "warning"


def test_a_build_that_failed_is_an_error() -> None:
    status = {
        "phase": "Failed",
        "reason": "Boom",
        "startTimestamp": at(1),
        "completionTimestamp": at(2),
    }
    build = thing("build.openshift.io/v1", "Build", "shop-1", status=status)
    assert types(build) == ["build.started", "build.failed"]
    assert [event.severity.value for event in cloud_events(build)] == ["info", "error"]


def rolled_back() -> Resource:
    """Return a workload whose third revision has failed; the second was rolled out anew."""

    def record(number: int, phase: str, live: float | None, begun: float) -> dict[str, Any]:
        return {
            "revision": number,
            "hash": f"h{number}",
            "template": {},
            "created": at(begun),
            "phase": phase,
            "images": {"web": f"x@sha256:{number}"},
            "cause": "image change",
        } | ({} if live is None else {"liveAt": at(live)})

    def condition(kind: str, status: str, reason: str) -> dict[str, Any]:
        return {"type": kind, "status": status, "reason": reason, "lastTransitionTime": at(9)}

    status = {
        "revisions": [record(3, "Failed", None, 8), record(2, "Complete", 1, 5)],
        "conditions": [
            condition("Progressing", "False", "ProgressDeadlineExceeded"),
            condition("RolledBack", "True", "RevisionFailed"),
        ],
    }
    return thing("apps/v1", "Deployment", "web", status=status)


def test_a_rollout_that_fails_and_one_that_serves_again() -> None:
    workload = rolled_back()
    assert types(workload) == [
        "rollout.started",
        "rollout.completed",
        "rollout.started",
        "rollout.failed",
        "rollout.rolledback",
    ]
    completed = next(e for e in cloud_events(workload) if e.type.endswith("completed"))
    # Revision 2 served before minute 5, when it was rolled out anew.
    assert completed.time == START + timedelta(minutes=5)
    assert completed.details["images"] == {"web": "x@sha256:2"}


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ({"severities": ["error"]}, ["rolledback"]),
        ({"types": ["dev.upwell.rollout.*"], "severities": ["error"]}, ["rolledback"]),
        ({"types": ["dev.upwell.rollout.failed"]}, ["failed"]),
        ({"types": ["dev.upwell.rollout.rolledback"]}, ["rolledback"]),
    ],
)
def test_a_rollout_that_was_put_back_is_one_notice(wanted: dict[str, Any], sent: list[str]) -> None:
    workload = rolled_back()
    asked, whole = subscription(filter=wanted), audience_of(workload)
    events = [one for one in cloud_events(workload) if fate_of(asked, whole, one) is Fate.SEND]
    assert [one.type.rpartition(".")[2] for one in events] == sent


def test_a_promotion_tells_its_way() -> None:
    waiting = promotion(
        "Waiting",
        waitingSince=at(1),
        message="approval: 0 of 1 approvals",
        conditions=[{"type": "Approved", "status": "False", "lastTransitionTime": at(1)}],
    )
    assert types(waiting) == ["promotion.waiting", "promotion.approvalneeded"]
    failed = promotion("Failed", waitingSince=at(1), started=at(2), ended=at(3), message="HTTP 500")
    assert types(failed) == ["promotion.started", "promotion.failed"]
    last = list(cloud_events(failed))[-1]
    assert last.message == "Promote of shop-7 in stage dev has failed: HTTP 500"
    assert last.severity == "error"
    assert (last.details["release"], last.details["stage"]) == ("shop-7", "dev")


def test_a_release_is_made_rejected_and_promoted() -> None:
    spec = {"pipeline": "shop", "number": 7, "components": [{"name": "web", "image": "x@sha256:a"}]}
    rejection = {"reason": "tests failed", "stage": "dev", "at": at(5)}
    rejected = thing(
        UPWELL, "Release", "shop-7", spec=spec, status={"phase": "Rejected", "rejection": rejection}
    )
    assert types(rejected) == ["release.created", "release.rejected"]
    verified = [{"name": "dev", "at": at(4)}, {"name": "production", "at": at(8)}]
    promoted = thing(
        UPWELL, "Release", "shop-7", spec=spec, status={"phase": "Promoted", "verified": verified}
    )
    assert types(promoted) == ["release.created", "release.promoted"]
    assert list(cloud_events(promoted))[-1].time == START + timedelta(minutes=8)


def test_what_lies_in_no_namespace_is_told_to_whom_it_concerns() -> None:
    def cluster(kind: str, **spec: Any) -> Resource:
        metadata = {"name": "x", "uid": "u", "creationTimestamp": at(0)}
        return decode({"apiVersion": UPWELL, "kind": kind, "metadata": metadata, "spec": spec})

    quarantine = cluster("Quarantine", digest="sha256:a", releases=["shop/web-3", "bank/gate-1"])
    assert types(quarantine) == ["base.quarantined"]
    assert subject_of(quarantine) == "Quarantine/x"
    audience = audience_of(quarantine)
    assert concerns(subscription(), audience)
    assert (
        fate_of(subscription(filter={"pipelines": ["web"]}), audience, only(quarantine))
        is Fate.SEND
    )
    elsewhere = cluster("Quarantine", digest="sha256:a", releases=["bank/gate-1"])
    assert not concerns(subscription(), audience_of(elsewhere))
    assert concerns(subscription(namespaces=["*"]), audience_of(elsewhere))
    assert concerns(subscription(), audience_of(cluster("Freeze")))
    assert not concerns(subscription(), audience_of(cluster("Freeze", namespaces=["bank"])))


@pytest.mark.parametrize(
    ("wanted", "fate"),
    [
        ({}, Fate.SEND),
        ({"types": ["dev.upwell.promotion.*"]}, Fate.SEND),
        ({"types": ["dev.upwell.build.*", "dev.upwell.promotion.failed"]}, Fate.SEND),
        ({"types": ["dev.upwell.image.changed"]}, Fate.SKIP),
        ({"severities": ["error"]}, Fate.SEND),
        ({"severities": ["info", "warning"]}, Fate.SKIP),
        ({"pipelines": ["shop"]}, Fate.SEND),
        ({"pipelines": ["bank"]}, Fate.SKIP),
        ({"types": ["*"], "severities": ["error"], "pipelines": ["bank"]}, Fate.SKIP),
    ],
)
def test_a_filter_chooses(wanted: dict[str, Any], fate: Fate) -> None:
    failed = promotion("Failed", ended=at(3))
    assert fate_of(subscription(filter=wanted), audience_of(failed), only(failed)) is fate


def test_a_filter_for_pipelines_wants_nothing_else() -> None:
    image = stream("sha256:a")
    wanted = subscription(filter={"pipelines": ["shop"]})
    assert fate_of(wanted, audience_of(image), only(image)) is Fate.SKIP


def test_with_a_digest_events_are_gathered() -> None:
    image = stream("sha256:a")
    daily = subscription(digest={"schedule": "0 8 * * *"})
    assert fate_of(daily, audience_of(image), only(image)) is Fate.GATHER


@pytest.mark.parametrize(
    ("made", "now", "news"),
    [
        (1.0, START + timedelta(minutes=2), True),
        (-1.0, START + timedelta(minutes=2), False),
        (1.0, START + NEWS_FOR + timedelta(minutes=2), False),
        # Made under a clock that was ahead: what has just happened is news.
        (-60.0, START - timedelta(minutes=59), True),
        (-60.0, START - timedelta(minutes=50), False),
    ],
)
def test_only_what_is_new_is_told(made: float, now: datetime, *, news: bool) -> None:
    event = CloudEvent(
        "id", "t", "s", START + timedelta(minutes=made), only(stream("sha256:a")).severity, ""
    )
    assert is_news(subscription(), event, now) is news


def test_a_body_is_signed_as_github_signs() -> None:
    # The example of GitHub's page "Validating webhook deliveries".
    assert signature(b"It's a Secret to Everybody", b"Hello, World!") == (
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    )
