"""Plan of an ImageStream's imports, and what the answers make of its status."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self
from zlib import crc32

from upwell.api.image import (
    ImageStream,
    ImageStreamStatus,
    NamedTagEventList,
    RepositoryImport,
    TagReference,
)
from upwell.policy.images.checks import (
    NO_CHECKS,
    WHOLE_REPOSITORY,
    ImportCheck,
    ImportChecks,
    is_news,
)
from upwell.policy.images.import_request import request_of
from upwell.policy.images.imported import with_changes
from upwell.policy.images.outcome import TagOutcome
from upwell.policy.images.repository_tags import (
    bulk_source,
    effective_tags,
    repository_generation,
)
from upwell.policy.images.schedule import (
    AT_ONCE,
    OVERDUE,
    ImportSchedule,
    due_at,
    next_check,
    spread_overdue,
)
from upwell.policy.images.streams import forget_imports, replace_tags

WHOLE = TagReference(name=WHOLE_REPOSITORY)
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
    early: Mapping[str, datetime] = field(default_factory=dict)
    """Times from which on a scheduled tag is asked for along with another one."""

    def imports(self, now: datetime, hints: Container[str] = ()) -> list[TagReference]:
        """Return the tags whose import is due; a hint makes one due at once.

        With a check that is due come those that soon are: the tags of a stream keep together,
        so that it is looked at once in an interval.
        """
        times = {**self.due, **self.early} if self._checks(now) else self.due
        return [tag for tag in self.tags if _is_due(tag, times, now, hints)]

    def lists(self, now: datetime) -> bool:
        """Return True if the repository's list of tags is due."""
        return self.listing is not None and self.listing <= now

    def after(self, checks: ImportChecks) -> Self:
        """Return the plan of the same stream after these checks, which have brought nothing new."""
        due = {name: one.following for name, one in checks.items() if one.following is not None}
        once = checks.keys() - due.keys()
        kept = {name: time for name, time in self.due.items() if name not in once}
        return replace(self, due={**kept, **due})

    @property
    def next_due(self) -> datetime | None:
        """Time at which something is due next; None: not until something changes."""
        listing = () if self.listing is None else (self.listing,)
        return min((*self.due.values(), *listing), default=None)

    def _checks(self, now: datetime) -> bool:
        return any(self.due[name] <= now for name in self.early)


def _is_due(
    tag: TagReference, times: Mapping[str, datetime], now: datetime, hints: Container[str]
) -> bool:
    if tag.name in hints:
        return tag.imports is not None
    due = times.get(tag.name)
    return due is not None and due <= now


@dataclass(frozen=True, slots=True)
class StreamAnswers:
    """Answers of upstream registries."""

    outcomes: Sequence[TagOutcome] = ()
    repository: RepositoryImport | None = None
    checks: ImportChecks = NO_CHECKS
    """Of the tags where upstream has what they have: nothing of them is written."""

    @property
    def has_outcomes(self) -> bool:
        """True unless all of them are checks without news."""
        return bool(self.outcomes) or self.repository is not None

    def are_news(self, status: ImageStreamStatus) -> bool:
        """Return True if they change more of a status than the times of checks."""
        known = status.repository
        if self.repository is not None and (known is None or is_news(known, self.repository)):
            return True
        histories = status.by_tag() if self.outcomes else {}
        return any(outcome.is_news(histories.get(outcome.tag)) for outcome in self.outcomes)


def plan_stream(
    stream: ImageStream,
    schedule: ImportSchedule,
    prefix: str,
    started: datetime,
    now: datetime,
    checks: ImportChecks = NO_CHECKS,
) -> StreamPlan:
    """Return what `stream` asks of upstream; streams overdue at the start come one by one.

    `checks` were made since its status was written.
    """
    tags = effective_tags(stream)
    states = {entry.tag: entry.import_state for entry in stream.status.tags}
    # By the stream, not the tag: all of it is asked for in one turn.
    place = crc32(stream.uid.encode()) / 2**32
    due: dict[str, datetime] = {}
    early: dict[str, datetime] = {}
    for tag in tags:
        state = states.get(tag.name)
        time = due_at(tag, state, now, checks.get(tag.name))
        if time is None:
            continue
        interval = schedule.interval_of(stream, tag)
        time = due[tag.name] = spread_overdue(time, started, interval, place)
        if tag.scheduled and state is not None and not state.failures and time > OVERDUE:
            early[tag.name] = time - interval * schedule.spread
    return StreamPlan(tags, due, _listing(stream, prefix, now, checks), early)


