"""ImageStreams: imports tags from upstream, and takes in what was pushed to the internal registry.

A failed import keeps the last good digest in force and says when it tries again.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from random import random

from upwell.api.image import ImageStream, ImageStreamStatus, TagReference
from upwell.api.meta import ObjectKey
from upwell.controller import Controller, Result, Watch
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.schedule import ImportSchedule, due_at
from upwell.policy.streams import INPUTS_TAG_PREFIX, forget_imports, take_push
from upwell.policy.webhooks import PushNotice
from upwell.reconcilers.pull_secrets import PullSecrets
from upwell.reconcilers.tag_imports import ImportOutcome, TagImporter
from upwell.registry.errors import RegistryError
from upwell.registry.interface import InternalRegistry, PushEvent, Registry
from upwell.store.interface import ConflictError, NotFoundError, Store, StoreError

_WRITE_TRIES = 20


class ImageStreams:
    """Reconciles ImageStreams.

    A hint makes a tag's import due at once: a webhook called. Hints are kept in memory only,
    since the schedule finds a lost one.
    """

    def __init__(
        self,
        store: Store,
        upstream: Registry,
        internal: InternalRegistry,
        secrets: PullSecrets,
        schedule: ImportSchedule,
        *,
        clock: Callable[[], datetime],
        jitter: Callable[[], float] = random,
    ) -> None:
        self._store = store
        self._internal = internal
        self._secrets = secrets
        self._importer = TagImporter(store, upstream, schedule, jitter)
        self._clock = clock
        self._hints: dict[ObjectKey, set[str]] = {}
        self._controller = Controller("imports", self, store, (Watch(ImageStream),), workers=16)
        internal.subscribe(self._on_push)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._controller.run()

    async def note(self, notices: Sequence[PushNotice]) -> int:
        """Take a webhook's word that these images have changed; return how many tags follow them.

        Only the repository and the tag count: a registry may know itself by another host name
        than we do, and the digest is asked for anyway.
        """
        named = {(notice.repository, notice.tag) for notice in notices}
        found = 0
        for stream in (await self._store.list(ImageStream)).items:
            for tag in stream.spec.tags:
                source = _source(tag)
                if source is not None and (source.repository, source.tag) in named:
                    self._hints.setdefault(stream.key, set()).add(tag.name)
                    self._controller.queue.add(stream.key)
                    found += 1
        return found

    async def reconcile(self, key: ObjectKey) -> Result:
        """Import what is due, take in pushes, and say when to look again."""
        # Taken before upstream is asked: a hint that comes meanwhile is about a later push.
        hints = self._hints.pop(key, set())
        try:
            stream = await self._store.get(ImageStream, key.namespace, key.name)
            now = self._clock()
            due = [tag for tag in stream.spec.tags if _is_due(stream, tag, hints, now)]
            outcomes = await self._import(stream, due, now)
            written = await self._write(key, outcomes, now)
        except NotFoundError:
            return Result()
        except StoreError:
            if hints:
                self._hints.setdefault(key, set()).update(hints)
            raise
        return Result(requeue_after=self._pause(written))

    async def _import(
        self, stream: ImageStream, due: Sequence[TagReference], now: datetime
    ) -> Sequence[ImportOutcome]:
        if not due:
            return ()
        logins = await self._secrets.of_namespace(stream.namespace)
        asked = (self._importer.ask(stream, tag, logins, now) for tag in due)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(question) for question in asked]
        except* StoreError as failed:
            first = failed.exceptions[0]
            raise first from failed
        return [task.result() for task in tasks]

    def _pause(self, stream: ImageStream) -> float | None:
        times = [due for tag in stream.spec.tags if (due := _due(stream, tag)) is not None]
        if not times:
            return None
        return max((min(times) - self._clock()).total_seconds(), 0)

    async def _write(
        self, key: ObjectKey, outcomes: Sequence[ImportOutcome], now: datetime
    ) -> ImageStream:
        """Fold outcomes and pushed tags into the status as it is now; return the stream."""
        for _ in range(_WRITE_TRIES):
            stream = await self._store.get(ImageStream, key.namespace, key.name)
            imports = {tag.name: tag.imports for tag in stream.spec.tags}
            status = forget_imports(stream.status, {name for name in imports if imports[name]})
            for outcome in outcomes:
                if imports.get(outcome.tag) == outcome.state.source:
                    status = outcome.fold_into(status, now)
            status = await self._take_pushes(stream, status, now)
            repository = f"{self._internal.host}/{key.namespace}/{key.name}"
            status = status.model_copy(update={"docker_image_repository": repository})
            if status == stream.status:
                return stream
            try:
                return await self._store.update_status(stream.with_status(status))
            except ConflictError:
                continue
        raise ConflictError(key)

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
            self._controller.queue.add(ObjectKey(ImageStream.KIND.kind, namespace, name))


def _is_due(stream: ImageStream, tag: TagReference, hints: set[str], now: datetime) -> bool:
    if tag.name in hints:
        return tag.imports is not None
    due = _due(stream, tag)
    return due is not None and due <= now


def _due(stream: ImageStream, tag: TagReference) -> datetime | None:
    history = stream.status.tag(tag.name)
    return due_at(tag, history.import_state if history is not None else None)


def _source(tag: TagReference) -> Reference | None:
    try:
        return Reference.parse(tag.imports) if tag.imports else None
    except InvalidReferenceError:
        return None
