"""Rules of a BuildConfig beyond its types (build/v1's own rules)."""

from collections.abc import Iterator
from itertools import chain

from upwell.api.build import (
    BuildConfig,
    BuildPostCommitSpec,
    BuildSource,
    BuildStrategy,
    BuildTriggerPolicy,
)
from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.meta import ObjectReference
from upwell.api.values.faults import Fault
from upwell.oci import InvalidReferenceError, Reference

IMAGE_STREAM_IMAGE = "ImageStreamImage"
_IMAGE_KINDS = {IMAGE_STREAM_TAG, IMAGE_STREAM_IMAGE, DOCKER_IMAGE}
_OPTIMIZATIONS = {"None", "SkipLayers", "SkipLayersAndWarn"}


def validate_image_reference(reference: ObjectReference, path: str) -> Iterator[Fault]:
    """Yield what is wrong with a reference to an image."""
    if reference.kind not in _IMAGE_KINDS:
        yield Fault(f"{path}.kind", f"expected one of {', '.join(sorted(_IMAGE_KINDS))}")
    elif not reference.name:
        yield Fault(f"{path}.name", "required")
    elif reference.kind == IMAGE_STREAM_IMAGE and "@" not in reference.name:
        yield Fault(f"{path}.name", f"{reference.name!r} needs a digest: NAME@sha256:…")
    elif reference.kind == DOCKER_IMAGE:
        try:
            Reference.parse(reference.name)
        except InvalidReferenceError as error:
            yield Fault(f"{path}.name", str(error))


def validate_build_config(config: BuildConfig) -> Iterator[Fault]:
    """Yield every fault of a defaulted BuildConfig."""
    spec = config.spec
    yield from _strategy(spec.strategy)
    yield from _source(spec.source, custom=spec.strategy.custom_strategy is not None)
    if spec.output.to is not None:
        yield from _output(spec.output.to)
    for at, label in enumerate(spec.output.image_labels):
        if not label.name:
            yield Fault(f"spec.output.imageLabels[{at}].name", "required")
    if spec.post_commit is not None:
        yield from _post_commit(spec.post_commit)
    yield from _triggers(config)


def _strategy(strategy: BuildStrategy) -> Iterator[Fault]:
    strategies = {
        "sourceStrategy": strategy.source_strategy,
        "dockerStrategy": strategy.docker_strategy,
        "customStrategy": strategy.custom_strategy,
        "jenkinsPipelineStrategy": strategy.jenkins_pipeline_strategy,
    }
    found = [name for name, value in strategies.items() if value is not None]
    if len(found) != 1:
        yield Fault("spec.strategy", f"set exactly one of {', '.join(strategies)}")
        return
    path = f"spec.strategy.{found[0]}"
    if strategy.base is not None:
        yield from validate_image_reference(strategy.base, f"{path}.from")
    docker = strategy.docker_strategy
    if docker is not None:
        if docker.image_optimization_policy not in {None, "", *_OPTIMIZATIONS}:
            expected = ", ".join(sorted(_OPTIMIZATIONS))
            yield Fault(f"{path}.imageOptimizationPolicy", f"expected one of {expected}")
        if docker.dockerfile_path and _leaves(docker.dockerfile_path):
            yield Fault(f"{path}.dockerfilePath", f"{docker.dockerfile_path!r} leaves the source")
        yield from _arguments(docker.build_args, f"{path}.buildArgs")
    yield from _arguments(strategy.env, f"{path}.env")
    yield from _volumes(strategy, path)


def _volumes(strategy: BuildStrategy, path: str) -> Iterator[Fault]:
    names: set[str] = set()
    places: set[str] = set()
    for at, volume in enumerate(strategy.volumes):
        where = f"{path}.volumes[{at}]"
        if not volume.name or volume.name in names:
            yield Fault(f"{where}.name", "required, and another one for each volume")
        names.add(volume.name)
        source = volume.source
        if (source.secret is None) == (source.config_map is None):
            yield Fault(f"{where}.source", "needs either secret or configMap")
        elif not (source.secret.secret_name if source.secret else source.config_map):
            yield Fault(f"{where}.source.secret.secretName", "required")
        for mount_at, mount in enumerate(volume.mounts):
            field = f"{where}.mounts[{mount_at}].destinationPath"
            yield from _mount_place(mount.destination_path, field, places)
    custom = strategy.custom_strategy
    for at, secret in enumerate(custom.secrets if custom else ()):
        yield from _mount_place(secret.mount_path, f"{path}.secrets[{at}].mountPath", places)


def _mount_place(place: str, path: str, taken: set[str]) -> Iterator[Fault]:
    if (
        not place.startswith("/")
        or ":" in place
        or ".." in place.split("/")
        or not place.strip("/")
    ):
        yield Fault(path, f"{place!r} is not the absolute path of a folder")
    elif place.rstrip("/") in taken:
        yield Fault(path, f"{place!r} is used twice")
    taken.add(place.rstrip("/"))


