"""From a Build to the plan that a builder runs: every image pinned, every login found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from upwell.api.build import Build, ResolvedImage
from upwell.api.core import Secret
from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.image import ImageStream
from upwell.api.meta import LocalReference, ObjectReference
from upwell.builder.interface import (
    BinaryKind,
    BinarySource,
    BuildError,
    BuildLimits,
    ImagePath,
    PostCommit,
    RegistryLogin,
    SourceImage,
)
from upwell.formats.dockerfile.parse import Dockerfile, DockerfileError, parse
from upwell.git.interface import CommitInfo, GitSource, Proxies
from upwell.oci import Digest, InvalidDigestError, InvalidReferenceError, Reference
from upwell.policy.builds.identity import inputs_tag
from upwell.policy.builds.new_build import UnresolvedInputError, pin_reference
from upwell.policy.builds.source_secrets import matching_secret
from upwell.policy.builds.triggers import SPEC_IMAGE_PREFIX
from upwell.policy.images.names import ImageNames
from upwell.policy.images.streams import resolve_tag, split_tag
from upwell.policy.rollouts.pod_template import TemplateError, parse_quantity
from upwell.reconcilers.builds.inputs import BuildInputs
from upwell.reconcilers.images.pull_secrets import PullSecrets, credentials_of
from upwell.registry.credentials import ChainedCredentials
from upwell.registry.errors import RegistryError
from upwell.registry.hosts import is_loopback
from upwell.registry.interface import Credential, CredentialSource, Registry, RequestAccess
from upwell.store.interface import NotFoundError, Selector, Store
from upwell.uploads.interface import BinaryInputs, InputMissingError

BUILDER_IMAGE = "builder"
"""The name of a Source or Custom build's builder image in its plan."""
FINAL_IMAGE = f"{SPEC_IMAGE_PREFIX}strategy.from"
"""The name of the image that takes the place of a Dockerfile's last FROM."""


@dataclass(frozen=True, slots=True)
class BuildImages:
    """The external images of a build, resolved."""

    resolved: tuple[ResolvedImage, ...]
    base_name: str = ""
    """What the base's digest was resolved from: `registry/repository:tag`, where it is known."""

    def references(self) -> dict[str, Reference]:
        """Return the pins by name; the names of the spec's own images have a `spec.` before."""
        return {image.name: Reference.parse(image.reference) for image in self.resolved}

    def pins(self) -> dict[str, str]:
        """Return the pins as text."""
        return {image.name: image.reference for image in self.resolved}

    @property
    def base(self) -> Reference | None:
        """The image that the result stands on."""
        final = next((image for image in self.resolved if image.final), None)
        return Reference.parse(final.reference) if final else None


class ImageMirror(Protocol):
    """Keeps copies of upstream images in the internal registry."""

    async def fetch(self, reference: Reference, access: RequestAccess) -> Reference:
        """Return an internal reference to the pinned image; raises RegistryError."""
        ...


