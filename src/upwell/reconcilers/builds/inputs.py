"""What builds read from other objects: uploads, Secrets, ConfigMaps, and what of it is missing."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from upwell.api.build import Build, BuildConfig
from upwell.api.core import ConfigMap, EnvVar, Secret
from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectReference
from upwell.builder.interface import BuildError, InjectedFiles, MountedFiles
from upwell.oci import Digest, InvalidDigestError
from upwell.policy.builds.environment import (
    UnresolvableEnvironmentError,
    resolve_environment,
    sources_of,
)
from upwell.policy.builds.new_build import UnresolvedInputError, pin_reference
from upwell.policy.builds.triggers import Streams
from upwell.policy.builds.volumes import MissingKeyError, volume_wishes
from upwell.policy.images.names import names_in
from upwell.policy.images.streams import StreamName, split_tag
from upwell.policy.rollouts.pod_template import CONFIG_MAP, SECRET, SourceName
from upwell.store.interface import NotFoundError, Store


@dataclass(frozen=True, slots=True)
class MissingInput:
    """Objects that a build needs and that do not exist; reason and message of its status."""

    reason: str
    message: str


class BuildInputs:
    """Reads the objects that a Build names."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def missing_input(self, build: Build) -> MissingInput | None:
        """Say what must be created before `build` can run; None: nothing."""
        target = build.spec.output.to
        streams = await self._streams_named([*_images(build), *([target] if target else [])], build)
        if target is not None and target.kind == IMAGE_STREAM_TAG:
            stream, _ = split_tag(target, build.namespace)
            if stream not in streams:
                name = f"{stream.namespace}/{stream.name}"
                message = f"output ImageStream {name} does not exist: create it"
                return MissingInput("InvalidOutputReference", message)
        for reference in _images(build):
            try:
                pin_reference(reference, build.namespace, streams)
            except UnresolvedInputError as error:
                return MissingInput("InvalidImageReference", str(error))
        missing = [s for s in _named(build) if await self.values(build.namespace, s) is None]
        if not missing:
            return None
        push = build.spec.output.push_secret
        if push is not None and SourceName(SECRET, push.name) in missing:
            return MissingInput("MissingPushSecret", f"waits for Secret {push.name}: create it")
        names = ", ".join(f"{source.kind} {source.name}" for source in missing)
        return MissingInput("GenericBuildFailed", f"waits for {names}: create what is missing")

    async def streams(self) -> Streams:
        """Return every ImageStream."""
        listing = await self._store.list(ImageStream)
        return {StreamName(s.namespace, s.name): s for s in listing.items}

    async def _streams_named(self, references: Iterable[ObjectReference], build: Build) -> Streams:
        found = {}
        for name in {n for r in references for n in names_in(r, build.namespace)}:
            if isinstance(name, StreamName):
                with suppress(NotFoundError):
                    found[name] = await self._store.get(ImageStream, name.namespace, name.name)
        return found

    async def env(self, build: Build, variables: Sequence[EnvVar]) -> tuple[tuple[str, str], ...]:
        """Return variables with their values; raises BuildError UnresolvableEnvironmentVariable."""
        values = {
            source: found
            for source in sources_of(variables)
            if (found := await self.values(build.namespace, source)) is not None
        }
        try:
            return resolve_environment(variables, values, build)
        except UnresolvableEnvironmentError as error:
            raise BuildError("UnresolvableEnvironmentVariable", str(error)) from error

    async def files(self, build: Build) -> tuple[InjectedFiles, ...]:
        """Return the Secrets and ConfigMaps that are files of the build's source."""
        source = build.spec.source
        wanted = [
            *((SECRET, s.secret.name, s.destination_dir) for s in source.secrets),
            *((CONFIG_MAP, c.config_map.name, c.destination_dir) for c in source.config_maps),
        ]
        found = []
        for kind, name, folder in wanted:
            content = await self.values(build.namespace, SourceName(kind, name))
            if content is None:
                message = f"{kind} {name} does not exist (any more)"
                raise BuildError("GenericBuildFailed", message, retryable=True)
            found.append(InjectedFiles(name, content, folder or "", secret=kind == SECRET))
        return tuple(found)

    async def volumes(self, build: Build) -> tuple[MountedFiles, ...]:
        """Return the Secrets and ConfigMaps that are seen while the image is built."""
        found = []
        for wish in volume_wishes(build.spec.strategy):
            content = await self.values(build.namespace, wish.source)
            if content is None and not wish.optional:
                message = f"{wish.source.kind} {wish.source.name} does not exist (any more)"
                raise BuildError("GenericBuildFailed", message, retryable=True)
            try:
                files = wish.files(content or {})
            except MissingKeyError as error:
                raise BuildError("GenericBuildFailed", str(error)) from error
            secret = wish.source.kind == SECRET
            found.append(MountedFiles(wish.name, files, wish.targets, secret=secret))
        return tuple(found)

    async def versions(self, build: Build) -> dict[str, str]:
        """Return what stands for the content of each object that the build's result depends on.

        A ConfigMap's digest; a Secret's version, since a digest could be guessed at.
        """
        strategy = build.spec.strategy
        arguments = strategy.docker_strategy.build_args if strategy.docker_strategy else ()
        source = build.spec.source
        named = {
            *sources_of([*strategy.env, *arguments]),
            *(SourceName(SECRET, entry.secret.name) for entry in source.secrets),
            *(SourceName(CONFIG_MAP, entry.config_map.name) for entry in source.config_maps),
            *(wish.source for wish in volume_wishes(strategy)),
        }
        found = {}
        for name in sorted(named):
            with suppress(NotFoundError):
                found[f"{name.kind} {name.name}"] = await self._version(build.namespace, name)
        return found

    async def values(self, namespace: str, source: SourceName) -> Mapping[str, bytes] | None:
        """Return what a Secret or ConfigMap holds; None if it does not exist."""
        kind: type[Secret | ConfigMap] = Secret if source.kind == SECRET else ConfigMap
        try:
            return (await self._store.get(kind, namespace, source.name)).decoded()
        except NotFoundError:
            return None

    async def _version(self, namespace: str, source: SourceName) -> str:
        if source.kind == SECRET:
            secret = await self._store.get(Secret, namespace, source.name)
            return f"{secret.uid}/{secret.resource_version}"
        content = (await self._store.get(ConfigMap, namespace, source.name)).decoded()
        hashed = hashlib.sha256()
        for key, value in sorted(content.items()):
            hashed.update(f"{key}\0{len(value)}\0".encode())
            hashed.update(value)
        return hashed.hexdigest()


