"""ImageStreams: imports tags from upstream, and takes in what was pushed to the internal registry.

A failed import keeps the last good digest in force and says when it tries again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from random import random

from upwell.api.conditions import set_condition
from upwell.api.image import (
    Image,
    ImageLayer,
    ImageStream,
    ImageStreamStatus,
    ImportState,
    NamedTagEventList,
    PlatformDigest,
    TagEvent,
    TagReference,
)
from upwell.api.meta import Condition, ObjectKey, ObjectMeta
from upwell.controller import Controller, Result, Watch
from upwell.oci import Descriptor, Digest, Index, InvalidReferenceError, Reference
from upwell.policy.schedule import ImportSchedule, due_at, interval_fault
from upwell.policy.streams import INPUTS_TAG_PREFIX, pushed_event, record_image, replace_tag
from upwell.policy.webhooks import PushNotice
from upwell.reconcilers.pull_secrets import PullSecrets
from upwell.registry.errors import InvalidAnswerError, RegistryError
from upwell.registry.interface import Access, InternalRegistry, PushEvent, Registry
from upwell.store.interface import AlreadyExistsError, ConflictError, NotFoundError, Store

log = logging.getLogger(__name__)

IMPORT_SUCCESS = "ImportSuccess"
_WRITE_TRIES = 20


class ImageStreams:
    """Reconciles ImageStreams.

    `hint` makes a tag's import due at once: a webhook called. It is kept in memory only, since
    the schedule finds a lost one.
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
        self._upstream = upstream
        self._internal = internal
        self._secrets = secrets
        self._schedule = schedule
        self._clock = clock
        self._jitter = jitter
        self._hints: set[tuple[ObjectKey, str]] = set()
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
                    self._hints.add((stream.key, tag.name))
                    self._controller.queue.add(stream.key)
                    found += 1
        return found

    async def reconcile(self, key: ObjectKey) -> Result:
        """Import what is due, take in pushes, and say when to look again."""
        try:
            stream = await self._store.get(ImageStream, key.namespace, key.name)
        except NotFoundError:
            return Result()
        now = self._clock()
        due = [tag for tag in stream.spec.tags if self._is_due(stream, tag, now)]
        access = await self._access(stream) if due else None
        outcomes = await asyncio.gather(
            *(self._import(stream, tag, access, now) for tag in due if access is not None)
        )
        await self._write(key, list(outcomes), now)
        for tag in due:
            self._hints.discard((key, tag.name))
        stream = await self._store.get(ImageStream, key.namespace, key.name)
        return Result(requeue_after=self._pause(stream))

    def _is_due(self, stream: ImageStream, tag: TagReference, now: datetime) -> bool:
        if (stream.key, tag.name) in self._hints:
            return tag.imports is not None
        due = self._due(stream, tag)
        return due is not None and due <= now

    def _due(self, stream: ImageStream, tag: TagReference) -> datetime | None:
        history = stream.status.tag(tag.name)
        if history is None:
            return due_at(tag, None, 0)
        observed = max(
            history.latest.generation if history.latest else 0,
            *(condition.generation or 0 for condition in history.conditions),
            0,
        )
        return due_at(tag, history.import_state, observed)

    def _pause(self, stream: ImageStream) -> float | None:
        times = [due for tag in stream.spec.tags if (due := self._due(stream, tag)) is not None]
        if not times:
            return None
        return max((min(times) - self._clock()).total_seconds(), 0)

    async def _access(self, stream: ImageStream) -> Access:
        return Access(credentials=await self._secrets.of_namespace(stream.namespace))

    async def _import(
        self, stream: ImageStream, tag: TagReference, access: Access, now: datetime
    ) -> "_Outcome":
        """Ask upstream for one tag: a HEAD, and a GET only for a digest that is not yet known."""
        history = stream.status.tag(tag.name) or NamedTagEventList(tag=tag.name)
        state = history.import_state or ImportState()
        source = tag.imports or ""
        if state.source != source:
            state = ImportState(source=source)
        interval = self._schedule.interval_of(stream, tag)
        repeat = interval if tag.scheduled else None
        try:
            reference = Reference.parse(source)
            asked = Access(access.credentials, insecure=tag.insecure)
            found = await self._upstream.resolve(reference, asked)
            if str(found.digest) != state.upstream_digest:
                state = await self._learn(reference, found, asked, state, now)
        except (RegistryError, InvalidReferenceError) as error:
            return self._failed(tag, state, error, repeat, now)
        state = state.model_copy(
            update={
                "last_check_time": now,
                "failures": 0,
                "next_check_time": self._schedule.after_success(repeat, now, self._jitter)
                if repeat
                else None,
            }
        )
        event = TagEvent(
            created=now,
            docker_image_reference=str(reference.with_digest(found.digest)),
            image=str(found.digest),
            generation=tag.generation or stream.generation,
        )
        return _Outcome(tag.name, state, event=event)

    async def _learn(
        self,
        reference: Reference,
        found: Descriptor,
        access: Access,
        state: ImportState,
        now: datetime,
    ) -> ImportState:
        """Fetch a digest that is new to the tag, and keep it as an Image."""
        pinned = reference.with_digest(found.digest)
        platforms: tuple[PlatformDigest, ...] = ()
        try:
            known = await self._store.get(Image, "", str(found.digest))
            media_type = known.docker_image_manifest_media_type or ""
            platforms = _platforms_of(known)
        except NotFoundError:
            manifest = await self._upstream.manifest(pinned, access)
            media_type = str(manifest.media_type)
            layers: tuple[ImageLayer, ...] = ()
            if isinstance(manifest, Index):
                platforms = tuple(
                    PlatformDigest(platform=str(entry.platform or ""), digest=str(entry.digest))
                    for entry in manifest.manifests
                )
            else:
                layers = tuple(
                    ImageLayer(name=str(layer.digest), size=layer.size, media_type=layer.media_type)
                    for layer in manifest.layers
                )
            await self._keep(
                Image(
                    metadata=ObjectMeta(name=str(found.digest)),
                    docker_image_reference=str(pinned),
                    docker_image_manifest_media_type=media_type,
                    docker_image_layers=layers,
                    docker_image_manifests=tuple(
                        {"platform": entry.platform, "digest": entry.digest} for entry in platforms
                    ),
                )
            )
        return state.model_copy(
            update={
                "upstream_digest": str(found.digest),
                "first_seen": now,
                "media_type": media_type,
                "platforms": platforms,
            }
        )

    async def _keep(self, image: Image) -> None:
        try:
            await self._store.create(image)
        except AlreadyExistsError:
            return  # two tags of one digest: either's record is the same

    def _failed(
        self,
        tag: TagReference,
        state: ImportState,
        error: RegistryError | InvalidReferenceError,
        repeat: timedelta | None,
        now: datetime,
    ) -> "_Outcome":
        failures = state.failures + 1
        wanted = getattr(error, "retry_after", None)
        retry = self._schedule.after_failure(failures, wanted, now, self._jitter)
        if repeat is not None and not getattr(error, "retryable", False):
            # Nothing suggests that a refusal passes sooner than the next look.
            retry = max(retry, min(retry + repeat, now + repeat))
        state = state.model_copy(
            update={"last_check_time": now, "failures": failures, "next_check_time": retry}
        )
        condition = Condition(
            type=IMPORT_SUCCESS,
            status="False",
            reason=getattr(error, "reason", "InvalidReference"),
            message=f"{error}; tried again at {retry:%Y-%m-%dT%H:%M:%SZ}",
            generation=tag.generation,
        )
        log.warning(
            "import failed",
            extra={"tag": tag.name, "source": state.source, "reason": condition.reason},
        )
        return _Outcome(tag.name, state, condition=condition)

    async def _write(self, key: ObjectKey, outcomes: list["_Outcome"], now: datetime) -> None:
        """Fold outcomes and pushed tags into the status as it is now."""
        for _ in range(_WRITE_TRIES):
            try:
                stream = await self._store.get(ImageStream, key.namespace, key.name)
            except NotFoundError:
                return
            status = stream.status
            for outcome in outcomes:
                if any(tag.name == outcome.tag for tag in stream.spec.tags):
                    status = outcome.fold_into(status, now)
            status = await self._take_pushes(stream, status, now)
            repository = f"{self._internal.host}/{key.namespace}/{key.name}"
            status = status.model_copy(update={"docker_image_repository": repository})
            if status == stream.status:
                return
            try:
                await self._store.update_status(stream.with_status(status))
            except ConflictError:
                continue
            return
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


