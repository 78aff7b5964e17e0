"""The objects of an application: streams, a build, and what runs it.

What it takes to go from a base image to a running workload, and to follow every change of the
base from then on.
"""

from collections.abc import Iterator

from upwell.api.builds.config import (
    BuildConfig,
    BuildConfigSpec,
    BuildTriggerPolicy,
    ImageChangeTrigger,
    WebHookTrigger,
)
from upwell.api.builds.inputs import (
    BinaryBuildSource,
    BuildOutput,
    BuildSource,
    BuildStrategy,
    DockerBuildStrategy,
    GitBuildSource,
    SourceBuildStrategy,
)
from upwell.api.core import Secret
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.image import ImageStream
from upwell.api.meta import LocalReference, ObjectReference, Resource
from upwell.policy.builds.commits.following import COMMITS_ANNOTATION
from upwell.policy.builds.git_webhooks import SECRET_KEY
from upwell.policy.new_app.application import Application, ApplicationBuild, with_variables
from upwell.policy.new_app.components import NewAppError, NewAppStrategy
from upwell.policy.new_app.images import FollowedImage
from upwell.policy.new_app.workloads import staged_objects, workload_objects


def application_objects(app: Application) -> tuple[Resource, ...]:
    """Return the objects in the order in which they are applied; raises NewAppError."""
    return tuple(_objects(app))


def _objects(app: Application) -> Iterator[Resource]:
    # Without the application's labels: other applications may stand on the streams too.
    declared = _declared(_followed(app))
    yield from declared.values()
    if app.build is None:
        if app.base is None:
            raise NewAppError("an application needs an image or a repository")
        runs = app.base.stream_tag
    else:
        runs = app.output or f"{app.name}:latest"
        stream = runs.partition(":")[0]
        _refuse_circle(app, runs)
        if not app.output_exists and stream not in declared:
            yield ImageStream(metadata=app.metadata.model_copy(update={"name": stream}))
        if app.build.webhook_secret:
            yield _webhook_secret(app, app.build.webhook_secret)
        yield _build_config(app, app.build, runs)
    if app.build_only:
        return
    yield from staged_objects(app, runs) if app.stages else workload_objects(app, runs)


def _refuse_circle(app: Application, output: str) -> None:
    """Refuse a result in the place of an image that it is made from.

    A tag that the user has named may stand beside it in the same stream.
    """
    stream = output.partition(":")[0]
    for image in _followed(app):
        if app.output and image.stream_tag == output:
            raise NewAppError(f"the result would replace {output}, which it is made from")
        if not app.output and image.stream == stream:
            raise NewAppError(
                f"the result would go into imagestream/{stream}, which holds an image that it"
                " is made from: give the application another --name"
            )


def _followed(app: Application) -> tuple[FollowedImage, ...]:
    base = (app.base,) if app.base is not None else ()
    return base + (app.build.inputs if app.build is not None else ())


def _declared(images: tuple[FollowedImage, ...]) -> dict[str, ImageStream]:
    """Return the streams to apply; of one with several new tags the last has them all."""
    return {image.stream: image.declared for image in images if image.declared is not None}


def _build_config(app: Application, plan: ApplicationBuild, output: str) -> BuildConfig:
    triggers = _webhooks(app) if plan.webhook_secret else []
    if plan.repository is not None or plan.dockerfile:
        # Without a source to begin with, the first build is that of the first upload.
        triggers.append(BuildTriggerPolicy(type="ConfigChange"))
    if app.base is not None:
        triggers.append(BuildTriggerPolicy(type="ImageChange", image_change=ImageChangeTrigger()))
    triggers += [
        BuildTriggerPolicy(
            type="ImageChange", image_change=ImageChangeTrigger(from_=image.reference)
        )
        for image in plan.inputs
    ]
    metadata = app.metadata
    if plan.repository is not None and plan.follows_commits:
        metadata = metadata.model_copy(update={"annotations": {COMMITS_ANNOTATION: "true"}})
    return BuildConfig(
        metadata=metadata,
        spec=BuildConfigSpec(
            source=_source(plan),
            strategy=_strategy(app.base, plan),
            output=BuildOutput(to=ObjectReference(kind=IMAGE_STREAM_TAG, name=output)),
            triggers=tuple(triggers),
        ),
    )


def _source(plan: ApplicationBuild) -> BuildSource:
    if plan.dockerfile:
        return BuildSource(type="Dockerfile", dockerfile=plan.dockerfile)
    if plan.repository is None:
        return BuildSource(
            type="Binary", binary=BinaryBuildSource(), context_dir=plan.context_dir or None
        )
    return BuildSource(
        type="Git",
        git=GitBuildSource(uri=plan.repository.uri, ref=plan.repository.ref or None),
        context_dir=plan.context_dir or None,
        source_secret=LocalReference(name=plan.source_secret) if plan.source_secret else None,
    )


def webhook_secret_name(application: str) -> str:
    """Return the name of the Secret that the application's webhooks share."""
    return f"{application}-webhooks"


def _webhook_secret(app: Application, secret: str) -> Secret:
    metadata = app.metadata.model_copy(update={"name": webhook_secret_name(app.name)})
    return Secret(metadata=metadata, data=Secret.encode_values({SECRET_KEY: secret.encode()}))


def _webhooks(app: Application) -> list[BuildTriggerPolicy]:
    """Return what `oc new-app` adds: a webhook of GitHub, and one for whatever calls."""
    hook = WebHookTrigger(secret_reference=LocalReference(name=webhook_secret_name(app.name)))
    return [
        BuildTriggerPolicy(type="GitHub", github=hook),
        BuildTriggerPolicy(type="Generic", generic=hook),
    ]


def _strategy(base: FollowedImage | None, plan: ApplicationBuild) -> BuildStrategy:
    if plan.strategy is NewAppStrategy.DOCKER:
        docker = DockerBuildStrategy(from_=base.reference if base else None)
        return BuildStrategy(type="Docker", docker_strategy=with_variables(docker, plan.env))
    if base is None:
        raise NewAppError("a source build needs a builder image: write BUILDER~REPOSITORY")
    source = SourceBuildStrategy(from_=base.reference)
    return BuildStrategy(type="Source", source_strategy=with_variables(source, plan.env))
