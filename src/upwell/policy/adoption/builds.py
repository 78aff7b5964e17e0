"""BuildConfig of a service's build section, with the streams of the images that it is made from."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from upwell.api.builds.config import BuildConfig
from upwell.api.meta import Resource
from upwell.api.pod_template import EnvVar
from upwell.formats.compose.model import ComposeService
from upwell.policy.adoption.images import followed_stream, followed_tag, normalised
from upwell.policy.new_app.application import Application, ApplicationBuild
from upwell.policy.new_app.components import NewAppStrategy, SourceRepository
from upwell.policy.new_app.dockerfile import DockerfileFacts
from upwell.policy.new_app.images import FollowedImage
from upwell.policy.new_app.objects import application_objects


@dataclass(frozen=True, slots=True)
class BuildInput:
    """Source of a build as it was found: what its Dockerfile says, and its repository."""

    facts: DockerfileFacts = field(default_factory=DockerfileFacts)
    repository: SourceRepository | None = None
    """None: what `start-build` uploads."""
    context_dir: str = ""
    """Folder in the repository."""


def build_objects(name: str, service: ComposeService, found: BuildInput) -> Iterator[Resource]:
    """Yield the streams and the BuildConfig of a service; its result is `NAME:latest`."""
    build = service.build
    if build is None:
        return
    facts = found.facts
    base = _followed(name, facts.base) if facts.base else None
    app = Application(
        name,
        base,
        build=ApplicationBuild(
            found.repository,
            NewAppStrategy.DOCKER,
            build.inline,
            context_dir=found.context_dir,
            inputs=tuple(_followed(name, image) for image in facts.others),
        ),
        build_only=True,
    )
    for resource in application_objects(app):
        if isinstance(resource, BuildConfig):
            yield _with_details(resource, service)
        else:
            yield resource


def _followed(service: str, image: str) -> FollowedImage:
    """Return the tag of a stream of the service's own: others may want other tags of the image."""
    stream = f"{service}-{normalised(image)}"
    tag = followed_tag(stream, image).partition(":")[2]
    return FollowedImage(stream, tag, followed_stream(stream, image), image)


def _with_details(config: BuildConfig, service: ComposeService) -> BuildConfig:
    """Return the BuildConfig with the Dockerfile's path and arguments."""
    build, strategy = service.build, config.spec.strategy
    if build is None or strategy.docker_strategy is None:
        return config
    changes: dict[str, object] = {}
    if build.dockerfile:
        changes["dockerfile_path"] = build.dockerfile
    if build.args:
        changes["build_args"] = tuple(
            EnvVar(name=name, value=value) for name, value in build.args.items()
        )
    docker = strategy.docker_strategy.model_copy(update=changes)
    strategy = strategy.model_copy(update={"docker_strategy": docker})
    spec = config.spec.model_copy(update={"strategy": strategy})
    return config.model_copy(update={"spec": spec})