def fold_answers(
    stream: ImageStream, answers: StreamAnswers, schedule: ImportSchedule, now: datetime
) -> ImageStreamStatus:
    """Return the status with the answers to the questions that the spec still asks.

    And with the next checks as the spec and annotations ask for them now. What changes nothing but
    the time of a check is left out.
    """
    status = _with_repository(stream, answers.repository, schedule)
    tags = effective_tags(stream.with_status(status))
    asked = {tag.name: request_of(tag) for tag in tags}
    status = with_changes(status)
    status = forget_imports(status, {tag.name for tag in tags if tag.from_ is not None})
    # Of thousands of tags, a search for each would be quadratic, and so would a copy for each.
    histories = status.by_tag()
    changed: dict[str, NamedTagEventList] = {}
    for outcome in answers.outcomes:
        request = asked.get(outcome.tag)
        answered = (outcome.state.source, outcome.state.request)
        if request is None or (request.source, request.text) != answered:
            continue
        history = changed.get(outcome.tag, histories.get(outcome.tag))
        if outcome.is_news(histories.get(outcome.tag)):
            changed[outcome.tag] = outcome.fold_into(history, now)
    for tag in tags:
        history = changed.get(tag.name, histories.get(tag.name))
        moved = _moved(stream, history, tag, schedule)
        if moved is not None:
            changed[tag.name] = moved
    return replace_tags(status, changed)


def checks_without_news(
    written: ImageStream, answers: StreamAnswers, before: ImportChecks
) -> dict[str, ImportCheck]:
    """Return the checks that `written` does not tell of, those of `answers` among them."""
    outcomes = {outcome.tag: outcome.state for outcome in answers.outcomes}
    found: dict[str, ImportCheck] = {}
    for entry in written.status.tags:
        stored, asked = entry.import_state, outcomes.get(entry.tag)
        if stored is None:
            continue
        kept = answers.checks.get(entry.tag) or before.get(entry.tag)
        if asked is not None:
            kept = None if is_news(stored, asked) else ImportCheck.of(asked)
        if kept is not None and kept.counts_for(stored):
            found[entry.tag] = kept
    listed, repository = written.status.repository, answers.repository
    kept = before.get(WHOLE_REPOSITORY)
    if listed is not None and repository is not None:
        kept = None if is_news(listed, repository) else ImportCheck.of(repository)
    if listed is not None and kept is not None and kept.counts_for(listed):
        found[WHOLE_REPOSITORY] = kept
    return found


def _listing(
    stream: ImageStream, prefix: str, now: datetime, checks: ImportChecks
) -> datetime | None:
    source, state = bulk_source(stream, prefix), stream.status.repository
    if source is None:
        return None
    generation = repository_generation(stream.annotations)
    if state is None or state.source != source or state.generation < generation:
        return AT_ONCE
    return next_check(state, now, checks.get(WHOLE_REPOSITORY))


def _with_repository(
    stream: ImageStream, answer: RepositoryImport | None, schedule: ImportSchedule
) -> ImageStreamStatus:
    source = stream.spec.docker_image_repository
    known = stream.status.repository
    if answer is not None and answer.source == source:
        told = known is None or is_news(known, answer)
        known = answer if told else known
    if known is None or known.source != source:
        return stream.status.model_copy(update={"repository": None})
    moved = schedule.moved(known, schedule.interval_of(stream, WHOLE))
    return stream.status.model_copy(update={"repository": moved})


def _moved(
    stream: ImageStream,
    history: NamedTagEventList | None,
    tag: TagReference,
    schedule: ImportSchedule,
) -> NamedTagEventList | None:
    """Return the history with the next check as it is asked for now; None if it has that one."""
    state = history.import_state if history is not None else None
    if history is None or state is None or tag.imports is None:
        return None
    interval = schedule.interval_of(stream, tag) if tag.scheduled else None
    moved = schedule.moved(state, interval)
    if moved is state:
        return None
    return history.model_copy(update={"import_state": moved})
