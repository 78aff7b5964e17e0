"""One tag's import: a question to its upstream, and what the answer makes of the tag's status."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.api.image import (
    IgnoredImage,
    Image,
    ImageStream,
    ImportedChange,
    ImportState,
    NamedTagEventList,
    PlatformDigest,
    TagEvent,
    TagReference,
)
from upwell.api.image_policies.policy import PolicyPoint
from upwell.oci import Digest, InvalidDigestError, InvalidReferenceError, MediaType, Reference
from upwell.policy.access.people.import_requesters import requester_of
from upwell.policy.images.checks import ImportCheck
from upwell.policy.images.import_request import ImportRequest, request_of
from upwell.policy.images.outcome import TagOutcome, failure, with_next_attempt
from upwell.policy.images.relevance import irrelevance
from upwell.policy.images.schedule import ImportSchedule
from upwell.policy.images.selection import InvalidSelectionError, TagSelection
from upwell.reconcilers.authority import UNASKED, Authority
from upwell.reconcilers.images.pull_rights import require_pull
from upwell.reconcilers.images.records import FIRST_SEEN_ANNOTATION, ImageRecords, is_unread
from upwell.reconcilers.signatures.policies import UNRESTRICTED, ImagePolicies
from upwell.reconcilers.signatures.questions import ImageQuestion
from upwell.registry.errors import InvalidAnswerError, RegistryError
from upwell.registry.interface import CredentialSource, Registry, RequestAccess

log = logging.getLogger(__name__)

SETTLING = timedelta(minutes=1)
"""So long after a change a registry may answer what the tag had before: some are consistent only
after a while, and so is what stands before several copies of one."""


class NoTagMatchesError(RegistryError):
    """The repository has no tag that a selection could choose; one may be pushed later."""

    reason = "NoTagMatches"

    def __init__(self, repository: str, selection: TagSelection, count: int) -> None:
        super().__init__(f"none of the {count} tags of {repository} fits {selection}")


@dataclass(frozen=True, slots=True)
class ImportTurn:
    """Turn of a stream, in which all that is due is asked."""

    logins: CredentialSource
    now: datetime
    chance: float
    """From 0 to 1: by how much next times are moved; one for all, so that they stay together."""
    histories: Mapping[str, NamedTagEventList]
    """Of the stream's tags, by their names, as they are when it asks."""
    urgent: bool = False
    """True if somebody has told of a change: what is only due waits meanwhile."""


@dataclass(frozen=True, slots=True)
class _Question:
    """Question to upstream that is due now, and the right by which it is asked."""

    request: ImportRequest
    reference: Reference
    access: RequestAccess
    turn: ImportTurn
    history: NamedTagEventList | None
    """Of the tag, as it is when it is asked for."""

    @property
    def latest(self) -> TagEvent | None:
        """Image in force."""
        return None if self.history is None else self.history.latest

    @property
    def sure_at(self) -> datetime | None:
        """Time from which a registry answers what the image in force was pushed as."""
        return self.latest.created + SETTLING if self.latest is not None else None

    def may_be_outdated(self, digest: Digest) -> bool:
        """Return True if upstream may not have settled since the last change.

        It answers what the tag had before. Where somebody has told of a change, it was moved back.
        """
        change = self.latest.imported if self.latest is not None else None
        if change is None or self.sure_at is None or self.turn.urgent:
            return False
        return change.previous == str(digest) and self.turn.now < self.sure_at