async def referenced_inputs(store: Store) -> frozenset[Digest]:
    """Return the uploads that a Build or a BuildConfig names."""
    names = set()
    # BuildConfigs last: a build that goes in between has left its upload in one's status.
    for build in (await store.list(Build)).items:
        if build.spec.source.binary is not None:
            names.add(build.spec.source.binary.digest or "")
    for config in (await store.list(BuildConfig)).items:
        if config.status.binary_input is not None:
            names.add(config.status.binary_input.digest)
    found = set()
    for name in names:
        with suppress(InvalidDigestError):
            found.add(Digest.parse(name))
    return frozenset(found)


def _images(build: Build) -> Iterator[ObjectReference]:
    """Yield the references of streams: only a Build that nobody pinned has any."""
    base = build.spec.strategy.base
    named = [*([base] if base else []), *(image.from_ for image in build.spec.source.images)]
    yield from (reference for reference in named if reference.kind != DOCKER_IMAGE)


def _named(build: Build) -> list[SourceName]:
    """Return the Secrets and ConfigMaps without which the build cannot start.

    Variables are not among them: a missing value ends the build with a reason of its own.
    """
    spec = build.spec
    secrets = [
        spec.source.source_secret,
        spec.strategy.pull_secret,
        spec.output.push_secret,
        *(entry.secret for entry in spec.source.secrets),
        *(image.pull_secret for image in spec.source.images),
    ]
    maps = [entry.config_map for entry in spec.source.config_maps]
    named = [
        *(SourceName(SECRET, secret.name) for secret in secrets if secret and secret.name),
        *(SourceName(CONFIG_MAP, config_map.name) for config_map in maps if config_map.name),
        *(wish.source for wish in volume_wishes(spec.strategy) if not wish.optional),
    ]
    return list(dict.fromkeys(named))
