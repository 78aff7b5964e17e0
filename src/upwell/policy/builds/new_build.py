"""A new Build: its number, its pinned images, its inputs; made from a BuildConfig or a Build."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from upwell.api.builds.build import (
    BUILD_CONFIG_LABEL,
    BUILD_NUMBER_ANNOTATION,
    RUN_POLICY_LABEL,
    Build,
    BuildPhase,
    BuildRequest,
    BuildSpec,
    BuildStatus,
    BuildTriggerCause,
)
from upwell.api.builds.config import HOST_NETWORK_ANNOTATION, BinaryInput, BuildConfig
from upwell.api.builds.inputs import BinaryBuildSource, BuildSource, BuildStrategy, CommonSpec
from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.api.pod_template import EnvVar
from upwell.api.values.author import (
    author_of,
    content_authors_of,
    made_of,
    with_content_authors,
    with_made_of_uid,
)
from upwell.api.values.base_changes import OnBaseChange
from upwell.policy.builds.failures import was_not_rebased
from upwell.policy.builds.run_policy import newest, number_of
from upwell.policy.builds.triggers import FollowedTag, Streams, image_inputs
from upwell.policy.images.streams import StreamName, StreamTag, pinned, resolve_tag

CLONED_FROM_ANNOTATION = "openshift.io/build.clone-of"

NO_BINARY_INPUT = "NoBinaryInput"
"""Reason of a BuildConfig that waits for its first upload."""

_STRATEGIES = ("source_strategy", "docker_strategy", "custom_strategy")


class UnresolvedInputError(Exception):
    """Input that the build needs and that is not there yet; `reason` goes into a condition."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class BuildStart:
    """Causes of a build that is started, and its differences from its BuildConfig."""

    causes: tuple[BuildTriggerCause, ...]
    request: BuildRequest = field(default_factory=BuildRequest)
    forced: bool = False
    """A person asked: equal inputs are built again."""
    decided_by: str = ""
    """Name of whoever asks, if they say what is built; empty: the BuildConfig says it."""
    on_base_change: OnBaseChange | None = None
    """Answer to a change of the base alone; None: build."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The builds of a BuildConfig, and the names of all Builds in its namespace."""

    builds: Sequence[Build] = ()
    names: Container[str] = frozenset()

    def name_next(self, prefix: str, last_version: int = 0) -> tuple[str, int]:
        """Return the first free name and its number: somebody else may have taken one."""
        last = newest(self.builds)
        first = max(last_version, number_of(last) if last else 0) + 1
        number = next(n for n in count(first) if f"{prefix}-{n}" not in self.names)
        return f"{prefix}-{number}", number


def new_build(
    config: BuildConfig,
    streams: Streams,
    earlier: Earlier,
    images: Sequence[FollowedTag],
    start: BuildStart,
) -> Build:
    """Return the next Build of `config`, which follows `images`; raises UnresolvedInputError."""
    spec = config.spec
    common = {name: getattr(spec, name) for name in CommonSpec.model_fields}
    common = {name: value for name, value in common.items() if name in spec.model_fields_set}
    request = start.request
    source = _source(config, earlier.builds, request)
    common["source"] = _pinned_source(source, config.namespace, streams)
    strategy = _changed_strategy(spec.strategy, request)
    common["strategy"] = _pinned_strategy(strategy, config.namespace, streams)
    if revision := request.revision or (None if request.binary else spec.revision):
        common["revision"] = revision
    name, number = earlier.name_next(config.name, config.status.last_version)
    made = Build(
        metadata=ObjectMeta(
            name=name,
            namespace=config.namespace,
            labels={
                **config.labels,
                "buildconfig": config.name,
                BUILD_CONFIG_LABEL: config.name,
                RUN_POLICY_LABEL: str(spec.run_policy or "Serial"),
            },
            annotations=_annotations(config, number),
            owner_references=(config.owner_reference(),),
        ),
        spec=BuildSpec(
            **common,
            triggered_by=start.causes,
            image_inputs=image_inputs(images),
            forced=start.forced or None,
            on_base_change=start.on_base_change,
        ),
    )
    uploaded = () if request.binary else _authors_of_upload(source, config, earlier.builds)
    deciding = (*content_authors_of(config), *uploaded, start.decided_by)
    made = with_made_of_uid(made_of(made, config), config.uid)
    return with_content_authors(made, deciding)