class BuildPlanner:
    """Finds out what a Build needs. Raises BuildError with OpenShift's reasons.

    `internal_login` returns the login at the internal registry for builds of a namespace.
    """

    def __init__(
        self,
        store: Store,
        upstream: Registry,
        internal_host: str,
        fallback: CredentialSource | None = None,
        *,
        mirror: ImageMirror,
        internal_login: Callable[[str], Credential] | None = None,
        uploads: BinaryInputs | None = None,
    ) -> None:
        self._uploads = uploads
        self._store = store
        self._inputs = BuildInputs(store)
        self._upstream = upstream
        self._host = internal_host
        self._secrets = PullSecrets(store, fallback)
        self._mirror = mirror
        self._internal_login = internal_login

    async def git_source(self, build: Build) -> GitSource | None:
        """Return the source with its login; the commit of an earlier try, if there was one."""
        source = build.spec.source
        if source.git is None:
            return None
        values: Mapping[str, bytes] = {}
        if source.source_secret is not None:
            values = await self._secret(build, source.source_secret.name)
        else:
            secrets = await self._store.list(Secret, Selector(build.namespace))
            matching = matching_secret(source.git.uri, secrets.items)
            values = matching.decoded() if matching is not None else {}
        return GitSource(
            uri=source.git.uri,
            ref=build.revision.commit or source.git.ref or "",
            context_dir=source.context_dir or "",
            proxies=proxies_of(build),
        ).with_login(values)

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
            path = await self._uploads.path(Digest.parse(binary.digest))
        except (InputMissingError, InvalidDigestError) as error:
            raise BuildError("FetchSourceFailed", str(error)) from error
        return BinarySource(
            path,
            BinaryKind.FILE if binary.as_file else BinaryKind.ARCHIVE,
            binary.as_file or "",
            build.spec.source.context_dir or "",
        )

    async def images(self, build: Build, dockerfile: str | None) -> BuildImages:
        """Resolve every external image; `dockerfile` is a Docker build's text."""
        if build.status.images:  # an earlier try of this build: its inputs stay what they were
            return BuildImages(build.status.images, await self._base_name(build.status.images))
        strategy = build.spec.strategy
        if strategy.docker_strategy is not None:
            resolved = await self._docker_images(build, parse_dockerfile(build, dockerfile or ""))
        elif strategy.base is not None:
            resolved = (await self._resolved(build, BUILDER_IMAGE, strategy.base, final=True),)
        else:
            resolved = ()
        sources = [
            await self._resolved(build, source_image_name(at), image.from_)
            for at, image in enumerate(build.spec.source.images)
        ]
        resolved = (*resolved, *sources)
        return BuildImages(resolved, await self._base_name(resolved))

    async def _docker_images(
        self, build: Build, dockerfile: Dockerfile
    ) -> tuple[ResolvedImage, ...]:
        """Resolve what a Dockerfile takes from outside; `as` names of source images are inside."""
        strategy = build.spec.strategy.docker_strategy
        base = strategy.from_ if strategy else None
        inside = {name for image in build.spec.source.images for name in image.as_}
        last = dockerfile.stages[-1].image
        # The strategy's image takes the last FROM's place, and no other's (build/v1).
        uses = [use for use in dockerfile.uses if base is None or use.start != last.start]
        resolved = []
        for name in dict.fromkeys(use.name for use in uses):
            if name not in inside:
                reference = ObjectReference(kind=DOCKER_IMAGE, name=name)
                final = base is None and name == dockerfile.final_base
                resolved.append(await self._resolved(build, name, reference, final=final))
        if base is not None:
            resolved.append(await self._resolved(build, FINAL_IMAGE, base, final=True))
        return tuple(resolved)

    async def _resolved(
        self, build: Build, name: str, reference: ObjectReference, *, final: bool = False
    ) -> ResolvedImage:
        try:
            pull_spec = pin_reference(reference, build.namespace, await self._inputs.streams()).name
        except UnresolvedInputError as error:
            raise BuildError("InvalidImageReference", str(error), retryable=True) from error
        pinned, stream_tag = await self._pin(build, pull_spec)
        return ResolvedImage(
            name=name, reference=pinned, stream_tag=stream_tag, final=final or None
        )

    async def _pin(self, build: Build, name: str) -> tuple[str, str | None]:
        """Return the pull spec with digest of `name`, and the stream tag that tracks it."""
        for entry in build.spec.image_inputs:
            if entry.image == name:
                return name, f"{entry.from_.namespace}/{entry.from_.name}"
        try:
            reference = Reference.parse(name)
        except InvalidReferenceError as error:
            raise BuildError("InvalidImageReference", str(error)) from error
        if reference.digest is not None:
            return str(reference), None
        streams = await self._inputs.streams()
        tag = ImageNames(streams.values()).keeper(name, build.namespace)
        stream = streams.get(tag.stream_name) if tag is not None else None
        if tag is not None and stream is not None:
            pinned = resolve_tag(stream, tag.tag)
            if pinned is not None:
                return pinned, str(tag)
        try:
            access = RequestAccess(credentials=await self.credentials(build))
            found = await self._upstream.resolve(reference, access)
        except RegistryError as error:
            raise BuildError(
                "PullBuilderImageFailed",
                f"Failed pulling builder image. {error}",
                retryable=error.retryable,
            ) from error
        return str(reference.with_digest(found.digest)), None

    async def _base_name(self, images: Sequence[ResolvedImage]) -> str:
        """Return the tag behind the base's digest, for org.opencontainers.image.base.name."""
        final = next((image for image in images if image.final), None)
        if final is None:
            return ""
        if final.stream_tag is None:
            return str(Reference.parse(final.reference)).partition("@")[0]
        namespace, _, rest = final.stream_tag.partition("/")
        stream_name, _, tag_name = rest.partition(":")
        try:
            stream = await self._store.get(ImageStream, namespace, stream_name)
        except NotFoundError:
            return ""
        declared = next((tag for tag in stream.spec.tags if tag.name == tag_name), None)
        if declared is not None and declared.imports:
            return str(Reference.parse(declared.imports))
        return f"{self._host}/{namespace}/{stream_name}:{tag_name}"

    async def mirrored(self, build: Build, images: BuildImages) -> dict[str, Reference]:
        """Return the pins by name, each image copied into the internal registry before."""
        insecure = await self.insecure_registries(images)
        found = {}
        for name, reference in images.references().items():
            credentials = await self._credentials_for(build, name)
            access = RequestAccess(credentials, insecure=reference.registry in insecure)
            try:
                found[name] = await self._mirror.fetch(reference, access)
            except RegistryError as error:
                message = f"Failed pulling builder image. {error}"
                raise BuildError(
                    "PullBuilderImageFailed", message, retryable=error.retryable
                ) from error
        return found

    async def insecure_registries(self, images: BuildImages) -> frozenset[str]:
        """Return the registries of `images` that need no valid TLS: as their stream tags say.

        A registry on loopback needs none either: nobody stands between it and us.
        """
        found = {
            reference.registry
            for reference in images.references().values()
            if is_loopback(reference.registry)
        }
        for image in images.resolved:
            namespace, _, rest = (image.stream_tag or "").partition("/")
            stream_name, _, tag_name = rest.partition(":")
            if not stream_name:
                continue
            try:
                stream = await self._store.get(ImageStream, namespace, stream_name)
            except NotFoundError:
                continue
            if any(tag.name == tag_name and tag.insecure for tag in stream.spec.tags):
                found.add(Reference.parse(image.reference).registry)
        return frozenset(found)

    async def credentials(self, build: Build) -> CredentialSource:
        """Return the logins of the build's pull secret, then its namespace's, then the server's."""
        return await self._credentials(build, build.spec.strategy.pull_secret)

    async def _credentials(self, build: Build, secret: LocalReference | None) -> CredentialSource:
        others = await self._secrets.of_namespace(build.namespace)
        if secret is None:
            return others
        own = await self._credentials_in(build, secret.name)
        return ChainedCredentials([own, others]) if own is not None else others

    async def _credentials_for(self, build: Build, name: str) -> CredentialSource:
        """Return the logins for one image: a source image may have a pull secret of its own."""
        for at, image in enumerate(build.spec.source.images):
            if name == source_image_name(at) and image.pull_secret is not None:
                return await self._credentials(build, image.pull_secret)
        return await self.credentials(build)

    async def logins(
        self, build: Build, images: BuildImages, push: Reference | None
    ) -> tuple[RegistryLogin, ...]:
        """Return a login for every registry that the build pulls from or pushes to."""
        found: dict[str, RegistryLogin] = {}
        if self._internal_login is not None:
            own = self._internal_login(build.namespace)
            found[self._host] = RegistryLogin(self._host, own.username, own.password)
        pull = await self.credentials(build)
        wanted = [(reference, pull) for reference in images.references().values()]
        if push is not None:
            wanted.append((push, await self._credentials(build, build.spec.output.push_secret)))
        for reference, source in wanted:
            if reference.registry == self._host:
                continue
            credential = await source.find(reference.registry, reference.repository)
            if credential is not None and credential.username:
                found[reference.registry] = RegistryLogin(
                    reference.registry, credential.username, credential.password
                )
        return tuple(found.values())

    async def previous(self, build: Build) -> Reference | None:
        """Return what the output is now, pinned: an incremental build takes up its artifacts."""
        target = build.spec.output.to
        if target is None:
            return None
        try:
            if target.kind == IMAGE_STREAM_TAG:
                streams = await self._inputs.streams()
                return Reference.parse(pin_reference(target, build.namespace, streams).name)
            source = await self._credentials(build, build.spec.output.push_secret)
            reference = Reference.parse(target.name)
            found = await self._upstream.resolve(reference, RequestAccess(credentials=source))
            return reference.with_digest(found.digest)
        except (UnresolvedInputError, RegistryError, InvalidReferenceError):
            return None  # the first build of all, or an image that is gone: build without

    async def _credentials_in(self, build: Build, name: str) -> CredentialSource | None:
        secret = await self._get_secret(build, name)
        try:
            return credentials_of(secret)
        except RegistryError as error:
            raise BuildError("GenericBuildFailed", str(error)) from error

    async def _secret(self, build: Build, name: str) -> Mapping[str, bytes]:
        return (await self._get_secret(build, name)).decoded()

    async def _get_secret(self, build: Build, name: str) -> Secret:
        try:
            return await self._store.get(Secret, build.namespace, name)
        except NotFoundError as error:
            raise BuildError(
                "GenericBuildFailed", f"{error}: create it, then start the build again"
            ) from error