class TagImporter:
    """Asks upstream registries for tags, and keeps an Image for every digest that it meets."""

    def __init__(
        self,
        upstream: Registry,
        images: ImageRecords,
        schedule: ImportSchedule,
        *,
        authority: Authority = UNASKED,
        policies: ImagePolicies = UNRESTRICTED,
    ) -> None:
        self._authority = authority
        self._policies = policies
        self._upstream = upstream
        self._images = images
        self._schedule = schedule

    async def ask(
        self, stream: ImageStream, tag: TagReference, turn: ImportTurn
    ) -> TagOutcome | ImportCheck:
        """Ask for one tag: a HEAD, and a GET only for a digest that is not yet known.

        Where upstream has what the tag has, that is a check without news.
        A registry's failure is an outcome; raises StoreError alone.
        """
        request = request_of(tag) or ImportRequest("")
        history = turn.histories.get(tag.name)
        state = _state_before(history, stream, tag, request)
        try:
            urgent = turn.urgent or _is_asked_anew(history, tag)
            access = RequestAccess(turn.logins, insecure=request.insecure, urgent=urgent)
            reference = Reference.parse(request.source)
            await require_pull(self._authority, stream, reference)
            question = _Question(request, reference, access, turn, history)
            return await self._answer(stream, tag, question, state)
        except (InvalidReferenceError, InvalidSelectionError) as error:
            return _refused(tag, state, error)
        except RegistryError as error:
            return self._failed(stream, tag, state, error, turn)

    async def _answer(
        self, stream: ImageStream, tag: TagReference, question: _Question, state: ImportState
    ) -> TagOutcome | ImportCheck:
        now, history = question.turn.now, question.history
        interval = self._schedule.interval_of(stream, tag) if tag.scheduled else None
        source = reference = question.reference
        if question.request.selection:
            state = await self._select(question, state)
            reference = reference.with_tag(state.selected)
        found = await self._upstream.resolve(reference, question.access)
        changed = str(found.digest) != state.upstream_digest
        if history is not None and state is history.import_state and not changed:
            following = self._again(interval, question.turn)
            seconds = interval.total_seconds() if interval is not None else None
            if check := ImportCheck.without_news(history, now, following, seconds):
                return check
        pinned = reference.with_digest(found.digest)
        again = question.sure_at if changed and question.may_be_outdated(found.digest) else None
        changed = changed and again is None
        if changed or (state.unproven and _is_asked_anew(question.history, tag)):
            learning = self._learn(stream, question, pinned, state)
            if not (question.request.legacy and MediaType(found.media_type).is_index):
                learning = self._policies.beside(_imported(stream, pinned), learning)
            state = await learning
        await self._require(stream, question, pinned, state.imported_digest)
        event = TagEvent(
            created=now,
            docker_image_reference=f"{pinned.name}@{state.imported_digest}",
            image=state.imported_digest,
            generation=tag.generation or stream.generation,
            unproven=state.unproven,
            requested_by=state.requested_by,
            imported=ImportedChange(image=str(source), digest=state.upstream_digest),
        )
        if _is_asked_anew(question.history, tag):  # a person asks for what there is, whatever it is
            state = state.model_copy(update={"ignored": None})
        elif changed:
            ignored = await self._ignored(question, event)
            state = state.model_copy(update={"ignored": ignored})
        times: dict[str, object] = {
            "last_check_time": now,
            "failures": 0,
            "next_check_time": None,
            "interval": None,
            "requested_by": None,
        }
        if interval is not None:
            times["next_check_time"] = again or self._again(interval, question.turn)
            times["interval"] = interval.total_seconds()
        result = event if state.ignored is None else None
        return TagOutcome(tag.name, state.model_copy(update=times), result)

    def _again(self, interval: timedelta | None, turn: ImportTurn) -> datetime | None:
        """Return the next check after one that was answered; None: it is not scheduled."""
        if interval is None:
            return None
        return self._schedule.after_success(interval, turn.now, turn.chance)

    async def _require(
        self, stream: ImageStream, question: _Question, found: Reference, digest: str
    ) -> None:
        """Raise ImagePolicyError if a policy keeps an image out that is not in force already."""
        latest = question.latest
        if latest is None or latest.image != digest:
            image = found.with_digest(Digest.parse(digest))
            await self._policies.require(_imported(stream, image))

    async def _select(self, question: _Question, state: ImportState) -> ImportState:
        """Return `state` with the tag that the selection chooses of all that upstream has."""
        selection = TagSelection(question.request.selection)
        tags = await self._upstream.tags(question.reference, question.access)
        # There may be 200,000 of them: no step of the event loop.
        choice = await asyncio.to_thread(selection.choose, tags, state.selected)
        if choice is None:
            raise NoTagMatchesError(question.reference.name, selection, len(tags))
        return state.model_copy(update={"selected": choice.tag, "selection_reason": choice.why})

    async def _learn(
        self, stream: ImageStream, question: _Question, pinned: Reference, state: ImportState
    ) -> ImportState:
        """Find out what a digest is that is new to the tag."""
        image = await self._images.learn(pinned, question.access, question.turn.now)
        imported = image
        if image.docker_image_manifests and question.request.legacy:
            imported = await self._child(stream, question, image, pinned)
        elif image.docker_image_manifests:
            await self._images.learn_children(image, pinned, question.access, question.turn.now)
        return state.model_copy(
            update={
                "upstream_digest": image.name,
                "imported_digest": imported.name,
                "unproven": is_unread(imported) or None,
                "first_seen": _first_seen(image, question.turn.now),
                "media_type": image.docker_image_manifest_media_type or "",
                "platforms": _platforms_of(image),
            }
        )

    async def _child(
        self, stream: ImageStream, question: _Question, index: Image, pinned: Reference
    ) -> Image:
        """Return the Image of the manifest that takes an index's place."""
        entry = question.request.child_of(index.docker_image_manifests, self._images.platforms)
        if entry is None:
            raise InvalidAnswerError(str(pinned), "its index is empty")
        try:
            child = pinned.with_digest(Digest.parse(entry.digest))
        except InvalidDigestError as error:
            raise InvalidAnswerError(str(pinned), str(error)) from error
        learning = self._images.learn(child, question.access, question.turn.now)
        return await self._policies.beside(_imported(stream, child), learning)

    async def _ignored(self, question: _Question, event: TagEvent) -> IgnoredImage | None:
        """Say why the image in force need not give way to a new one; None if it must."""
        latest = question.latest
        if latest is None or latest.image in {"", event.image}:
            return None
        old = await self._images.content(latest.image)
        new = await self._images.content(event.image)
        why = irrelevance(old, new) if old is not None and new is not None else None
        if why is None:
            return None
        log.info("image passed over", extra={"image": event.image, "reason": why.reason})
        return IgnoredImage(
            digest=event.image, seen=event.created, reason=why.reason, message=why.message
        )

    def _failed(
        self,
        stream: ImageStream,
        tag: TagReference,
        state: ImportState,
        error: RegistryError,
        turn: ImportTurn,
    ) -> TagOutcome:
        failures, now = state.failures + 1, turn.now
        again = self._schedule.after_failure(failures, error.retry_after, now, turn.chance)
        if tag.scheduled and not error.retryable:
            # Nothing suggests that a refusal passes sooner than the next look.
            again = max(again, now + self._schedule.interval_of(stream, tag))
        message = with_next_attempt(str(error), again)
        times = {"last_check_time": now, "failures": failures, "next_check_time": again}
        return _failure(tag, state.model_copy(update=times), error.reason, message)