def _annotations(config: BuildConfig, number: int) -> dict[str, str]:
    annotations = {BUILD_NUMBER_ANNOTATION: str(number), BUILD_CONFIG_LABEL: config.name}
    if wanted := config.annotations.get(HOST_NETWORK_ANNOTATION):
        annotations[HOST_NETWORK_ANNOTATION] = wanted
    return annotations


def _authors_of_upload(
    source: BuildSource, config: BuildConfig, builds: Sequence[Build]
) -> tuple[str, ...]:
    """Return those who stand for what was uploaded last, if it is what is built."""
    last = last_binary_input(config, builds) if source.binary is not None else None
    return last.authors if last is not None else ()


def clone_build(
    original: Build, config: BuildConfig | None, earlier: Earlier, start: BuildStart
) -> Build:
    """Return a Build that makes `original` again from the same inputs.

    `earlier` has the builds of `config`, the BuildConfig of `original`, if it still exists.
    """
    if config is not None:
        name, number = earlier.name_next(config.name, config.status.last_version)
    else:
        name, number = earlier.name_next(original.name)
    metadata = ObjectMeta(
        name=name,
        namespace=original.namespace,
        labels=dict(original.labels),
        annotations={
            **original.annotations,
            BUILD_NUMBER_ANNOTATION: str(number),
            CLONED_FROM_ANNOTATION: original.name,
        },
        owner_references=original.metadata.owner_references,
    )
    changes: dict[str, Any] = {
        "strategy": _changed_strategy(original.spec.strategy, start.request),
        "triggered_by": start.causes,
        "forced": True,
        "on_base_change": None,
    }
    if original.status.revision is not None and original.spec.source.git is not None:
        changes["revision"] = original.status.revision
    made = Build(
        metadata=metadata,
        spec=original.spec.model_copy(update=changes),
        status=BuildStatus(),
    )
    deciding = (*content_authors_of(original), start.decided_by)
    return with_content_authors(made_of(made, original), deciding)


def unsupported_options(spec: CommonSpec, request: BuildRequest) -> tuple[str, ...]:
    """Say what `request` asks for that a build of `spec` cannot do.

    Options of another strategy that ask for nothing are nothing: `oc` sends them always.
    """
    strategy = spec.strategy
    docker, source = request.docker_strategy_options, request.source_strategy_options
    unsupported = {
        "a commit needs spec.source.git": (
            request.revision is not None and request.binary is None and spec.source.git is None
        ),
        "build arguments and noCache need dockerStrategy": (
            docker is not None
            and bool(docker.build_args or docker.no_cache)
            and strategy.docker_strategy is None
        ),
        "incremental needs sourceStrategy": (
            source is not None and bool(source.incremental) and strategy.source_strategy is None
        ),
    }
    return tuple(text for text, is_vain in unsupported.items() if is_vain)


def last_binary_input(config: BuildConfig, builds: Sequence[Build]) -> BinaryInput | None:
    """Return what was uploaded last for `config`; its status remembers for deleted builds.

    What a person cancelled the build of does not count.
    """
    cancelled = {
        build.name
        for build in builds
        if build.status.cancelled
        or (build.status.phase is BuildPhase.CANCELLED and not was_not_rebased(build))
    }
    uploaded = [
        build
        for build in builds
        if build.spec.source.binary is not None
        and build.spec.source.binary.digest
        and build.name not in cancelled
    ]
    known = config.status.binary_input
    if known is not None and known.build in cancelled:
        known = None
    last = newest(uploaded)
    if last is None or last.spec.source.binary is None:
        return known
    binary = last.spec.source.binary
    if known is not None and known.digest == binary.digest and known.as_file == binary.as_file:
        return known
    return BinaryInput(
        digest=binary.digest or "",
        as_file=binary.as_file,
        revision=last.spec.revision,
        build=last.name,
        authors=content_authors_of(last) or tuple(filter(None, (author_of(last),))),
    )


def awaits_upload(config: BuildConfig, builds: Sequence[Build]) -> bool:
    """Return True if `config` is built from uploads and nothing was uploaded yet."""
    return config.spec.source.binary is not None and last_binary_input(config, builds) is None


def awaited_upload(config: BuildConfig) -> str:
    """Say what somebody has to do before `config` can be built."""
    source = config.spec.source.binary
    option = f"--from-file {source.as_file}" if source and source.as_file else "--from-dir ."
    return (
        f"waits for a first upload: `upwell start-build {config.name} {option}`;"
        " later builds use it again"
    )