def source_image_name(at: int) -> str:
    """Return the name under which `spec.source.images[at]` is resolved."""
    return f"{SPEC_IMAGE_PREFIX}source.images[{at}]"


def source_images_of(build: Build, pinned: Mapping[str, Reference]) -> tuple[SourceImage, ...]:
    """Return the images that give files to the source, or their names to the Dockerfile."""
    return tuple(
        SourceImage(
            pinned[source_image_name(at)],
            tuple(ImagePath(path.source_path, path.destination_dir) for path in image.paths),
            image.as_,
        )
        for at, image in enumerate(build.spec.source.images)
    )


def post_commit_of(build: Build) -> PostCommit | None:
    """Return the build's hook; None when it has none."""
    hook = build.spec.post_commit
    if hook is None or not (hook.script or hook.command or hook.args):
        return None
    return PostCommit(hook.script or "", hook.command, hook.args)


def proxies_of(build: Build) -> Proxies:
    """Return the proxies of the build's git source, for the build too."""
    git = build.spec.source.git
    if git is None:
        return Proxies()
    return Proxies(git.http_proxy or "", git.https_proxy or "", git.no_proxy or "")


def parse_dockerfile(build: Build, text: str) -> Dockerfile:
    """Parse a build's Dockerfile; raises BuildError DockerBuildFailed."""
    strategy = build.spec.strategy.docker_strategy
    arguments = {a.name: a.value for a in strategy.build_args} if strategy else {}
    try:
        return parse(text, arguments)
    except DockerfileError as error:
        message = f"Dockerfile build strategy has failed. {error}"
        raise BuildError("DockerBuildFailed", message) from error


