"""ImageStreams: imports tags from upstream, follows tags of streams, and takes in pushes.

A failed import keeps the last good digest in force and says when it tries again.
"""

import asyncio
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import random
from zlib import crc32

from upwell.api.image import ImageStream, ImageStreamStatus, RepositoryImport, TagReference
from upwell.api.meta import ObjectKey
from upwell.controller import Controller, ObjectCache, Result, Watch, WorkQueue, of_both
from upwell.oci import InvalidReferenceError, Platform, Reference
from upwell.policy.images.import_request import request_of
from upwell.policy.images.outcome import TagOutcome
from upwell.policy.images.registry_webhooks import PushNotice
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.images.schedule import ImportSchedule, due_at, spread_overdue
from upwell.policy.images.streams import INPUTS_TAG_PREFIX, forget_imports, replace_tag, take_push
from upwell.reconcilers.images.hints import Hint, ImportHints
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.images.records import ImageRecords
from upwell.reconcilers.images.repositories import RepositoryImporter
from upwell.reconcilers.images.tags import TagImporter
from upwell.reconcilers.images.tracking import TagTracking, take_sources
from upwell.registry.errors import RegistryError
from upwell.registry.interface import InternalRegistry, PushEvent, Registry
from upwell.store.interface import ConflictError, NotFoundError, StoreError

_WRITE_TRIES = 20


@dataclass(frozen=True, slots=True)
class _Found:
    """What upstream registries answered in one reconcile."""

    outcomes: Sequence[TagOutcome] = ()
    repository: RepositoryImport | None = None


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
    ) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        """Streams to look at now although no object has changed."""
        self._cache = cache
        self._store = cache.store
        self._internal = internal
        self._secrets = secrets
        self._schedule = schedule
        images = ImageRecords(cache.store, upstream, platforms)
        self._importer = TagImporter(upstream, images, schedule, jitter)
        self._repositories = RepositoryImporter(upstream, internal.host, schedule, jitter)
        self.tracking = TagTracking(cache)
        self._clock = clock
        self._started = clock()
        self._hints = ImportHints()
        self._importing = cache.index(ImageStream, _repositories)
        internal.subscribe(self._on_push)

    async def note(self, notices: Sequence[PushNotice]) -> int:
        """Take a webhook's word that these images have changed; return how many tags follow them.

        Only the repository and the tag count: a registry may know itself by another host name
        than we do, and the digest is asked for anyway.
        """
        named = {(notice.repository, notice.tag): notice.digest for notice in notices}
        repositories = {repository for repository, _ in named}
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
                if (source.repository, source.tag) in named or (
                    # Whatever was pushed, it may be what the selection now chooses.
                    request is not None and request.selection and source.repository in repositories
                ):
                    told = named.get((source.repository, source.tag or ""))
                    self._hints.add(stream.key, tag.name, Hint(now, told))
                    self.queue.add(stream.key)
                    found += 1
        return found

    async def reconcile(self, key: ObjectKey) -> Result:
        """Import what is due, follow other tags, take in pushes, and say when to look again."""
        # Taken before upstream is asked: a hint that comes meanwhile is about a later push.
        now = self._clock()
        hints = self._hints.take(key, now)
        try:
            stream = await self._store.get(ImageStream, key.namespace, key.name)
            found = await self._ask(stream, hints, now)
            written = await self._write(key, found, now)
        except NotFoundError:
            return Result()
        except StoreError:
            self._hints.put_back(key, hints)
            raise
        self._hints.repeat_unseen(written, hints, now)
        return Result(requeue_after=self._pause(written))

    async def _ask(self, stream: ImageStream, hints: Container[str], now: datetime) -> _Found:
        """Ask upstream for all that is due, at once: the registry's budget spaces it."""
        due = [tag for tag in effective_tags(stream) if self._is_due(stream, tag, hints, now)]
        listed = self._repositories.due(stream)
        if not due and (listed is None or listed > now):
            return _Found()
        logins = await self._secrets.of_namespace(stream.namespace)
        repository = None
        try:
            async with asyncio.TaskGroup() as group:
                asked = (self._importer.ask(stream, tag, logins, now) for tag in due)
                tasks = [group.create_task(question) for question in asked]
                if listed is not None and listed <= now:
                    repository = await self._repositories.ask(stream, logins, now)
        except* StoreError as failed:
            first = failed.exceptions[0]
            raise first from failed
        return _Found([task.result() for task in tasks], repository)

    def _is_due(
        self, stream: ImageStream, tag: TagReference, hints: Container[str], now: datetime
    ) -> bool:
        if tag.name in hints:
            return tag.imports is not None
        due = self._due(stream, tag)
        return due is not None and due <= now

    def _due(self, stream: ImageStream, tag: TagReference) -> datetime | None:
        history = stream.status.tag(tag.name)
        due = due_at(tag, history.import_state if history is not None else None)
        if due is None:
            return None
        interval = self._schedule.interval_of(stream, tag)
        place = crc32(f"{stream.uid}/{tag.name}".encode()) / 2**32
        return spread_overdue(due, self._started, interval, place)

    def _pause(self, stream: ImageStream) -> float | None:
        times = [self._due(stream, tag) for tag in effective_tags(stream)]
        others = (self._repositories.due(stream), self._hints.next_due(stream.key))
        known = [due for due in (*times, *others) if due is not None]
        if not known:
            return None
        return max((min(known) - self._clock()).total_seconds(), 0)

    async def _write(self, key: ObjectKey, found: _Found, now: datetime) -> ImageStream:
        """Fold what was found into the status as it is now; return the stream."""
        for _ in range(_WRITE_TRIES):
            stream = await self._store.get(ImageStream, key.namespace, key.name)
            status = self._with_times(stream, _with_answers(stream, found, now))
            status = await self._take_pushes(stream, status, now)
            sources = await self.tracking.sources(stream)
            status = take_sources(stream, status, sources, now)
            repository = f"{self._internal.host}/{key.namespace}/{key.name}"
            status = status.model_copy(update={"docker_image_repository": repository})
            if status == stream.status:
                return stream
            try:
                return await self._store.update_status(stream.with_status(status))
            except ConflictError:
                continue
        raise ConflictError(key)

    def _with_times(self, stream: ImageStream, status: ImageStreamStatus) -> ImageStreamStatus:
        """Return the status with the next checks as the spec and annotations ask for them now."""
        stream = stream.with_status(status)
        status = status.model_copy(update={"repository": self._repositories.moved(stream)})
        for tag in effective_tags(stream):
            history = status.tag(tag.name)
            state = history.import_state if history is not None else None
            if history is None or state is None or tag.imports is None:
                continue
            interval = self._schedule.interval_of(stream, tag) if tag.scheduled else None
            moved = self._schedule.moved(state, interval)
            if moved is not state:
                changed = history.model_copy(update={"import_state": moved})
                status = replace_tag(status, changed)
        return status

    async def _take_pushes(
        self, stream: ImageStream, status: ImageStreamStatus, now: datetime
    ) -> ImageStreamStatus:
        repository = f"{stream.namespace}/{stream.name}"
        reference = Reference(self._internal.host, repository, tag="latest")
        try:
            tags = await self._internal.tags(reference)
        except RegistryError:
            return status  # nothing was ever pushed
        for tag in tags:
            if tag.startswith(INPUTS_TAG_PREFIX):
                continue
            digest = await self._internal.tag_digest(repository, tag)
            old = status.tag(tag)
            if digest is None or (old is not None and old.pushed_digest == str(digest)):
                continue
            status = take_push(status, reference.name, tag, digest, now)
        return status

    def _on_push(self, event: PushEvent) -> None:
        namespace, _, name = event.repository.partition("/")
        if name and not event.tag.startswith(INPUTS_TAG_PREFIX):
            self.queue.add(ObjectKey(ImageStream.KIND.kind, namespace, name))