def pin_reference(reference: ObjectReference, namespace: str, streams: Streams) -> ObjectReference:
    """Return the DockerImage that `reference` stands for now; raises UnresolvedInputError.

    A DockerImage comes back as it is: its digest is found when the build runs.
    """
    if reference.kind == DOCKER_IMAGE:
        return reference
    if reference.kind == IMAGE_STREAM_TAG:
        return ObjectReference(kind=DOCKER_IMAGE, name=_tagged(reference, namespace, streams))
    return ObjectReference(kind=DOCKER_IMAGE, name=_by_digest(reference, namespace, streams))


def _tagged(reference: ObjectReference, namespace: str, streams: Streams) -> str:
    named = StreamTag.of(reference, namespace)
    stream = streams.get(named.stream_name)
    pull_spec = resolve_tag(stream, named.tag) if stream is not None else None
    if pull_spec is not None:
        return pull_spec
    what = "has no image yet" if stream is not None else "does not exist: apply its ImageStream"
    raise UnresolvedInputError("ImageNotResolved", f"ImageStreamTag {named} {what}")


def _by_digest(reference: ObjectReference, namespace: str, streams: Streams) -> str:
    """Resolve an ImageStreamImage, `NAME@DIGEST`: an image in the history of a stream."""
    stream_name, _, digest = reference.name.partition("@")
    name = StreamName(reference.namespace or namespace, stream_name)
    stream = streams.get(name)
    for history in stream.status.tags if stream is not None else ():
        for event in history.items:
            if event.image.startswith(digest):
                return pinned(event)
    raise UnresolvedInputError(
        "ImageNotResolved",
        f"ImageStreamImage {name.namespace}/{reference.name} is not in the stream's history",
    )


def _source(config: BuildConfig, builds: Sequence[Build], request: BuildRequest) -> BuildSource:
    """Return what is built: an upload takes the place of a git repository."""
    source = config.spec.source
    if request.binary is not None:
        return source.model_copy(update={"type": "Binary", "git": None, "binary": request.binary})
    if source.binary is None:
        return source
    last = last_binary_input(config, builds)
    if last is None:
        raise UnresolvedInputError(NO_BINARY_INPUT, awaited_upload(config))
    kept = BinaryBuildSource(as_file=last.as_file, digest=last.digest)
    return source.model_copy(update={"binary": kept})


def _changed_strategy(strategy: BuildStrategy, request: BuildRequest) -> BuildStrategy:
    """Apply what a request says to the strategy; options of another strategy have no effect."""
    changes: dict[str, dict[str, Any]] = {name: {} for name in _STRATEGIES}
    if request.env:
        for name in _STRATEGIES:
            part = getattr(strategy, name)
            changes[name]["env"] = merge_variables(part.env, request.env) if part else ()
    docker = request.docker_strategy_options
    if docker is not None and strategy.docker_strategy is not None:
        if docker.build_args:
            arguments = strategy.docker_strategy.build_args
            changes["docker_strategy"]["build_args"] = merge_variables(arguments, docker.build_args)
        if docker.no_cache is not None:
            changes["docker_strategy"]["no_cache"] = docker.no_cache
    source = request.source_strategy_options
    if source is not None and source.incremental is not None:
        changes["source_strategy"]["incremental"] = source.incremental
    return strategy.model_copy(
        update={
            name: part.model_copy(update=changed)
            for name, changed in changes.items()
            if changed and (part := getattr(strategy, name)) is not None
        }
    )


def merge_variables(old: Sequence[EnvVar], new: Sequence[EnvVar]) -> tuple[EnvVar, ...]:
    """Return `old` with the values of `new`; new names come after the old ones, in order."""
    merged: Mapping[str, EnvVar] = {v.name: v for v in old} | {v.name: v for v in new}
    return tuple(merged.values())


def _pinned_source(source: BuildSource, namespace: str, streams: Streams) -> BuildSource:
    if not source.images:
        return source
    images = tuple(
        image.model_copy(update={"from_": pin_reference(image.from_, namespace, streams)})
        for image in source.images
    )
    return source.model_copy(update={"images": images})


def _pinned_strategy(strategy: BuildStrategy, namespace: str, streams: Streams) -> BuildStrategy:
    for name in _STRATEGIES:
        part = getattr(strategy, name)
        if part is not None and part.from_ is not None:
            base = pin_reference(part.from_, namespace, streams)
            return strategy.model_copy(update={name: part.model_copy(update={"from_": base})})
    return strategy
