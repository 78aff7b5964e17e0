"""The plan of a build, out of the Build and all that was read for it: nothing is looked up here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.builds.inputs import GitSourceRevision, SourceControlUser, SourceRevision
from upwell.api.codec import encode_json
from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.meta import ObjectReference
from upwell.api.pod_template import EnvVar
from upwell.api.values.author import made_of_uid
from upwell.api.values.quantities import InvalidQuantityError, parse_quantity
from upwell.api.write_only.fields import without_credentials
from upwell.api.write_only.hidden import published
from upwell.builder.interface import (
    BuildError,
    BuilderStrategy,
    BuildLimits,
    BuildPlan,
    Checkout,
    ImagePath,
    InjectedFiles,
    MountedFiles,
    Placement,
    PostCommit,
    RegistryLogin,
    SourceImage,
    SourceOptions,
)
from upwell.git.interface import CommitInfo, GitSource, Proxies
from upwell.oci import Digest, InvalidReferenceError, Reference
from upwell.oci.registry_prefix import reference_in, repository_in
from upwell.policy.builds.environment import (
    Environment,
    UnresolvableEnvironmentError,
    resolve_environment,
)
from upwell.policy.builds.host_network import asks_for_host_network
from upwell.policy.builds.identity import inputs_tag
from upwell.policy.builds.images import FINAL_IMAGE, BuildImages, source_image_name
from upwell.policy.builds.objects import Objects
from upwell.policy.builds.triggers import SPEC_IMAGE_PREFIX
from upwell.policy.builds.volumes import MissingKeyError, source_mounts
from upwell.policy.images.streams import StreamTag, is_image_tag
from upwell.policy.rollouts.pod_template import CONFIG_MAP, SECRET, SourceName
from upwell.registry.interface import RequestAccess


@dataclass(frozen=True, slots=True)
class BuildDefaults:
    """Defaults that the administrator sets for all builds."""

    limits: BuildLimits = field(default_factory=BuildLimits)
    deadline_seconds: float = 7200
    is_insecure: Callable[[Reference], bool] = lambda _: False
    """Return True if an image's registry may be asked over plain HTTP or without valid TLS."""

    def deadline(self, build: Build) -> float:
        """Return the seconds that a build may take."""
        return float(build.spec.completion_deadline_seconds or self.deadline_seconds)


@dataclass(frozen=True, slots=True)
class FetchedSource:
    """The source of a build, on disk."""

    git: GitSource | None = None
    checkout: Checkout | None = None
    dockerfile: str | None = None
    """The text of a Docker build's Dockerfile, wherever it comes from."""

    @property
    def commit(self) -> CommitInfo | None:
        """The commit that the source is, or is said to be."""
        return self.checkout.revision if self.checkout is not None else None


@dataclass(frozen=True, slots=True)
class ImagePull:
    """An image that the build takes from outside, and how it is asked for."""

    reference: Reference
    access: RequestAccess


@dataclass(frozen=True, slots=True)
class ResolvedInputs:
    """Inputs of a build, read once."""

    source: FetchedSource
    images: BuildImages
    objects: Objects
    """Of `objects_read`."""
    hash: str
    """The build's identity."""
    push: Reference | None
    made: Digest | None = None
    """Image that the same inputs were built into before, if it is still there."""
    replaces: str | None = None
    """Result of these inputs that a forced build does not want; None: it is not forced."""
    pulls: tuple[ImagePull, ...] = ()
    logins: tuple[RegistryLogin, ...] = ()
    insecure_registries: frozenset[str] = frozenset()
    """Those that need no valid TLS."""
    previous: Reference | None = None
    """The image whose artifacts an incremental build takes up."""
    warnings: tuple[str, ...] = ()
    """Image policies that would keep out what is built upon."""

    @property
    def reusable(self) -> Digest | None:
        """The image that is the build's result already; None: it is to be built."""
        return None if self.replaces == str(self.made or "") else self.made

    @property
    def revision(self) -> SourceRevision | None:
        """The commit, as a Build's status has it."""
        commit = self.source.commit
        if commit is None:
            return None
        author = SourceControlUser(name=commit.author_name, email=commit.author_email)
        committer = SourceControlUser(name=commit.committer_name, email=commit.committer_email)
        return SourceRevision.of_git(
            GitSourceRevision(
                commit=commit.commit, author=author, committer=committer, message=commit.message
            )
        )


