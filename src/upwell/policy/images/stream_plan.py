"""Plan of an ImageStream's imports, and what the answers make of its status."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zlib import crc32

from upwell.api.image import ImageStream, ImageStreamStatus, RepositoryImport, TagReference
from upwell.policy.images.import_request import request_of
from upwell.policy.images.outcome import TagOutcome
from upwell.policy.images.repository_tags import (
    bulk_source,
    effective_tags,
    repository_generation,
)
from upwell.policy.images.schedule import (
    AT_ONCE,
    ImportSchedule,
    due_at,
    next_check,
    spread_overdue,
)
from upwell.policy.images.streams import forget_imports, replace_tag

WHOLE = TagReference(name="")
"""Stands for a repository's list of tags where a schedule asks for a tag."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """Times at which each tag of a stream, and the list of its repository's tags, is due next."""

    tags: tuple[TagReference, ...]
    """Those declared, and those that the repository has besides."""
    due: Mapping[str, datetime]
    """By the names of tags that are imported again."""
    listing: datetime | None
    """None: there is no repository to list."""

    def imports(self, now: datetime, hints: Container[str] = ()) -> list[TagReference]:
        """Return the tags whose import is due; a hint makes one due at once."""
        return [tag for tag in self.tags if self._is_due(tag, now, hints)]

    def lists(self, now: datetime) -> bool:
        """Return True if the repository's list of tags is due."""
        return self.listing is not None and self.listing <= now

    @property
    def next_due(self) -> datetime | None:
        """Time at which something is due next; None: not until something changes."""
        listing = () if self.listing is None else (self.listing,)
        return min((*self.due.values(), *listing), default=None)

    def _is_due(self, tag: TagReference, now: datetime, hints: Container[str]) -> bool:
        if tag.name in hints:
            return tag.imports is not None
        due = self.due.get(tag.name)
        return due is not None and due <= now


@dataclass(frozen=True, slots=True)
class StreamAnswers:
    """Answers of upstream registries."""

    outcomes: Sequence[TagOutcome] = ()
    repository: RepositoryImport | None = None


def plan_stream(
    stream: ImageStream,
    schedule: ImportSchedule,
    internal_host: str,
    started: datetime,
    now: datetime,
) -> StreamPlan:
    """Return what `stream` asks of upstream; checks overdue at the start come one by one."""
    tags = effective_tags(stream)
    times = {tag.name: _due(stream, tag, schedule, started, now) for tag in tags}
    due = {name: time for name, time in times.items() if time is not None}
    return StreamPlan(tags, due, _listing(stream, internal_host, now))


def fold_answers(
    stream: ImageStream, answers: StreamAnswers, schedule: ImportSchedule, now: datetime
) -> ImageStreamStatus:
    """Return the status with the answers to the questions that the spec still asks.

    And with the next checks as the spec and annotations ask for them now.
    """
    status = _with_repository(stream, answers.repository, schedule)
    tags = effective_tags(stream.with_status(status))
    asked = {tag.name: request_of(tag) for tag in tags}
    status = forget_imports(status, {tag.name for tag in tags if tag.from_ is not None})
    for outcome in answers.outcomes:
        request = asked.get(outcome.tag)
        answered = (outcome.state.source, outcome.state.request)
        if request is not None and (request.source, request.text) == answered:
            status = outcome.fold_into(status, now)
    for tag in tags:
        status = _with_time(stream, status, tag, schedule)
    return status


def _due(
    stream: ImageStream,
    tag: TagReference,
    schedule: ImportSchedule,
    started: datetime,
    now: datetime,
) -> datetime | None:
    history = stream.status.tag(tag.name)
    due = due_at(tag, history.import_state if history is not None else None, now)
    if due is None:
        return None
    place = crc32(f"{stream.uid}/{tag.name}".encode()) / 2**32
    return spread_overdue(due, started, schedule.interval_of(stream, tag), place)


def _listing(stream: ImageStream, internal_host: str, now: datetime) -> datetime | None:
    source, state = bulk_source(stream, internal_host), stream.status.repository
    if source is None:
        return None
    generation = repository_generation(stream.annotations)
    if state is None or state.source != source or state.generation < generation:
        return AT_ONCE
    return next_check(state, now)


def _with_repository(
    stream: ImageStream, answer: RepositoryImport | None, schedule: ImportSchedule
) -> ImageStreamStatus:
    source = stream.spec.docker_image_repository
    known = answer if answer is not None and answer.source == source else stream.status.repository
    if known is None or known.source != source:
        return stream.status.model_copy(update={"repository": None})
    moved = schedule.moved(known, schedule.interval_of(stream, WHOLE))
    return stream.status.model_copy(update={"repository": moved})


def _with_time(
    stream: ImageStream, status: ImageStreamStatus, tag: TagReference, schedule: ImportSchedule
) -> ImageStreamStatus:
    history = status.tag(tag.name)
    state = history.import_state if history is not None else None
    if history is None or state is None or tag.imports is None:
        return status
    interval = schedule.interval_of(stream, tag) if tag.scheduled else None
    moved = schedule.moved(state, interval)
    if moved is state:
        return status
    return replace_tag(status, history.model_copy(update={"import_state": moved}))