def image_stream_controller(streams: ImageStreams, cache: ObjectCache) -> Controller:
    """Return the controller of ImageStreams."""
    watch = Watch(ImageStream, of_both(streams.tracking.affected))
    return Controller("imports", streams, cache, (watch,), queue=streams.queue, workers=16)


def _with_answers(stream: ImageStream, found: _Found, now: datetime) -> ImageStreamStatus:
    """Return the status with the answers to the questions that the spec still asks."""
    status = stream.status
    source = stream.spec.docker_image_repository
    if found.repository is not None and found.repository.source == source:
        status = status.model_copy(update={"repository": found.repository})
    elif status.repository is not None and status.repository.source != source:
        status = status.model_copy(update={"repository": None})
    tags = effective_tags(stream.with_status(status))
    asked = {tag.name: request_of(tag) for tag in tags}
    status = forget_imports(status, {tag.name for tag in tags if tag.from_ is not None})
    for outcome in found.outcomes:
        request = asked.get(outcome.tag)
        if request is not None and (request.source, request.text) == (
            outcome.state.source,
            outcome.state.request,
        ):
            status = outcome.fold_into(status, now)
    return status


def _repositories(stream: ImageStream) -> Iterator[str]:
    """Yield the repositories, without their registries, that a stream imports from."""
    for tag in effective_tags(stream):
        source = _source(tag)
        if source is not None:
            yield source.repository


def _source(tag: TagReference) -> Reference | None:
    try:
        return Reference.parse(tag.imports) if tag.imports else None
    except InvalidReferenceError:
        return None
