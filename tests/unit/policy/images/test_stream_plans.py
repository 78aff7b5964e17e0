"""Plans of streams: requests to upstream, and the status that the answers make."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from upwell.api.image import (
    ImageStream,
    ImageStreamSpec,
    ImageStreamStatus,
    ImportPolicy,
    ImportState,
    NamedTagEventList,
    RepositoryImport,
    TagEvent,
    TagReference,
)
from upwell.api.meta import Condition, ObjectMeta, ObjectReference
from upwell.oci import Digest
from upwell.policy.images.checks import ImportCheck, is_news, with_checks
from upwell.policy.images.import_request import request_of
from upwell.policy.images.outcome import TagOutcome
from upwell.policy.images.schedule import AT_ONCE, INTERVAL_ANNOTATION, ImportSchedule
from upwell.policy.images.stream_plan import StreamAnswers, StreamPlan, fold_answers, plan_stream

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOST = "registry.internal:5000"
SCHEDULE = ImportSchedule()
SOURCE = "vendor.example/debian"


def tag(name: str, source: str | None = SOURCE, *, scheduled: bool = True) -> TagReference:
    return TagReference(
        name=name,
        from_=ObjectReference(kind="DockerImage", name=f"{source}:{name}") if source else None,
        import_policy=ImportPolicy(scheduled=scheduled),
    )


def imported(name: str, due: datetime | None) -> NamedTagEventList:
    """The history of a tag whose last import was as the spec asks for."""
    source = f"{SOURCE}:{name}"
    state = ImportState(
        source=source,
        next_check_time=due,
        last_check_time=NOW - timedelta(minutes=15),
        interval=SCHEDULE.interval.total_seconds(),
    )
    return NamedTagEventList(tag=name, import_state=state)


def stream(*tags: TagReference, status: ImageStreamStatus | None = None) -> ImageStream:
    return ImageStream(
        metadata=ObjectMeta(name="debian", namespace="shop", uid="u"),
        spec=ImageStreamSpec(tags=tags),
        status=status or ImageStreamStatus(),
    )


def plan(found: ImageStream) -> StreamPlan:
    return plan_stream(found, SCHEDULE, HOST, NOW - timedelta(days=1), NOW)


def test_a_tag_that_was_never_imported_is_due_at_once_and_one_without_source_never() -> None:
    asked = plan(stream(tag("11"), tag("own", None)))
    assert asked.due == {"11": AT_ONCE}
    assert [one.name for one in asked.imports(NOW)] == ["11"]
    assert asked.listing is None
    assert not asked.lists(NOW)


def test_the_next_look_is_at_the_first_that_is_due() -> None:
    soon, later = NOW + timedelta(minutes=1), NOW + timedelta(minutes=9)
    status = ImageStreamStatus(tags=(imported("11", later), imported("12", soon)))
    asked = plan(stream(tag("11"), tag("12"), status=status))
    assert asked.next_due == soon
    assert asked.imports(NOW) == []
    assert [one.name for one in asked.imports(soon)] == ["12"]
    assert plan(stream()).next_due is None


def test_a_check_that_was_not_written_moves_the_next_one_of_the_same_source_alone() -> None:
    overdue = NOW - timedelta(minutes=1)
    status = ImageStreamStatus(tags=(imported("11", overdue), imported("12", overdue)))
    found = stream(tag("11"), tag("12"), status=status)
    later = NOW + timedelta(minutes=10)
    pause = SCHEDULE.interval.total_seconds()
    checks = {
        "11": ImportCheck(f"{SOURCE}:11", 0, overdue, later, pause),
        "12": ImportCheck("elsewhere.example/debian:12", 0, overdue, later, pause),
    }
    asked = plan_stream(found, SCHEDULE, HOST, NOW - timedelta(days=1), NOW, checks)
    assert asked.due == {"11": later, "12": overdue}
    checked = with_checks(found, checks)
    assert plan(checked) == asked


def test_a_plan_after_checks_without_news_is_that_of_another_look() -> None:
    planned = NOW - timedelta(minutes=1)
    status = ImageStreamStatus(tags=(imported("a", planned), imported("b", planned)))
    found = stream(tag("a"), tag("b"), status=status)
    seconds = SCHEDULE.interval.total_seconds()
    check = ImportCheck(f"{SOURCE}:a", 0, NOW, NOW + SCHEDULE.interval, seconds)
    started = NOW - timedelta(days=1)
    again = plan_stream(found, SCHEDULE, HOST, started, NOW, {"a": check})
    after = plan(found).after({"a": check})
    assert (after.due, after.next_due) == (again.due, again.next_due)
    unscheduled = plan(found).after({"a": replace(check, following=None, interval=None)})
    assert unscheduled.due == {"b": planned}


STATE = ImportState(
    source=f"{SOURCE}:a",
    upstream_digest="sha256:index",
    imported_digest="sha256:child",
    last_check_time=NOW - timedelta(minutes=15),
    interval=900,
)
EVENT = TagEvent(created=NOW, docker_image_reference=SOURCE, image="sha256:child")
KNOWN = NamedTagEventList(tag="a", items=(EVENT,), import_state=STATE)


def checked(**changes: object) -> NamedTagEventList:
    return KNOWN.model_copy(update={"import_state": STATE.model_copy(update=changes)})


def test_a_check_that_found_what_a_tag_has_is_no_news() -> None:
    following = NOW + SCHEDULE.interval
    check = ImportCheck.without_news(KNOWN, NOW, following, 900)
    assert check == ImportCheck(STATE.source, 0, NOW, following, 900)
    times = {"last_check_time": NOW, "next_check_time": following}
    assert not is_news(STATE, STATE.model_copy(update=times))


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(checked(failures=1), id="the check before failed"),
        pytest.param(checked(requested_by="ada"), id="somebody asked for it"),
        pytest.param(checked(interval=60), id="another interval"),
        pytest.param(checked(last_check_time=None), id="its time is not known"),
        pytest.param(checked(last_check_time=NOW), id="the clock stands, or was ahead"),
        pytest.param(checked(imported_digest="sha256:other"), id="another image is in force"),
        pytest.param(KNOWN.model_copy(update={"items": ()}), id="it has no image"),
        pytest.param(KNOWN.model_copy(update={"import_state": None}), id="it was not imported"),
        pytest.param(
            KNOWN.model_copy(update={"conditions": (Condition(type="a", status="False"),)}),
            id="a fault is told of it",
        ),
    ],
)
def test_a_check_changes_more_than_its_time_where(history: NamedTagEventList) -> None:
    assert ImportCheck.without_news(history, NOW, None, 900) is None


def test_a_hint_makes_an_import_due_but_not_that_of_a_tag_without_source() -> None:
    status = ImageStreamStatus(tags=(imported("11", NOW + timedelta(hours=1)),))
    asked = plan(stream(tag("11"), tag("own", None), status=status))
    assert [one.name for one in asked.imports(NOW, {"11", "own"})] == ["11"]


def test_what_fell_due_while_no_server_ran_is_spread_the_same_way_each_time() -> None:
    status = ImageStreamStatus(tags=(imported("11", NOW - timedelta(hours=1)),))
    found = stream(tag("11"), status=status)
    one, again = (plan_stream(found, SCHEDULE, HOST, NOW, NOW) for _ in range(2))
    assert one == again
    assert NOW <= one.due["11"] <= NOW + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("known", "due"),
    [
        (None, AT_ONCE),
        (RepositoryImport(source="vendor.example/other", next_check_time=NOW), AT_ONCE),
        (RepositoryImport(source=SOURCE, next_check_time=NOW), NOW),
        (RepositoryImport(source=SOURCE), None),
    ],
)
def test_a_repository_is_listed_when_its_time_has_come(
    known: RepositoryImport | None, due: datetime | None
) -> None:
    spec = ImageStreamSpec(docker_image_repository=SOURCE)
    found = stream(status=ImageStreamStatus(repository=known)).model_copy(update={"spec": spec})
    asked = plan(found)
    assert asked.listing == due
    assert asked.lists(NOW) == (due is not None)


def test_a_repositorys_answer_counts_if_the_spec_still_asks_for_it() -> None:
    spec = ImageStreamSpec(docker_image_repository=SOURCE)
    found = stream().model_copy(update={"spec": spec})
    here, other = (RepositoryImport(source=s, tags=("11",)) for s in (SOURCE, f"{SOURCE}x"))
    taken = fold_answers(found, StreamAnswers(repository=here), SCHEDULE, NOW)
    assert taken.repository is not None
    assert taken.repository.tags == ("11",)
    assert fold_answers(found, StreamAnswers(repository=other), SCHEDULE, NOW).repository is None
    asked = plan(found.with_status(taken))
    assert [one.name for one in asked.imports(NOW)] == ["11"], "its tags are imported as well"
    gone = stream(status=taken)
    assert fold_answers(gone, StreamAnswers(), SCHEDULE, NOW).repository is None


def test_another_interval_moves_the_next_check() -> None:
    status = ImageStreamStatus(tags=(imported("11", NOW),))
    found = stream(tag("11"), status=status).with_metadata(annotations={INTERVAL_ANNOTATION: "1h"})
    state = fold_answers(found, StreamAnswers(), SCHEDULE, NOW).tags[0].import_state
    assert state is not None
    assert state.next_check_time == NOW + timedelta(minutes=45)
    unscheduled = stream(tag("11", scheduled=False), status=status)
    state = fold_answers(unscheduled, StreamAnswers(), SCHEDULE, NOW).tags[0].import_state
    assert state is not None
    assert state.next_check_time is None


def test_the_first_of_several_histories_of_a_tag_counts() -> None:
    first, second = imported("11", NOW), imported("11", NOW + timedelta(hours=1))
    status = ImageStreamStatus(tags=(first, second, imported("12", NOW)))
    assert status.by_tag()["11"] is first
    assert status.tag("11") is first
    assert set(status.by_tag()) == {"11", "12"}


def test_thousands_of_tags_take_their_answers_without_a_search_or_a_copy_for_each() -> None:
    """Take so many that either would be beyond this test's time."""
    tags = [tag(f"v{number}") for number in range(20_000)]
    outcomes = [TagOutcome(one.name, state_of(one), image_of(one)) for one in tags]
    found = stream(*tags)
    status = fold_answers(found, StreamAnswers(outcomes), SCHEDULE, NOW)
    assert len(status.tags) == len(tags)
    assert all(one.latest is not None for one in status.tags)
    left = fold_answers(stream(status=status), StreamAnswers(), SCHEDULE, NOW)
    assert [one.latest for one in left.tags] == [one.latest for one in status.tags]
    assert not any(one.import_state for one in left.tags), "the spec declares none of them any more"


def state_of(asked: TagReference) -> ImportState:
    """Return what an import of the tag notes."""
    request = request_of(asked)
    assert request is not None
    return ImportState(source=request.source, request=request.text)


def image_of(asked: TagReference) -> TagEvent:
    """Return the image that an import of the tag has found."""
    image = str(Digest.of(asked.name.encode()))
    return TagEvent(created=NOW, docker_image_reference=f"{SOURCE}@{image}", image=image)