class _Outcome:
    """What one tag's import came to."""

    def __init__(
        self,
        tag: str,
        state: ImportState,
        *,
        event: TagEvent | None = None,
        condition: Condition | None = None,
    ) -> None:
        self.tag = tag
        self._state = state
        self._event = event
        self._condition = condition

    def fold_into(self, status: ImageStreamStatus, now: datetime) -> ImageStreamStatus:
        old = status.tag(self.tag) or NamedTagEventList(tag=self.tag)
        if self._condition is not None:
            conditions = set_condition(old.conditions, self._condition, now)
            entry = old.model_copy(update={"conditions": conditions, "import_state": self._state})
            return replace_tag(status, entry)
        before = old.import_state.upstream_digest if old.import_state else ""
        changes: dict[str, object] = {"import_state": self._state}
        if self._event is None or (before == self._state.upstream_digest and old.items):
            # Upstream stands still: a push to the same tag since then stays in force.
            return replace_tag(status, old.model_copy(update={"conditions": (), **changes}))
        return record_image(status, self.tag, self._event, changes=changes)


def take_push(
    status: ImageStreamStatus, repository: str, tag: str, digest: Digest, now: datetime
) -> ImageStreamStatus:
    """Return `status` with a pushed image; `repository` carries the registry's host."""
    old = status.tag(tag)
    generation = old.latest.generation if old and old.latest else 1
    event = pushed_event(repository, str(digest), now, generation)
    return record_image(status, tag, event, changes={"pushed_digest": str(digest)})


def faults(stream: ImageStream) -> Iterable[str]:
    """Yield what a user got wrong without breaking the object."""
    fault = interval_fault(stream)
    if fault is not None:
        yield fault


def _source(tag: TagReference) -> Reference | None:
    try:
        return Reference.parse(tag.imports) if tag.imports else None
    except InvalidReferenceError:
        return None


def _platforms_of(image: Image) -> tuple[PlatformDigest, ...]:
    try:
        return tuple(
            PlatformDigest(platform=str(entry["platform"]), digest=str(entry["digest"]))
            for entry in image.docker_image_manifests
        )
    except KeyError as error:
        raise InvalidAnswerError(image.name, f"the kept Image lacks {error}") from error
