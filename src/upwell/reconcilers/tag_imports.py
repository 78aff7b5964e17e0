"""One tag's import: a question to its upstream, and what the answer makes of the tag's status."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

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
from upwell.api.meta import Condition, ObjectMeta
from upwell.oci import Descriptor, Index, InvalidReferenceError, Manifest, Reference
from upwell.policy.schedule import ImportSchedule
from upwell.policy.streams import record_image, replace_tag
from upwell.registry.errors import InvalidAnswerError, RegistryError
from upwell.registry.interface import Access, CredentialSource, Registry
from upwell.store.interface import AlreadyExistsError, NotFoundError, Store

log = logging.getLogger(__name__)

IMPORT_SUCCESS = "ImportSuccess"


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What one tag's import came to: an image, or a condition that says why there is none."""

    tag: str
    state: ImportState
    result: TagEvent | Condition

    def fold_into(self, status: ImageStreamStatus, now: datetime) -> ImageStreamStatus:
        """Return `status` with this outcome; a failure keeps the last good digest in force."""
        old = status.tag(self.tag) or NamedTagEventList(tag=self.tag)
        changes: dict[str, object] = {"import_state": self.state}
        if isinstance(self.result, Condition):
            changes["conditions"] = set_condition(old.conditions, self.result, now)
        elif old.items and _names_the_same(old.import_state, self.state):
            # Upstream stands still: a push to the same tag since then stays in force.
            changes["conditions"] = ()
        else:
            return record_image(status, self.tag, self.result, changes=changes)
        return replace_tag(status, old.model_copy(update=changes))


class TagImporter:
    """Asks upstream registries for tags, and keeps an Image for every digest that it meets."""

    def __init__(
        self,
        store: Store,
        upstream: Registry,
        schedule: ImportSchedule,
        jitter: Callable[[], float],
    ) -> None:
        self._store = store
        self._upstream = upstream
        self._schedule = schedule
        self._jitter = jitter

    async def ask(
        self, stream: ImageStream, tag: TagReference, logins: CredentialSource, now: datetime
    ) -> ImportOutcome:
        """Ask for one tag: a HEAD, and a GET only for a digest that is not yet known.

        A registry's failure is an outcome; raises StoreError alone.
        """
        state = _state_before(stream, tag)
        access = Access(logins, insecure=tag.insecure)
        try:
            reference = Reference.parse(state.source)
            found = await self._upstream.resolve(reference, access)
            pinned = reference.with_digest(found.digest)
            if str(found.digest) != state.upstream_digest:
                state = await self._learn(pinned, found, access, state, now)
        except InvalidReferenceError as error:
            return _refused(tag, state, error)
        except RegistryError as error:
            return self._failed(stream, tag, state, error, now)
        event = TagEvent(
            created=now,
            docker_image_reference=str(pinned),
            image=str(found.digest),
            generation=tag.generation or stream.generation,
        )
        again = None
        if tag.scheduled:
            interval = self._schedule.interval_of(stream, tag)
            again = self._schedule.after_success(interval, now, self._jitter)
        times = {"last_check_time": now, "failures": 0, "next_check_time": again}
        return ImportOutcome(tag.name, state.model_copy(update=times), event)

    async def _learn(
        self,
        pinned: Reference,
        found: Descriptor,
        access: Access,
        state: ImportState,
        now: datetime,
    ) -> ImportState:
        """Fetch a digest that is new to the tag, and keep it as an Image."""
        try:
            image = await self._store.get(Image, "", str(found.digest))
        except NotFoundError:
            image = _image(pinned, await self._upstream.manifest(pinned, access))
            await self._keep(image)
        return state.model_copy(
            update={
                "upstream_digest": image.name,
                "first_seen": now,
                "media_type": image.docker_image_manifest_media_type or "",
                "platforms": _platforms_of(image),
            }
        )

    async def _keep(self, image: Image) -> None:
        try:
            await self._store.create(image)
        except AlreadyExistsError:
            return  # two tags of one digest: either's record is the same

    def _failed(
        self,
        stream: ImageStream,
        tag: TagReference,
        state: ImportState,
        error: RegistryError,
        now: datetime,
    ) -> ImportOutcome:
        failures = state.failures + 1
        again = self._schedule.after_failure(failures, error.retry_after, now, self._jitter)
        if tag.scheduled and not error.retryable:
            # Nothing suggests that a refusal passes sooner than the next look.
            again = max(again, now + self._schedule.interval_of(stream, tag))
        message = f"{error}; tried again at {again:%Y-%m-%dT%H:%M:%SZ}"
        times = {"last_check_time": now, "failures": failures, "next_check_time": again}
        return _failure(tag, state.model_copy(update=times), error.reason, message)


def _state_before(stream: ImageStream, tag: TagReference) -> ImportState:
    """Return what is known of the tag's present source, at the tag's present generation."""
    history = stream.status.tag(tag.name)
    state = history.import_state if history is not None else None
    source = tag.imports or ""
    if state is None or state.source != source:
        state = ImportState(source=source)
    return state.model_copy(update={"generation": tag.generation or 0})


def _refused(tag: TagReference, state: ImportState, error: InvalidReferenceError) -> ImportOutcome:
    """Return the outcome of a source that names no image: only another spec can mend it."""
    state = state.model_copy(update={"failures": state.failures + 1, "next_check_time": None})
    return _failure(tag, state, "InvalidReference", str(error))


def _failure(tag: TagReference, state: ImportState, reason: str, message: str) -> ImportOutcome:
    log.warning("import failed", extra={"tag": tag.name, "source": state.source, "reason": reason})
    condition = Condition(
        type=IMPORT_SUCCESS,
        status="False",
        reason=reason,
        message=message,
        generation=tag.generation,
    )
    return ImportOutcome(tag.name, state, condition)


def _names_the_same(before: ImportState | None, now: ImportState) -> bool:
    """Whether upstream names what it named at the last successful check of the same source."""
    return (
        before is not None
        and before.source == now.source
        and before.upstream_digest == now.upstream_digest
    )


def _image(pinned: Reference, manifest: Manifest | Index) -> Image:
    layers: tuple[ImageLayer, ...] = ()
    manifests: tuple[dict[str, str], ...] = ()
    if isinstance(manifest, Index):
        manifests = tuple(
            {"platform": str(entry.platform or ""), "digest": str(entry.digest)}
            for entry in manifest.manifests
        )
    else:
        layers = tuple(
            ImageLayer(name=str(layer.digest), size=layer.size, media_type=layer.media_type)
            for layer in manifest.layers
        )
    return Image(
        metadata=ObjectMeta(name=str(pinned.digest)),
        docker_image_reference=str(pinned),
        docker_image_manifest_media_type=str(manifest.media_type),
        docker_image_layers=layers,
        docker_image_manifests=manifests,
    )


def _platforms_of(image: Image) -> tuple[PlatformDigest, ...]:
    try:
        return tuple(
            PlatformDigest(platform=str(entry["platform"]), digest=str(entry["digest"]))
            for entry in image.docker_image_manifests
        )
    except KeyError as error:
        raise InvalidAnswerError(image.name, f"the kept Image lacks {error}") from error