def plan_build(build: Build, inputs: ResolvedInputs, defaults: BuildDefaults) -> BuildPlan:
    """Return what the builder is to do; raises BuildError with OpenShift's reasons."""
    strategy = build.spec.strategy
    docker, source = strategy.docker_strategy, strategy.source_strategy
    custom = strategy.custom_strategy
    pins, base = inputs.images.references(), inputs.images.base
    checkout = inputs.source.checkout
    env = _env(build, strategy.env, inputs.objects)
    arguments = _env(build, docker.build_args if docker else (), inputs.objects)
    return BuildPlan(
        id=build.uid,
        namespace=build.namespace,
        name=build.name,
        strategy=BuilderStrategy(strategy.type or "Docker"),
        context=checkout.path if checkout is not None else None,
        images={k: v for k, v in pins.items() if not k.startswith(SPEC_IMAGE_PREFIX)},
        push=inputs.push,
        base_name=inputs.images.base_name,
        base_digest=str(base.digest) if base and base.digest else "",
        dockerfile=build.spec.source.dockerfile,
        dockerfile_path=(docker.dockerfile_path if docker else None) or "Dockerfile",
        env=env.plain,
        build_env=_own_variables(build, inputs.source),
        build_args=arguments.plain,
        secret_env=_secret_env(env, arguments),
        labels=image_labels(build, inputs.source),
        annotations={"dev.upwell.build.inputs": inputs.hash},
        scripts_url=(source.scripts if source else None) or "",
        display_name=_display_name(build, inputs.push),
        no_cache=bool(docker and docker.no_cache),
        cache_key=_cache_key(build),
        step_scope=_cache_key(build) or f"{build.namespace}/{build.uid}",
        limits=_limits(build, defaults.limits),
        logins=inputs.logins,
        insecure_registries=inputs.insecure_registries,
        final_image=pins.get(FINAL_IMAGE),
        inputs=_files(build, inputs.objects),
        volumes=_volumes(build, inputs.objects),
        source_images=_source_images(build, pins),
        post_commit=_post_commit(build),
        source=SourceOptions(previous=inputs.previous),
        squash=bool(docker and (docker.image_optimization_policy or "None") != "None"),
        force_pull=any(one is not None and one.force_pull for one in (docker, source, custom)),
        proxies=proxies_of(build),
        build_document=_document(build, inputs.push) if custom else "",
        host_network=asks_for_host_network(build),
        docker_socket=bool(custom and custom.expose_docker_socket),
        placement=_placement(build),
    )


def with_copies(plan: BuildPlan, copies: Mapping[Reference, Reference]) -> BuildPlan:
    """Return the plan with the copies of images in their place."""
    final = plan.final_image
    return replace(
        plan,
        images={name: copies[reference] for name, reference in plan.images.items()},
        final_image=copies[final] if final is not None else None,
        source_images=tuple(
            replace(image, reference=copies[image.reference]) for image in plan.source_images
        ),
    )


def result_replaced(build: Build, inputs: str, made: Digest | None) -> str | None:
    """Return which result of these inputs a forced build does not want; None: it is not forced.

    What its first try found, that is: another one was pushed by a try that was cut off since.
    """
    if not build.spec.forced:
        return None
    known = build.status.replaces
    return known if known is not None and build.status.inputs == inputs else str(made or "")


def declared_commit(build: Build) -> CommitInfo | None:
    """Return the commit that the client of an upload says it is."""
    if build.spec.revision is None or not build.spec.revision.commit:
        return None
    git = build.spec.revision.git
    return CommitInfo(
        commit=git.commit,
        author_name=git.author.name,
        author_email=git.author.email,
        committer_name=git.committer.name,
        committer_email=git.committer.email,
        message=git.message,
    )