def _arguments(variables: tuple[object, ...], path: str) -> Iterator[Fault]:
    for at, variable in enumerate(variables):
        name = getattr(variable, "name", "")
        if not name or "=" in name:
            yield Fault(f"{path}[{at}].name", f"{name!r} is not the name of a variable")


def _source(source: BuildSource, *, custom: bool) -> Iterator[Fault]:
    if source.git is not None and source.binary is not None and not custom:
        yield Fault("spec.source", "git and binary exclude each other")
    if source.git is not None and not source.git.uri:
        yield Fault("spec.source.git.uri", "required")
    if source.context_dir and _leaves(source.context_dir):
        yield Fault("spec.source.contextDir", f"{source.context_dir!r} leaves the source tree")
    as_file = source.binary.as_file if source.binary else None
    if as_file and (_leaves(as_file) or "/" in as_file):
        yield Fault("spec.source.binary.asFile", f"{as_file!r} is not a file name")
    yield from _image_sources(source)
    named: Iterator[tuple[str, str, str | None]] = chain(
        (
            (f"secrets[{at}].secret", entry.secret.name, entry.destination_dir)
            for at, entry in enumerate(source.secrets)
        ),
        (
            (f"configMaps[{at}].configMap", entry.config_map.name, entry.destination_dir)
            for at, entry in enumerate(source.config_maps)
        ),
    )
    for path, name, folder in named:
        if not name:
            yield Fault(f"spec.source.{path}.name", "required")
        # An absolute folder is allowed: a Source build's container has it.
        if ".." in (folder or "").split("/"):
            where = f"spec.source.{path.partition('.')[0]}.destinationDir"
            yield Fault(where, f"{folder!r} leaves the source tree")


def _image_sources(source: BuildSource) -> Iterator[Fault]:
    names: set[str] = set()
    for at, image in enumerate(source.images):
        path = f"spec.source.images[{at}]"
        yield from validate_image_reference(image.from_, f"{path}.from")
        if not image.paths and not image.as_:
            yield Fault(path, "needs paths, or names in as")
        for name in image.as_:
            if name in names:
                yield Fault(f"{path}.as", f"{name!r} is used twice")
            names.add(name)
        for where, copied in enumerate(image.paths):
            if not copied.source_path.startswith("/"):
                yield Fault(f"{path}.paths[{where}].sourcePath", "must be absolute")
            if _leaves(copied.destination_dir) or not copied.destination_dir:
                yield Fault(f"{path}.paths[{where}].destinationDir", "must be below the source")


def _leaves(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/")


def _output(target: ObjectReference) -> Iterator[Fault]:
    path = "spec.output.to"
    if target.kind == IMAGE_STREAM_IMAGE:
        yield Fault(f"{path}.kind", f"expected {IMAGE_STREAM_TAG} or {DOCKER_IMAGE}")
        return
    yield from validate_image_reference(target, path)
    if target.kind == IMAGE_STREAM_TAG and ":" not in target.name:
        yield Fault(f"{path}.name", f"{target.name!r} needs a tag: NAME:TAG")


def _post_commit(hook: BuildPostCommitSpec) -> Iterator[Fault]:
    if hook.script and hook.command:
        yield Fault("spec.postCommit", "script and command exclude each other")


def _triggers(config: BuildConfig) -> Iterator[Fault]:
    followed: set[tuple[str, str]] = set()
    for at, trigger in enumerate(config.spec.triggers):
        path = f"spec.triggers[{at}]"
        if trigger.type != "ImageChange":
            yield from _webhook(trigger, path)
            continue
        reference = _followed(trigger, config)
        if reference is None:
            yield Fault(f"{path}.imageChange.from", "required: the strategy has no from")
            continue
        if reference.kind != IMAGE_STREAM_TAG:
            yield Fault(f"{path}.imageChange.from.kind", f"expected {IMAGE_STREAM_TAG}")
        key = (reference.namespace or config.namespace, reference.name)
        if key in followed:
            yield Fault(f"{path}.imageChange.from", f"{reference.name} is followed twice")
        followed.add(key)


def _webhook(trigger: BuildTriggerPolicy, path: str) -> Iterator[Fault]:
    hook = trigger.webhook
    if hook is None:
        return
    field = trigger.type.lower()
    if not hook.secret and not (hook.secret_reference and hook.secret_reference.name):
        yield Fault(f"{path}.{field}", "needs secret or secretReference.name")
    if hook.allow_env and trigger.type != "Generic":
        yield Fault(f"{path}.{field}.allowEnv", "only a Generic webhook may set variables")


def _followed(trigger: BuildTriggerPolicy, config: BuildConfig) -> ObjectReference | None:
    if trigger.image_change is not None and trigger.image_change.from_ is not None:
        return trigger.image_change.from_
    return config.spec.strategy.base
