"""ImageStreams: imports tags from upstream, follows tags of streams, and takes in pushes.

A failed import keeps the last good digest in force and says when it tries again.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from datetime import datetime
from functools import partial
from random import random

from upwell.api.image import ImageStream, ImageStreamStatus, RepositoryImport, TagReference
from upwell.api.meta import ObjectKey
from upwell.controller import Controller, ObjectCache, Result, Watch, WorkQueue, of_both
from upwell.formats.attachment_tags import image_of_tag
from upwell.machine.tasks import together
from upwell.oci import InvalidReferenceError, Platform, Reference
from upwell.policy.images.checks import NO_CHECKS, ImportCheck, with_checks
from upwell.policy.images.import_request import request_of
from upwell.policy.images.outcome import TagOutcome
from upwell.policy.images.registry_webhooks import PushNotice
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.images.schedule import ImportSchedule
from upwell.policy.images.stream_plan import (
    StreamAnswers,
    StreamPlan,
    checks_without_news,
    fold_answers,
    plan_stream,
)
from upwell.policy.images.streams import take_pushes
from upwell.policy.images.tracking import TrackingRefusal, follows_other_namespaces, sources_of
from upwell.reconcilers.authority import (
    ASK_AGAIN_SECONDS,
    MISSING_RIGHT,
    UNASKED,
    Authority,
)
from upwell.reconcilers.images.hints import Hint, ImportHints
from upwell.reconcilers.images.hosted import HostedImages
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.images.pushes import UNREAD_SECONDS, PushedTagReader, PushedTags
from upwell.reconcilers.images.records import ImageRecords
from upwell.reconcilers.images.repositories import RepositoryImporter
from upwell.reconcilers.images.tags import ImportTurn, TagImporter
from upwell.reconcilers.images.tracking import TagTracking, take_sources
from upwell.reconcilers.signatures.policies import UNRESTRICTED, ImagePolicies
from upwell.registry.credentials import RememberedCredentials
from upwell.registry.interface import InternalRegistry, Registry
from upwell.store.interface import NotFoundError, StoreError
from upwell.store.retry import update_with_retry


class ImageStreams:
    """Reconciles ImageStreams; `platforms` are those whose images are used here.

    A change that touches none of the platforms is noted in the tag's status and is no new image;
    without `platforms` every change is one.

    A hint makes a tag's import due at once: a webhook called.
    """

    def __init__(  # noqa: PLR0913 - the ports, and three things that tests set
        self,
        cache: ObjectCache,
        upstream: Registry,
        internal: InternalRegistry,
        secrets: PullSecrets,
        schedule: ImportSchedule,
        *,
        clock: Callable[[], datetime],
        jitter: Callable[[], float] = random,
        platforms: Sequence[Platform] = (),
        authority: Authority = UNASKED,
        policies: ImagePolicies = UNRESTRICTED,
    ) -> None:
        self._authority = authority
        self._policies = policies
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        """Streams to look at now although no object has changed."""
        self._cache = cache
        self._store = cache.store
        self._internal = internal
        self._secrets = secrets
        self._schedule = schedule
        images = ImageRecords(cache.store, upstream, platforms, internal.prefix)
        self._importer = TagImporter(
            upstream, images, schedule, authority=authority, policies=policies
        )
        self._hosted = HostedImages(images, internal)
        self._repositories = RepositoryImporter(upstream, internal.prefix, schedule)
        self.tracking = TagTracking(cache)
        self._clock = clock
        self._jitter = jitter
        self._checks: dict[ObjectKey, dict[str, ImportCheck]] = {}
        self._settled: dict[ObjectKey, tuple[str, str]] = {}
        """Versions of the streams of which nothing was to be written."""
        self._started = clock()
        self._hints = ImportHints()
        self._left: set[ObjectKey] = set()
        """Streams of which what was due was left, for a hint's sake, to the next turn."""
        self._importing = cache.index(ImageStream, _repositories)
        self._pushes = PushedTagReader(internal, partial(self.queue.add, first=True))

    async def note(self, notices: Sequence[PushNotice]) -> int:
        """Take a webhook's word that these images have changed; return how many tags follow them.

        Only the repository and the tag count: a registry may know itself by another host name
        than we do, and the digest is asked for anyway.
        """
        named = {(notice.repository, notice.tag): notice.digest for notice in notices}
        repositories = {repository for repository, _ in named}
        signed = {repository for repository, tag in named if image_of_tag(tag) is not None}
        for notice in notices:
            self._policies.note_signed(notice.tag)
        now = self._clock()
        found = 0
        await self._cache.ready(ImageStream)
        streams = {one.key: one for name in repositories for one in self._importing.get(name)}
        for stream in streams.values():
            for tag in effective_tags(stream):
                source = _source(tag)
                if source is None:
                    continue
                request = request_of(tag)
                if (
                    (source.repository, source.tag) in named
                    or (
                        # Whatever was pushed, it may be what the selection now chooses.
                        request is not None
                        and request.selection
                        and source.repository in repositories
                    )
                    or source.repository in signed
                ):
                    digest = named.get((source.repository, source.tag or ""))
                    self._hints.add(stream.key, tag.name, Hint(now, digest))
                    self.queue.add(stream.key, first=True)
                    found += 1
        return found

    async def reconcile(self, key: ObjectKey) -> Result:
        """Import what is due, follow other tags, take in pushes, and say when to look again."""
        # Taken before upstream is asked: a hint that comes meanwhile is about a later push.
        now = self._clock()
        hints = self._hints.take(key, now)
        try:
            stream = await self._store.get(ImageStream, key.namespace, key.name)
            plan = self._plan(stream)
            answers = await self._ask(stream, plan, hints, now)
            async with self._pushes.taken(stream) as pushed:
                written = await self._write(key, answers, pushed, now)
            await self._hosted.record(written)
        except NotFoundError:
            self._checks.pop(key, None)
            self._settled.pop(key, None)
            self._left.discard(key)
            self._hosted.forget(key)
            self._pushes.forget(key)
            return Result()
        except StoreError:
            self._hints.put_back(key, hints)
            raise
        self._hints.repeat_unseen(written, hints, now)
        self._note_checks(written, answers)
        if answers.has_outcomes or _version(written) != _version(stream):
            plan = self._plan(written)
        else:
            plan = plan.after(answers.checks)
        return Result(requeue_after=self._pause(written, plan))

    def as_checked(self, stream: ImageStream) -> ImageStream:
        """Return a stream with the times of the checks since it was written.

        A check without news writes nothing: its time is kept here alone. A server that starts
        checks all anew, over a while.
        """
        checks = self._checks.get(stream.key)
        return stream if checks is None else with_checks(stream, checks)

    def _note_checks(self, written: ImageStream, answers: StreamAnswers) -> None:
        before = self._checks.pop(written.key, {})
        if checks := checks_without_news(written, answers, before):
            self._checks[written.key] = checks

    def _plan(self, stream: ImageStream) -> StreamPlan:
        prefix, now = self._internal.prefix, self._clock()
        self._started = min(self._started, now)  # the clock may have been set back
        checks = self._checks.get(stream.key, NO_CHECKS)
        return plan_stream(stream, self._schedule, prefix, self._started, now, checks)

    def _pause(self, stream: ImageStream, plan: StreamPlan) -> float | None:
        times = (plan.next_due, self._hints.next_due(stream.key))
        pauses = [max((due - self._clock()).total_seconds(), 0) for due in times if due is not None]
        conditions = (one for tag in stream.status.tags for one in tag.conditions)
        if any(one.reason == MISSING_RIGHT for one in conditions):
            pauses.append(ASK_AGAIN_SECONDS)
        if not self._pushes.knows(stream):
            pauses.append(UNREAD_SECONDS)
        return min(pauses, default=None)

    async def _ask(
        self, stream: ImageStream, plan: StreamPlan, hints: Container[str], now: datetime
    ) -> StreamAnswers:
        """Ask upstream for all that is due, at once: the registry's budget spaces it.

        What is hinted at is asked for alone, and does not wait for the rest: that comes next, even
        if there is another hint by then.
        """
        due, lists = plan.imports(now, hints), plan.lists(now)
        hinted = [tag for tag in due if tag.name in hints]
        if hinted and stream.key not in self._left:
            if lists or len(hinted) < len(due):
                self._left.add(stream.key)
            due, lists = hinted, False
        else:
            self._left.discard(stream.key)
        if not due and not lists:
            return StreamAnswers()
        # Most of its tags are of one repository: its login is looked for once.
        logins = RememberedCredentials(await self._secrets.of_namespace(stream.namespace))
        histories = stream.status.by_tag()
        turn = ImportTurn(logins, now, self._jitter(), histories, urgent=bool(hinted))
        listing = [self._repositories.ask(stream, turn)] if lists else []
        found = await together([*(self._importer.ask(stream, tag, turn) for tag in due), *listing])
        checks = {
            tag.name: one
            for tag, one in zip(due, found, strict=False)
            if isinstance(one, ImportCheck)
        }
        outcomes = [one for one in found if isinstance(one, TagOutcome)]
        repository = next((one for one in found if isinstance(one, RepositoryImport)), None)
        return StreamAnswers(outcomes, repository, checks)

    async def _write(
        self, key: ObjectKey, answers: StreamAnswers, pushed: PushedTags, now: datetime
    ) -> ImageStream:
        """Fold the answers into the status as it is now; return the stream."""

        async def folded() -> tuple[ImageStream, ImageStreamStatus]:
            stream = await self._store.get(ImageStream, key.namespace, key.name)
            if self._is_settled(stream) and not pushed and not answers.are_news(stream.status):
                return stream, stream.status
            status = fold_answers(stream, answers, self._schedule, now)
            repository = f"{self._internal.prefix}/{key.namespace}/{key.name}"
            status = take_pushes(status, repository, pushed, now)
            sources = await self.tracking.sources(stream)
            refusal = await self._refusal(stream)
            status = take_sources(stream, status, sources, now, refusal)
            return stream, status.model_copy(update={"docker_image_repository": repository})

        async def write(new: tuple[ImageStream, ImageStreamStatus]) -> ImageStream:
            stream, status = new
            if status == stream.status:
                self._settled[key] = _version(stream)
                return stream  # an API server would be asked for nothing
            return await self._store.update_status(stream.with_status(status))

        return await update_with_retry(folded, write)

    def _is_settled(self, stream: ImageStream) -> bool:
        """Return True if nothing was to be written of it as it is stored, nor may be by now.

        What a stream that follows others has to write depends on these, and on rights.
        """
        return self._settled.get(stream.key) == _version(stream) and not any(sources_of(stream))

    async def _refusal(self, stream: ImageStream) -> TrackingRefusal | None:
        """Say why the stream may not follow other namespaces: its author has lost a right."""
        if not follows_other_namespaces(stream):
            return None
        why = await self._authority.refusal(stream)
        return (MISSING_RIGHT, why) if why else None


def image_stream_controller(streams: ImageStreams, cache: ObjectCache) -> Controller:
    """Return the controller of ImageStreams."""
    watch = Watch(ImageStream, of_both(streams.tracking.affected))
    return Controller("imports", streams, cache, (watch,), queue=streams.queue, workers=16)


def _repositories(stream: ImageStream) -> Iterator[str]:
    """Yield the repositories, without their registries, that a stream imports from."""
    for tag in effective_tags(stream):
        source = _source(tag)
        if source is not None:
            yield source.repository


def _version(stream: ImageStream) -> tuple[str, str]:
    return stream.uid, stream.resource_version


def _source(tag: TagReference) -> Reference | None:
    try:
        return Reference.parse(tag.imports) if tag.imports else None
    except InvalidReferenceError:
        return None
