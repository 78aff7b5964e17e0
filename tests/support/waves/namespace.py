"""A namespace with a base that a vendor changes, and its Waves, in memory."""

from typing import Self

from tests.support.builds.build_namespace import (
    IMAGE_TRIGGER,
    NAMESPACE,
    BuildNamespace,
    pull_spec,
)

from upwell.api.builds.build import BuildOutputStatus, BuildOutputTo, BuildPhase, ResolvedImage
from upwell.api.image import ImageStream, ImportedChange, ImportState, TagEvent
from upwell.api.meta import ObjectKey
from upwell.api.waves.wave import Wave
from upwell.oci import Digest
from upwell.policy.images.streams import record_image
from upwell.policy.waves.approval import NO_APPROVALS, ApprovalRules
from upwell.policy.waves.progress import WaveRules
from upwell.reconcilers.waves.index import WaveIndex
from upwell.reconcilers.waves.waves import Waves
from upwell.store.interface import NotFoundError

IMAGE = "vendor.test/debian:11"


class WavesNamespace(BuildNamespace):
    """A base that a vendor changes, and BuildConfigs that stand on it."""

    def __init__(self, approvals: ApprovalRules = NO_APPROVALS) -> None:
        super().__init__(approvals)
        self.time = 0.0
        rules = WaveRules(approvals=approvals)
        self.wave_index = WaveIndex(self.index)
        self.waves = Waves(self.wave_index, self.clock, lambda: self.time, rules)

    async def imports(self, mark: str, *, upstream: str = "", pushed: bool = False) -> None:
        """Let the vendor's image change, and the stream import it.

        `upstream` is the mark of the index that the image is one manifest of.
        """
        before = None
        try:
            before = await self.store.get(ImageStream, NAMESPACE, "debian")
        except NotFoundError:
            tag = {
                "name": "latest",
                "from": {"kind": "DockerImage", "name": IMAGE},
                "importPolicy": {"scheduled": True},
            }
            metadata = {"name": "debian", "namespace": NAMESPACE}
            document = {"metadata": metadata, "spec": {"tags": (tag,)}}
            await self.store.create(ImageStream.model_validate(document))
        await self.stream("debian", mark)
        if not pushed:
            await self.note_import(mark, upstream or mark)
        await self.wave_index.ready()
        after = await self.store.get(ImageStream, NAMESPACE, "debian")
        for key in {*self.waves.moved(before, after)}:
            await self.look(key)

    async def note_import(self, mark: str, upstream: str) -> None:
        stream = await self.store.get(ImageStream, NAMESPACE, "debian")
        state = ImportState(
            source=IMAGE,
            imported_digest=str(Digest.of(mark.encode())),
            upstream_digest=str(Digest.of(upstream.encode())),
        )
        [history] = stream.status.tags
        latest, *before = history.items
        change = ImportedChange(image=IMAGE, digest=state.upstream_digest)
        if before:
            change = change.model_copy(update={"previous": before[0].image})
            latest = latest.model_copy(update={"imported": change})
        told = history.model_copy(update={"import_state": state, "items": (latest, *before)})
        status = stream.status.model_copy(update={"tags": (told,)})
        await self.store.update_status(stream.with_status(status))

    async def moves(self, name: str, mark: str) -> tuple[ImageStream, ImageStream]:
        """Let a stream import its image anew, as one write; return it before and after."""
        before = await self.store.get(ImageStream, NAMESPACE, name)
        digest = str(Digest.of(mark.encode()))
        source = before.spec.tags[0].imports or IMAGE
        event = TagEvent(
            created=self.clock(),
            docker_image_reference=pull_spec(name, mark),
            image=digest,
            imported=ImportedChange(image=source, digest=digest),
        )
        status = record_image(before.status, "latest", event, changes={})
        state = ImportState(source=source, imported_digest=digest, upstream_digest=digest)
        told = status.tags[0].model_copy(update={"import_state": state})
        status = status.model_copy(update={"tags": (told,)})
        return before, await self.store.update_status(before.with_status(status))

    async def look(self, *keys: ObjectKey) -> None:
        """Reconcile Waves; without keys, all."""
        found = (await self.store.list(Wave)).items
        for key in keys or [one.key for one in found]:
            self.time += 3600
            await self.waves.reconcile(key)

    async def all(self) -> list[Wave]:
        """Return the Waves, the oldest first."""
        await self.look()
        found = (await self.store.list(Wave)).items
        return sorted(found, key=lambda one: str(one.metadata.creation_timestamp))

    async def built(self, name: str, mark: str, *, on: str = "") -> None:
        """End the build that runs, or the newest, with a result; `on` is its base's pull spec."""
        await self.reconcile(name)
        found = await self.builds(name)
        running = (one for one in found if one.status.phase is BuildPhase.RUNNING)
        newest = next(running, found[-1])
        digest = str(Digest.of(mark.encode()))
        output = BuildOutputStatus(to=BuildOutputTo(image_digest=digest))
        images = (ResolvedImage(name=on, reference=on),) if on else ()
        ended = {"phase": BuildPhase.COMPLETE, "output": output, "images": images}
        status = newest.status.model_copy(update=ended)
        await self.store.update_status(newest.with_status(status))
        await self.stream(name, mark)
        await self.reconcile(name)

    @classmethod
    async def standing(cls, approvals: ApprovalRules = NO_APPROVALS) -> Self:
        """Return `base`, which stands on the vendor's image, and `app`, which stands on `base`."""
        setup = cls(approvals)
        await setup.imports("old")
        for name in ("base", "app"):
            await setup.stream(name)
        await setup.config("base", "debian:latest", [IMAGE_TRIGGER])
        await setup.config("app", "base:latest", [IMAGE_TRIGGER])
        await setup.built("base", "base-old")
        await setup.built("app", "app-old")
        return setup