def _imported(stream: ImageStream, image: Reference) -> ImageQuestion:
    return ImageQuestion(image, stream.namespace, PolicyPoint.IMPORT)


def _state_before(
    history: NamedTagEventList | None,
    stream: ImageStream,
    tag: TagReference,
    request: ImportRequest,
) -> ImportState:
    """Return what is known of the tag's present source, at the tag's present generation.

    Another generation is one that somebody has asked for.
    """
    state = history.import_state if history is not None else None
    if state is None or (state.source, state.request) != (request.source, request.text):
        state = ImportState(source=request.source, request=request.text)
    generation = tag.generation or 0
    if state.generation == generation:
        return state
    asked = {"generation": generation, "requested_by": requester_of(stream, tag) or None}
    return state.model_copy(update=asked)


def _is_asked_anew(history: NamedTagEventList | None, tag: TagReference) -> bool:
    state = history.import_state if history is not None else None
    return state is not None and (tag.generation or 0) > state.generation


def _refused(
    tag: TagReference, state: ImportState, error: InvalidReferenceError | InvalidSelectionError
) -> TagOutcome:
    """Return the outcome of a source that names no image: only another spec can mend it."""
    state = state.model_copy(update={"failures": state.failures + 1, "next_check_time": None})
    named = isinstance(error, InvalidReferenceError)
    return _failure(tag, state, "InvalidReference" if named else "InvalidSelection", str(error))


def _failure(tag: TagReference, state: ImportState, reason: str, message: str) -> TagOutcome:
    # The Event of it is a line of the log, with its object and the whole message.
    log.debug("import failed", extra={"tag": tag.name, "source": state.source, "reason": reason})
    return TagOutcome(tag.name, state, failure(reason, message, tag.generation))


def _first_seen(image: Image, now: datetime) -> datetime:
    try:
        return datetime.fromisoformat(image.annotations[FIRST_SEEN_ANNOTATION])
    except (KeyError, ValueError):
        return now  # the Image came from elsewhere: by a mapping, say


def _platforms_of(image: Image) -> tuple[PlatformDigest, ...]:
    return tuple(
        PlatformDigest(
            platform="/".join(filter(None, (entry.os, entry.architecture, entry.variant))),
            digest=entry.digest,
        )
        for entry in image.docker_image_manifests
    )