def push_reference(build: Build, host: str, inputs: str) -> Reference | None:
    """Return where the build is pushed: under the tag of its inputs in the internal registry.

    An output outside goes straight to its own tag. Raises BuildError InvalidOutputReference.
    """
    target = build.spec.output.to
    if target is None:
        return None
    if target.kind == IMAGE_STREAM_TAG:
        stream, _ = split_tag(target, build.namespace)
        return Reference(host, stream.repository, tag=inputs_tag(inputs))
    try:
        return Reference.parse(target.name)
    except InvalidReferenceError as error:
        raise BuildError("InvalidOutputReference", f"spec.output.to: {error}") from error


def build_labels(
    build: Build, source: GitSource | None, revision: CommitInfo | None
) -> dict[str, str]:
    """Return OpenShift's labels of a build's image, and the OCI ones of the same facts."""
    labels = {
        "io.openshift.build.name": build.name,
        "io.openshift.build.namespace": build.namespace,
    }
    if source is not None:
        labels["io.openshift.build.source-location"] = source.uri
        labels["org.opencontainers.image.source"] = source.uri
        if source.context_dir:
            labels["io.openshift.build.source-context-dir"] = source.context_dir
    if revision is not None:
        author = f"{revision.author_name} <{revision.author_email}>"
        ref = build.spec.source.git.ref if build.spec.source.git else None
        labels |= {
            "io.openshift.build.commit.id": revision.commit,
            "io.openshift.build.commit.author": author,
            "io.openshift.build.commit.date": revision.date,
            "io.openshift.build.commit.message": revision.message.partition("\n")[0][:80],
            "io.openshift.build.commit.ref": ref or "",
            "org.opencontainers.image.revision": revision.commit,
        }
    labels |= {label.name: label.value for label in build.spec.output.image_labels}
    return {name: value for name, value in labels.items() if value}


def limits_of(build: Build, default: BuildLimits) -> BuildLimits:
    """Return the build's resource limits over the server's defaults; raises BuildError."""
    wanted = build.spec.resources.limits if build.spec.resources else {}
    try:
        memory, cpu = (
            parse_quantity(wanted[name]) if name in wanted else None for name in ("memory", "cpu")
        )
    except TemplateError as error:
        raise BuildError("GenericBuildFailed", f"spec.resources.limits: {error}") from error
    return BuildLimits(
        default.memory_bytes if memory is None else int(memory),
        default.cpus if cpu is None else float(cpu),
        default.pids,
    )