def push_reference(build: Build, prefix: str, inputs: str) -> Reference | None:
    """Return where the build is pushed: under the tag of its inputs in the internal registry.

    `prefix` begins the names of its images. An output outside goes straight to its own tag. Raises
    BuildError InvalidOutputReference.
    """
    target = build.spec.output.to
    if target is None:
        return None
    if target.kind == IMAGE_STREAM_TAG:
        named = StreamTag.of(target, build.namespace)
        _require_image_tag(named.tag)
        return reference_in(prefix, named.stream_name.repository, tag=inputs_tag(inputs))
    try:
        pushed = Reference.parse(target.name)
    except InvalidReferenceError as error:
        raise BuildError("InvalidOutputReference", f"spec.output.to: {error}") from error
    if repository_in(pushed, prefix) is not None:
        _require_image_tag(pushed.tag or "latest")
    return pushed


def _require_image_tag(tag: str) -> None:
    """Raise BuildError for an output that would stand for another build's result, or signature."""
    if not is_image_tag(tag):
        why = f"tag {tag} is set by the server alone: choose another one"
        raise BuildError("InvalidOutputReference", f"spec.output.to: {why}")


def proxies_of(build: Build | BuildConfig) -> Proxies:
    """Return the proxies of the build's git source, for the build too."""
    git = build.spec.source.git
    if git is None:
        return Proxies()
    return Proxies(git.http_proxy or "", git.https_proxy or "", git.no_proxy or "")


def image_labels(build: Build, source: FetchedSource) -> dict[str, str]:
    """Return OpenShift's labels of a build's image, and the OCI ones of the same facts."""
    labels = {
        "io.openshift.build.name": build.name,
        "io.openshift.build.namespace": build.namespace,
    }
    if source.git is not None:
        uri = without_credentials(source.git.uri)  # an image is read by more than its BuildConfig
        labels["io.openshift.build.source-location"] = uri
        labels["org.opencontainers.image.source"] = uri
        labels["io.openshift.build.source-context-dir"] = source.git.context_dir
    if source.commit is not None:
        labels |= _commit_labels(build, source.commit)
    labels |= {label.name: label.value for label in build.spec.output.image_labels}
    return {name: value for name, value in labels.items() if value}


def _commit_labels(build: Build, commit: CommitInfo) -> dict[str, str]:
    ref = build.spec.source.git.ref if build.spec.source.git else None
    return {
        "io.openshift.build.commit.id": commit.commit,
        "io.openshift.build.commit.author": f"{commit.author_name} <{commit.author_email}>",
        "io.openshift.build.commit.date": commit.date,
        "io.openshift.build.commit.message": commit.message.partition("\n")[0][:80],
        "io.openshift.build.commit.ref": ref or "",
        "org.opencontainers.image.revision": commit.commit,
    }


def _own_variables(build: Build, source: FetchedSource) -> tuple[tuple[str, str], ...]:
    """Return what OpenShift tells every build about itself: it stays in the image."""
    git = build.spec.source.git
    uri = without_credentials(source.git.uri) if source.git else ""
    facts = {
        "OPENSHIFT_BUILD_NAME": build.name,
        "OPENSHIFT_BUILD_NAMESPACE": build.namespace,
        "OPENSHIFT_BUILD_SOURCE": uri,
        "OPENSHIFT_BUILD_REFERENCE": (git.ref if git else None) or "",
        "OPENSHIFT_BUILD_COMMIT": source.commit.commit if source.commit else "",
    }
    return tuple((name, value) for name, value in facts.items() if value)


def _display_name(build: Build, push: Reference | None) -> str:
    """Return the output's own name: where it is pushed says its inputs."""
    to = build.spec.output.to
    if to is None or push is None or to.kind != IMAGE_STREAM_TAG:
        return ""
    named = StreamTag.of(to, build.namespace)
    return str(Reference(push.registry, push.repository, tag=named.tag))


def _cache_key(build: Build) -> str:
    """Return what stands for the BuildConfig, and no later one of its name; empty without one.

    By the server's word alone: an ownerReference may be written by whoever writes a Build.
    """
    uid = made_of_uid(build)
    return f"{build.namespace}/{uid}" if uid else ""


def _secret_env(env: Environment, arguments: Environment) -> tuple[tuple[str, str], ...]:
    """Return what commands alone see; as in a Dockerfile, ENV takes the place of ARG."""
    found = {**dict(arguments.secret), **dict(env.secret)}
    plain = dict(env.plain)
    return tuple((name, value) for name, value in found.items() if name not in plain)


