"""Copies of what lies beside mirrored images: signatures, attestations, SBOMs, other referrers.

They come beside the work that names an image, and never hold it up; by them a policy is satisfied
while the source is away. Each image is looked at once in an hour in which somebody uses it, so that
what is signed later comes too, and a source is asked little.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from upwell.formats.attachment_tags import attachment_tags
from upwell.formats.sigstore.artifacts import BUNDLE_TYPE, SIGNATURE_TYPE
from upwell.formats.sigstore.dsse import MEDIA_TYPE as ENVELOPE
from upwell.machine.backoff import Backoff
from upwell.oci import Descriptor, Digest, Manifest, Reference
from upwell.registry.announced import announced
from upwell.registry.errors import (
    BlobUnknownError,
    InvalidAnswerError,
    ManifestUnknownError,
    RegistryError,
)
from upwell.registry.hosting import HostedRegistry, ManifestPush, UploadUnknownError
from upwell.registry.interface import Registry, RequestAccess

log = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024 * 1024
"""Bytes beside one image that are brought at a time."""
MAX_REFERRERS = 64
"""Referrers of one image that are brought; signatures and attestations first."""
DEFAULT_PAUSE = 10.0
_ACTOR = "mirror"
_SECONDS = 60.0
"""Longest time for one image."""
_AGAIN = 3600.0
"""Seconds for which a look counts."""
_ON_DEMAND_AGAIN = 60.0
_AT_A_TIME = 4
"""Registries that are asked at once."""
_MAX_WAITING = 1000
_MAX_REMEMBERED = 10_000
_FIRST = (SIGNATURE_TYPE, BUNDLE_TYPE, ENVELOPE)


@dataclass(frozen=True, slots=True)
class MirroredImage:
    """An image of another registry, the repository of its copy here, and the access to it."""

    source: Reference
    repository: str
    digests: Sequence[Digest]
    """Digests of the image: of its index, and of the platform's manifest."""
    access: RequestAccess

    @property
    def key(self) -> tuple[str, Sequence[Digest]]:
        """Its copy's repository and its digests: by these it is told from others."""
        return self.repository, tuple(self.digests)


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at a source: when the next one is due (time of the loop)."""

    due: float
    failures: int = 0


class AttachmentMirror:
    """Brings what lies beside images of `remote` into `hosted`, one image of a registry at a time.

    A registry that hangs keeps few others waiting: some are asked at once, and those that have
    failed last. `pause` is how long it waits, in seconds, so that the work that names an image
    comes first.
    """

    def __init__(
        self, remote: Registry, hosted: HostedRegistry, pause: float = DEFAULT_PAUSE
    ) -> None:
        self._pause = pause
        self._remote = remote
        self._hosted = hosted
        self._waiting: OrderedDict[tuple[str, Sequence[Digest]], MirroredImage] = OrderedDict()
        self._looks: OrderedDict[tuple[str, Sequence[Digest]], _Look] = OrderedDict()
        self._asked: set[str] = set()
        """Registries of which an image is being brought."""
        self._failing: OrderedDict[str, None] = OrderedDict()
        """Registries that have not answered lately."""
        self._work = asyncio.Event()
        self._backoff = Backoff(first=60.0, longest=_AGAIN)

    def note(self, image: MirroredImage) -> None:
        """Have what lies beside an image brought by and by, unless that was done lately.

        A hint: what is lost in a crash, or beyond what may wait, is noted when it is used again.
        """
        look = self._looks.get(image.key)
        if look is not None and look.due > _now():
            return
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.setdefault(image.key, image)
            self._work.set()

    @property
    def is_idle(self) -> bool:
        """True if nothing waits, and nothing is being brought."""
        return not self._work.is_set()

    async def run(self) -> None:
        """Bring what is noted, for ever."""
        while True:
            await self._work.wait()
            await asyncio.sleep(self._pause)
            async with asyncio.TaskGroup() as lines:
                for _ in range(_AT_A_TIME):
                    lines.create_task(self._drain())
            if not self._waiting:
                self._work.clear()

    async def _drain(self) -> None:
        """Bring images until none waits of a registry that nobody asks at the moment."""
        while (image := self._next()) is not None:
            registry = image.source.registry
            self._asked.add(registry)
            try:
                await self._try(image)
            finally:
                self._asked.discard(registry)

    def _next(self) -> MirroredImage | None:
        """Take the image that is brought next, None where there is none now."""
        free = [one for one in self._waiting.values() if one.source.registry not in self._asked]
        found = min(free, key=lambda one: one.source.registry in self._failing, default=None)
        return self._waiting.pop(found.key) if found is not None else None

    async def _try(self, image: MirroredImage) -> None:
        registry = image.source.registry
        try:
            async with asyncio.timeout(_SECONDS):
                await self.bring(image)
        except (RegistryError, TimeoutError) as error:
            why = str(error) or f"it took longer than {_SECONDS:g} s"
            log.info("attachments not mirrored", extra={"image": str(image.source), "why": why})
            self._failing[registry] = None
            while len(self._failing) > _MAX_REMEMBERED:
                self._failing.popitem(last=False)
            for one in self._of_registry(registry):
                self._failed(self._waiting.pop(one.key))
            self._failed(image)
        else:
            self._failing.pop(registry, None)
            self._remember(image, _Look(_now() + _AGAIN))

    def _of_registry(self, registry: str) -> Sequence[MirroredImage]:
        """Return what waits for the same registry: it is not asked for them now."""
        return [one for one in self._waiting.values() if one.source.registry == registry]

    def _failed(self, image: MirroredImage) -> None:
        before = self._looks.get(image.key)
        failures = (before.failures if before is not None else 0) + 1
        self._remember(image, _Look(_now() + self._backoff.delay(failures), failures))

    def _remember(self, image: MirroredImage, look: _Look) -> None:
        self._looks[image.key] = look
        self._looks.move_to_end(image.key)
        while len(self._looks) > _MAX_REMEMBERED:
            self._looks.popitem(last=False)

    async def bring(self, image: MirroredImage) -> None:
        """Copy what lies beside an image now; raises a RegistryError when its source is away.

        Of an image that nobody has signed, and to which nothing refers, no other tag is asked for:
        two questions for each of its digests are all that it costs.
        """
        bringing = _Bringing(self._remote, self._hosted, image)
        found = False
        for digest in image.digests:
            signatures, *_ = attachment_tags(digest)
            found |= await bringing.tag(signatures)
            found |= await bringing.referrers(digest)
        for digest in image.digests if found else ():
            for tag in attachment_tags(digest)[1:]:
                await bringing.tag(tag)


class OnDemandAttachments:
    """Brings what lies beside images when somebody asks for it, each at most once a minute."""

    def __init__(self, mirror: AttachmentMirror) -> None:
        self._mirror = mirror
        self._locks: WeakValueDictionary[tuple[str, Digest], asyncio.Lock] = WeakValueDictionary()
        self._due: OrderedDict[tuple[str, Digest], float] = OrderedDict()
        """Time of the loop from which a source may be asked again."""

    async def bring(self, image: MirroredImage) -> None:
        """Bring what lies beside an image, unless that was tried lately; its failure is logged."""
        key = (image.repository, image.digests[0])
        async with self._locks.setdefault(key, asyncio.Lock()):
            if self._due.get(key, 0.0) > _now():
                return
            try:
                async with asyncio.timeout(_SECONDS):
                    await self._mirror.bring(image)
            except (RegistryError, TimeoutError) as error:
                extra = {"image": str(image.source), "why": str(error)}
                log.warning("attachments not fetched", extra=extra)
            self._due[key] = _now() + _ON_DEMAND_AGAIN
            self._due.move_to_end(key)
            while len(self._due) > _MAX_REMEMBERED:
                self._due.popitem(last=False)


@dataclass(slots=True)
class _Bringing:
    """One copy under way."""

    remote: Registry
    hosted: HostedRegistry
    image: MirroredImage
    room: int = MAX_BYTES

    async def tag(self, tag: str) -> bool:
        """Bring what a tag names; return True if it names something."""
        source = self.image.source.with_tag(tag)
        try:
            there = await self.remote.resolve(source, self.image.access)
        except ManifestUnknownError:
            return False
        except InvalidAnswerError as error:
            self._pass_over(tag, error)
            return False
        if there.digest != await self.hosted.tag_digest(self.image.repository, tag):
            await self._bring(there.digest, tag=tag)
        return True

    async def referrers(self, subject: Digest) -> bool:
        """Bring what refers to a digest; return True if there is something."""
        source = self.image.source.with_digest(subject)
        try:
            listed = list(await self.remote.referrers_of(source, self.image.access))
        except InvalidAnswerError as error:
            self._pass_over("referrers", error)
            return False
        listed.sort(key=lambda one: one.artifact_type not in _FIRST)
        for entry in listed[:MAX_REFERRERS]:
            if not await self.hosted.has_manifest(self.image.repository, entry.digest):
                await self._bring(entry.digest, subject=subject)
        return bool(listed)

    async def _bring(
        self, digest: Digest, *, tag: str | None = None, subject: Digest | None = None
    ) -> None:
        """Copy a manifest with its content; what is strange or gone is passed over."""
        source = self.image.source.with_digest(digest)
        try:
            manifest = await self.remote.manifest(source, self.image.access)
            is_listed = manifest.subject is not None and manifest.subject.digest == subject
            if isinstance(manifest, Manifest) and (tag is not None or is_listed):
                await self._copy(manifest, tag)
        except RegistryError as error:
            if error.retryable and not isinstance(error, InvalidAnswerError):
                raise
            self._pass_over(str(digest), error)

    async def _copy(self, manifest: Manifest, tag: str | None) -> None:
        blobs = {one.digest: one for one in manifest.references}
        size = len(manifest.raw) + sum(one.size for one in blobs.values())
        if size > self.room:
            why = f"{size} bytes, more than the {self.room} that may still be copied"
            raise InvalidAnswerError(f"{self.image.source.name}@{manifest.digest}", why)
        self.room -= size
        for blob in blobs.values():
            await self._copy_blob(blob)
        push = ManifestPush(
            self.image.repository,
            manifest.raw,
            str(manifest.media_type),
            tag=tag,
            digest=manifest.digest,
            actor=_ACTOR,
        )
        await self.hosted.put_manifest(push)

    async def _copy_blob(self, blob: Descriptor) -> None:
        repository = self.image.repository
        try:
            await self.hosted.blob_size(repository, blob.digest)
        except BlobUnknownError:
            upload = await self.hosted.start_upload(repository, blob.digest.algorithm)
        else:
            return
        try:
            opened = self.remote.open_blob(self.image.source, blob.digest, self.image.access)
            async with opened as chunks:
                bounded = announced(chunks, blob, self.image.source.name)
                await self.hosted.append(repository, upload, bounded)
            await self.hosted.finish_upload(repository, upload, blob.digest)
        except BaseException:
            await self._cancel(upload)
            raise

    async def _cancel(self, upload: str) -> None:
        try:
            await self.hosted.cancel_upload(self.image.repository, upload)
        except UploadUnknownError:  # a wrong digest has dropped it
            return

    def _pass_over(self, what: str, error: RegistryError) -> None:
        extra = {"image": str(self.image.source), "what": what, "why": str(error)}
        log.info("attachment passed over", extra=extra)


def _now() -> float:
    return asyncio.get_running_loop().time()
