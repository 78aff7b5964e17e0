"""Reads all that a build works with, once: every image pinned, every object and login found."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from upwell.api.builds.build import Build, ResolvedImage
from upwell.api.builds.config import BuildConfig
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.image_policies.policy import PolicyPoint
from upwell.api.meta import ObjectReference
from upwell.builder.interface import (
    DISK_PRESSURE,
    BinaryKind,
    BinarySource,
    BuildError,
    BuilderStrategy,
    BuildPlan,
    RegistryLogin,
)
from upwell.formats.dockerfile.lines import DockerfileError
from upwell.formats.dockerfile.parse import Dockerfile, parse
from upwell.git.interface import GitSource
from upwell.oci import Digest, InvalidDigestError, InvalidReferenceError, Reference
from upwell.oci.registry_prefix import reference_in, repository_in
from upwell.policy.access.own_registry import dockerfile_needs
from upwell.policy.builds.failures import transfer_may_pass
from upwell.policy.builds.identity import inputs_hash
from upwell.policy.builds.images import (
    BuildImages,
    KnownPin,
    NamedImage,
    base_name,
    inputs_of,
    insecure_by_tag,
    known_pin,
    named_images,
)
from upwell.policy.builds.input_analysis import MissingInput
from upwell.policy.builds.new_build import UnresolvedInputError, pin_reference
from upwell.policy.builds.objects import object_versions
from upwell.policy.builds.plan import (
    BuildDefaults,
    FetchedSource,
    ImagePull,
    ResolvedInputs,
    proxies_of,
    push_reference,
    result_replaced,
)
from upwell.policy.builds.triggers import ImageBar, Streams
from upwell.policy.images.names import ImageNames
from upwell.policy.images.streams import StreamTag
from upwell.reconcilers.authority import MISSING_RIGHT, UNASKED, Authority
from upwell.reconcilers.builds.context import config_of
from upwell.reconcilers.builds.logins import BuildCredentials, BuildLogins
from upwell.reconcilers.builds.objects import BuildObjects
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.signatures.policies import UNRESTRICTED, ImagePolicies
from upwell.reconcilers.signatures.questions import ImagePolicyError, ImageQuestion
from upwell.registry.errors import RegistryError
from upwell.registry.interface import InternalRegistry, Registry, RequestAccess
from upwell.store.interface import NotFoundError, Store
from upwell.uploads.interface import (
    BinaryInputs,
    InputError,
    SharedContentError,
    StoreFullError,
)

_ANY_REPOSITORY = "upstream"

type BarOfNew = Callable[[Build, StreamTag, str], Awaitable[ImageBar | None]]
"""Returns what keeps the image that a tag names now, a pull spec, out of a build."""


async def nothing_barred(_build: Build, _tag: StreamTag, _image: str) -> ImageBar | None:
    """Return None: every image may be built upon."""
    return None


class BuildPlanner:
    """Finds out what a Build needs, and changes nothing. Raises BuildError."""

    def __init__(  # noqa: PLR0913 - the ports, and who is asked before anything is used
        self,
        store: Store,
        logins: BuildLogins,
        upstream: Registry,
        internal: InternalRegistry,
        defaults: BuildDefaults,
        uploads: BinaryInputs | None = None,
        *,
        authority: Authority = UNASKED,
        policies: ImagePolicies = UNRESTRICTED,
        bar: BarOfNew = nothing_barred,
    ) -> None:
        """`bar` is asked of what a build takes that it was not made for."""
        self._bar = bar
        self._store = store
        self._authority = authority
        self._policies = policies
        self.defaults = defaults
        self._objects = BuildObjects(store)
        self._logins = logins
        self._upstream = upstream
        self._internal = internal
        self._insecure = InsecureRegistries(store, defaults.is_insecure)
        self._uploads = uploads

    def registry_login(self, plan: BuildPlan) -> AbstractContextManager[RegistryLogin | None]:
        """Return the build's login at the internal registry, for the time of the block."""
        return self._logins.internal(plan)

    async def missing_input(self, build: Build) -> MissingInput | None:
        """Say what must be created or granted before `build` can run; None: nothing."""
        if why := await self._authority.refusal(build) or await self._config_refusal(build):
            return MissingInput(MISSING_RIGHT, why)
        return await self._objects.missing(build)

    async def _config_refusal(self, build: Build) -> str:
        """Say which right to its images the author of what declares the build lacks.

        A Build of a BuildConfig names them as they were resolved: that asks for what it follows.
        """
        key, config = config_of(build), None
        with suppress(NotFoundError):
            config = key.name and await self._store.get(BuildConfig, key.namespace, key.name)
        if not config:
            return await self._authority.image_refusal(build)
        refusal = await self._authority.refusal(config)
        return refusal or await self._authority.image_refusal(config)

    async def git_source(self, build: Build) -> GitSource | None:
        """Return the source with its login; the commit of an earlier try, if there was one."""
        source = build.spec.source
        if source.git is None:
            return None
        login = await self._logins.of_source(build, source.git.uri)
        return GitSource(
            uri=source.git.uri,
            ref=build.revision.commit or source.git.ref or "",
            context_dir=source.context_dir or "",
            proxies=proxies_of(build),
        ).with_login(login)

    async def upload(self, build: Build) -> BinarySource | None:
        """Return what was uploaded for the build; None when its source is no upload."""
        binary = build.spec.source.binary
        if binary is None:
            return None
        if self._uploads is None or not binary.digest:
            raise BuildError(
                "FetchSourceFailed", "nothing was uploaded: use start-build with --from-dir"
            )
        try:
            path = await self._uploads.path(Digest.parse(binary.digest), build.namespace)
        except SharedContentError as error:
            raise BuildError(
                "FetchSourceFailed",
                str(error),
                retryable=error.retryable,
                retry_after=error.retry_after,
            ) from error
        except StoreFullError as error:
            raise BuildError(DISK_PRESSURE, str(error), retryable=True) from error
        except (InputError, InvalidDigestError) as error:
            raise BuildError("FetchSourceFailed", str(error)) from error
        return BinarySource(
            path,
            BinaryKind.FILE if binary.as_file else BinaryKind.ARCHIVE,
            binary.as_file or "",
            build.spec.source.context_dir or "",
        )

    async def resolve(self, build: Build, source: FetchedSource) -> ResolvedInputs:
        """Read all that the build works with, now that its source is here."""
        streams = await self._objects.streams()
        credentials = await self._logins.read(build)
        images = await self._images(build, source, streams, credentials)
        warnings = await self._require_signed(build, images)
        objects = await self._objects.read(build)
        commit = source.commit.commit if source.commit else ""
        identity = inputs_hash(build.spec, commit, images.pins(), object_versions(objects))
        push = push_reference(build, self._internal.prefix, identity)
        target, made = build.spec.output.to, None
        if target is not None and target.kind == IMAGE_STREAM_TAG:  # its tag says the inputs
            made = await self._made(push, RequestAccess(credentials.push))
        replaces = result_replaced(build, identity, made)
        inputs = ResolvedInputs(
            source, images, objects, identity, push, made, replaces, warnings=warnings
        )
        if inputs.reusable is not None:
            return inputs
        return await self._with_access(build, inputs, streams, credentials)

    async def _with_access(
        self, build: Build, inputs: ResolvedInputs, streams: Streams, credentials: BuildCredentials
    ) -> ResolvedInputs:
        """Add what only a build that is run needs."""
        pins = inputs.images.references()
        pushes = () if inputs.push is None else (inputs.push,)
        # Bases are pulled from the mirror in the internal registry, wherever the result goes.
        used = [*pins.values(), *pushes, reference_in(self._internal.prefix, _ANY_REPOSITORY)]
        insecure = insecure_by_tag(inputs.images.resolved, streams) | await self._insecure.among(
            used, build.namespace
        )
        pulls = tuple(
            ImagePull(
                reference,
                RequestAccess(credentials.of_image(name), insecure=reference.registry in insecure),
            )
            for name, reference in pins.items()
        )
        push = inputs.push
        return replace(
            inputs,
            pulls=pulls,
            insecure_registries=insecure,
            logins=await self._logins.for_builder(credentials, pins, push),
            previous=await self._previous(build, streams, credentials),
        )

    async def _images(
        self, build: Build, source: FetchedSource, streams: Streams, credentials: BuildCredentials
    ) -> BuildImages:
        """Resolve every external image; an earlier try's stay what they were."""
        resolved = build.status.images
        if not resolved:
            names = ImageNames(streams.values())
            dockerfile = _parsed_dockerfile(build, source.dockerfile)
            if dockerfile is not None:
                await self._require_pulls(build, dockerfile)
            resolved = tuple(
                [
                    await self._resolved(build, image, streams, names, credentials)
                    for image in named_images(build, dockerfile)
                ]
            )
        return BuildImages(resolved, base_name(resolved, streams, self._internal.prefix))

    async def _require_signed(self, build: Build, images: BuildImages) -> tuple[str, ...]:
        """Return what policies say of the images that are built upon.

        Raises BuildError if one keeps an image out: a signature may come.
        """
        warnings: list[str] = []
        for image in images.references().values():
            asked = ImageQuestion(image, build.namespace, PolicyPoint.BUILD)
            try:
                warnings += await self._policies.require(asked)
            except ImagePolicyError as error:
                raise BuildError(error.reason, str(error), retryable=True) from error
        return tuple(warnings)

    async def _require_pulls(self, build: Build, dockerfile: Dockerfile) -> None:
        """Raise BuildError if the author may not pull what the Dockerfile takes from here."""
        wanted = tuple(dockerfile_needs(build, dockerfile, self._internal.prefix))
        why = await self._authority.refusal_of(build, wanted)
        if why := why or await self._authority.content_refusal(build, wanted):
            raise BuildError(MISSING_RIGHT, why)

    async def _resolved(
        self,
        build: Build,
        image: NamedImage,
        streams: Streams,
        names: ImageNames,
        credentials: BuildCredentials,
    ) -> ResolvedImage:
        try:
            known = self._known(build, image.reference, streams, names)
        except UnresolvedInputError as error:
            raise BuildError("InvalidImageReference", str(error), retryable=True) from error
        except InvalidReferenceError as error:
            raise BuildError("InvalidImageReference", str(error)) from error
        if known is None:
            known = KnownPin(await self._asked(image.reference.name, credentials))
        if known.anew and known.tag is not None:
            bar = await self._bar(build, known.tag, known.image)
            if bar is not None:
                raise BuildError(bar.reason, f"{known.tag} {bar.message}", retryable=True)
        stream_tag = str(known.tag) if known.tag is not None else None
        return ResolvedImage(
            name=image.name,
            reference=known.image,
            stream_tag=stream_tag,
            final=image.final or None,
        )

    @staticmethod
    def _known(
        build: Build, reference: ObjectReference, streams: Streams, names: ImageNames
    ) -> KnownPin | None:
        """Return the pin of an image; None: only its registry knows it.

        Raises UnresolvedInputError, InvalidReferenceError.
        """
        if reference.kind == IMAGE_STREAM_TAG:
            tag = StreamTag.of(reference, build.namespace)
            if (made_for := inputs_of(build).get(tag)) is not None:
                return KnownPin(made_for, tag)
            return KnownPin(pin_reference(reference, build.namespace, streams).name, tag, anew=True)
        pull_spec = pin_reference(reference, build.namespace, streams).name
        return known_pin(build, pull_spec, streams, names)

    async def _asked(self, pull_spec: str, credentials: BuildCredentials) -> str:
        """Return what the image's registry says that it names now."""
        reference = Reference.parse(pull_spec)
        try:
            access = RequestAccess(credentials=credentials.pulls)
            found = await self._upstream.resolve(reference, access)
        except RegistryError as error:
            raise pull_error(error) from error
        return str(reference.with_digest(found.digest))

    async def _made(self, push: Reference | None, access: RequestAccess) -> Digest | None:
        """Return what the same inputs were built into before, if it is still there."""
        repository = repository_in(push, self._internal.prefix) if push is not None else None
        if push is None or repository is None or push.tag is None:
            return None
        try:
            return await self._internal.tag_digest(repository, push.tag, access)
        except RegistryError as error:
            raise BuildError(
                "PushImageToRegistryFailed", str(error), retryable=error.retryable
            ) from error

    async def require_pushed(self, build: Build, plan: BuildPlan, digest: Digest | None) -> None:
        """Raise BuildError unless our registry has what a builder says that it has pushed there.

        What the build runs may share a container with the builder, and speak in its place: the tag
        of the inputs has to name the image, which the build's own login alone writes.
        """
        push = plan.push
        if push is None or repository_in(push, self._internal.prefix) is None:
            return
        if plan.strategy is BuilderStrategy.CUSTOM:
            return  # what a custom build's image has pushed, nobody here is told
        if digest is None:
            raise BuildError("GenericBuildFailed", f"the build names no image of {push}")
        credentials = await self._logins.read(build)
        found = await self._made(push, RequestAccess(credentials.push))
        if found != digest:
            there = f"names {found}" if found is not None else "is not there"
            raise BuildError(
                "PushImageToRegistryFailed",
                f"the build says that it has pushed {digest} to {push}, which {there}",
                retryable=True,
            )

    async def _previous(
        self, build: Build, streams: Streams, credentials: BuildCredentials
    ) -> Reference | None:
        """Return what the output is now, pinned: an incremental build takes up its artifacts."""
        strategy, target = build.spec.strategy.source_strategy, build.spec.output.to
        if strategy is None or not strategy.incremental or target is None:
            return None
        try:
            if target.kind == IMAGE_STREAM_TAG:
                return Reference.parse(pin_reference(target, build.namespace, streams).name)
            reference = Reference.parse(target.name)
            found = await self._upstream.resolve(reference, RequestAccess(credentials.push))
            return reference.with_digest(found.digest)
        except (UnresolvedInputError, RegistryError, InvalidReferenceError):
            return None  # the first build of all, or an image that is gone: build without


def pull_error(error: RegistryError) -> BuildError:
    """Return the error of a build whose image cannot be pulled."""
    message = f"Failed pulling builder image. {error}"
    passes = transfer_may_pass(error.reason, retryable=error.retryable)
    return BuildError(
        "PullBuilderImageFailed", message, retryable=passes, retry_after=error.retry_after
    )


def _parsed_dockerfile(build: Build, text: str | None) -> Dockerfile | None:
    """Parse a Docker build's Dockerfile; raises BuildError DockerBuildFailed."""
    strategy = build.spec.strategy.docker_strategy
    if strategy is None:
        return None
    try:
        return parse(text or "", {a.name: a.value for a in strategy.build_args})
    except DockerfileError as error:
        message = f"Dockerfile build strategy has failed. {error}"
        raise BuildError("DockerBuildFailed", message) from error