def _env(build: Build, variables: Sequence[EnvVar], objects: Objects) -> Environment:
    """Return variables with their values; raises BuildError UnresolvableEnvironmentVariable."""
    values = {name: content.values for name, content in objects.items()}
    try:
        return resolve_environment(variables, values, build)
    except UnresolvableEnvironmentError as error:
        raise BuildError("UnresolvableEnvironmentVariable", str(error)) from error


def _files(build: Build, objects: Objects) -> tuple[InjectedFiles, ...]:
    """Return the Secrets and ConfigMaps that are files of the build's source."""
    secrets, maps = build.spec.source.secrets, build.spec.source.config_maps
    wanted = [
        *((SourceName(SECRET, one.secret.name), one.destination_dir) for one in secrets),
        *((SourceName(CONFIG_MAP, one.config_map.name), one.destination_dir) for one in maps),
    ]
    return tuple(
        InjectedFiles(name.name, _content(name, objects), folder or "", secret=name.kind == SECRET)
        for name, folder in wanted
    )


def _volumes(build: Build, objects: Objects) -> tuple[MountedFiles, ...]:
    """Return the Secrets and ConfigMaps that are seen while the image is built."""
    found = []
    for volume in source_mounts(build.spec.strategy):
        absent = volume.optional and volume.source not in objects
        content = {} if absent else _content(volume.source, objects)
        try:
            files = volume.files(content)
        except MissingKeyError as error:
            raise BuildError("GenericBuildFailed", str(error)) from error
        secret = volume.source.kind == SECRET
        found.append(MountedFiles(volume.name, files, volume.targets, secret=secret))
    return tuple(found)


def _content(name: SourceName, objects: Objects) -> Mapping[str, bytes]:
    if name not in objects:
        message = f"{name.kind} {name.name} does not exist (any more)"
        raise BuildError("GenericBuildFailed", message, retryable=True)
    return objects[name].values


def _source_images(build: Build, pins: Mapping[str, Reference]) -> tuple[SourceImage, ...]:
    """Return the images that give files to the source, or their names to the Dockerfile."""
    return tuple(
        SourceImage(
            pins[source_image_name(at)],
            tuple(ImagePath(path.source_path, path.destination_dir) for path in image.paths),
            image.as_,
        )
        for at, image in enumerate(build.spec.source.images)
    )


def _post_commit(build: Build) -> PostCommit | None:
    hook = build.spec.post_commit
    if hook is None or not (hook.script or hook.command or hook.args):
        return None
    return PostCommit(hook.script or "", hook.command, hook.args)


def _limits(build: Build, default: BuildLimits) -> BuildLimits:
    """Return the build's resource limits over the server's defaults; raises BuildError."""
    wanted = build.spec.resources.limits if build.spec.resources else {}
    try:
        memory, cpu = (
            parse_quantity(wanted[name]) if name in wanted else None for name in ("memory", "cpu")
        )
    except InvalidQuantityError as error:
        raise BuildError("GenericBuildFailed", f"spec.resources.limits: {error}") from error
    return BuildLimits(
        default.memory_bytes if memory is None else int(memory),
        default.cpus if cpu is None else float(cpu),
        default.pids,
    )


def _placement(build: Build) -> Placement:
    """Return what a Pod of the build is to have; limits of the server are not among it."""
    resources = build.spec.resources
    requests, limits = (resources.requests, resources.limits) if resources else ({}, {})
    return Placement(
        service_account=build.spec.service_account or "",
        node_selector=build.spec.node_selector or {},
        requests={name: str(quantity) for name, quantity in requests.items()},
        limits={name: str(quantity) for name, quantity in limits.items()},
    )


def _document(build: Build, push: Reference | None) -> str:
    """Return the Build as a custom builder reads it: its output names the registry's own place.

    It gets the source itself, and no password of a URL.
    """
    build = published(build)
    if push is None:
        return encode_json(build)
    to = ObjectReference(kind=DOCKER_IMAGE, name=str(push))
    output = build.spec.output.model_copy(update={"to": to})
    return encode_json(
        build.model_copy(update={"spec": build.spec.model_copy(update={"output": output})})
    )
