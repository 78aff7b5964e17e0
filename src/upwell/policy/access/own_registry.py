"""Content of the internal registry that builds and stages have the server move; pure.

The server logs in there by its own right. So a build whose output lies there, an image that a
Dockerfile takes from there and a stage whose mirror lies there take the right to push or pull, of
whoever writes the object and again when it acts.
"""

from collections.abc import Iterator

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline, Stage
from upwell.formats.dockerfile.lines import DockerfileError
from upwell.formats.dockerfile.parse import Dockerfile, parse
from upwell.oci.copies import is_public_view
from upwell.oci.registry_names import canonical_name
from upwell.oci.registry_prefix import named_in
from upwell.policy.access.needs import Need
from upwell.policy.access.roles import MIRROR_NAMESPACE, REPOSITORIES, Action

_UPSTREAM_COPIES = "upstreamcopies"
"""The copies that every build stands on: no role but the administrator's writes them by hand."""


def registry_needs(resource: Resource, registry: str) -> Iterator[Need]:
    """Yield the rights in `registry`, the internal one's prefix, that the object takes."""
    match resource:
        case Pipeline():
            for stage in resource.spec.stages:
                yield from _of_mirror(stage, registry)
        case Build() | BuildConfig():
            yield from _of_output(resource, registry)
            yield from _of_inline(resource, registry)
        case _:
            return


def dockerfile_needs(
    build: Build | BuildConfig, dockerfile: Dockerfile, registry: str
) -> Iterator[Need]:
    """Yield the right to pull each image of other namespaces that a Dockerfile takes."""
    for image in dockerfile.images:
        repository = named_in(image, registry)
        if repository is None:
            continue
        namespace = _namespace(repository)
        if namespace != build.namespace and not is_public_view(repository):
            action = Action("pull", REPOSITORIES, namespace, repository)
            yield Need(action, f"takes {image} in its Dockerfile")


def _of_inline(build: Build | BuildConfig, registry: str) -> Iterator[Need]:
    docker = build.spec.strategy.docker_strategy
    if docker is None or not build.spec.source.dockerfile:
        return
    arguments = {one.name: one.value for one in docker.build_args}
    try:
        dockerfile = parse(build.spec.source.dockerfile, arguments)
    except DockerfileError:
        return  # nothing is built of it
    yield from dockerfile_needs(build, dockerfile, registry)


def _of_output(build: Build | BuildConfig, registry: str) -> Iterator[Need]:
    target = build.spec.output.to
    if target is None or target.kind != DOCKER_IMAGE:
        return
    repository = named_in(target.name, registry)
    if repository is not None and _namespace(repository) != build.namespace:
        yield _push(repository, f"pushes its result to {registry}/{repository}")


def _of_mirror(stage: Stage, registry: str) -> Iterator[Need]:
    """A mirror is a prefix; the whole registry, or more, takes the right to push everywhere."""
    if not stage.mirror:
        return
    why = f"copies images to {stage.mirror} (stage {stage.name})"
    if f"{registry}/".startswith(f"{canonical_name(stage.mirror.rstrip('/'))}/"):
        yield Need(Action("push", REPOSITORIES), why, stays=False)
    elif repository := named_in(f"{stage.mirror.rstrip('/')}/image", registry):
        yield _push(repository, why)


def _push(repository: str, why: str) -> Need:
    namespace = _namespace(repository)
    if namespace == MIRROR_NAMESPACE:
        return Need(Action("use", _UPSTREAM_COPIES, namespace), why, stays=False)
    return Need(Action("push", REPOSITORIES, namespace, repository), why, stays=False)


def _namespace(repository: str) -> str:
    return repository.partition("/")[0]
