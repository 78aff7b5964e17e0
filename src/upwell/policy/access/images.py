"""Images of the internal registry that an object names by its repository; pure.

The server pulls them with a login of its own, so whoever names one must be able to pull it.
"""

from collections.abc import Iterable, Iterator

from upwell.api.apps import DeploymentConfig, Job
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import ImageStream, ImageStreamImport, ImageStreamMapping
from upwell.api.image_policies.review import ImagePolicyReview
from upwell.api.meta import ObjectReference, Resource
from upwell.api.pipeline import Pipeline
from upwell.api.pod import Pod, template_of_pod
from upwell.api.pod_template import PodTemplate
from upwell.api.promotion import Release
from upwell.oci import Reference
from upwell.oci.copies import is_public_view
from upwell.oci.registry_prefix import named_in, repository_in
from upwell.policy.access.needs import Need
from upwell.policy.access.roles import REPOSITORIES, Action
from upwell.policy.rollouts.image_ownership import pod_template


def image_needs(resource: Resource, registry: str) -> Iterator[Need]:
    """Yield the right to pull each image of other namespaces that lies in `registry`.

    `registry` is the prefix of the internal one; no other is pulled from by our own login.
    """
    yield from pull_needs(resource.namespace, _images(resource), registry)


def respelt_needs(resource: Resource, registry: str) -> Iterator[Need]:
    """Yield the rights to those images that it names by another name of the registry.

    Triggers and promotions write none of these, so whoever is its author has written them.
    """
    images = (one for one in _images(resource) if not one.strip().startswith(f"{registry}/"))
    yield from pull_needs(resource.namespace, images, registry)


def pull_needs(home: str, images: Iterable[str | Reference], registry: str) -> Iterator[Need]:
    """Yield the right to pull each of the images that lies in `registry`, outside of `home`."""
    for image in dict.fromkeys(images):
        repository = _repository(image, registry)
        namespace = repository.partition("/")[0]
        if repository and namespace != home and not is_public_view(repository):
            action = Action("pull", REPOSITORIES, namespace, repository)
            yield Need(action, f"names an image of repository {repository}")


def _repository(image: str | Reference, registry: str) -> str:
    """Return the repository of an image of `registry`; empty for any other."""
    if isinstance(image, Reference):
        return repository_in(image, registry) or ""
    return named_in(image, registry) or ""


def _images(resource: Resource) -> Iterator[str]:
    match resource:
        case Release():
            yield from (component.image for component in resource.spec.components)
        case Pipeline():
            yield from _of_pipeline(resource)
        case ImageStream():
            yield from _of_stream(resource)
        case ImageStreamImport():
            yield from _of_import(resource)
        case ImagePolicyReview():
            yield resource.spec.image
        case ImageStreamMapping():
            yield resource.image.docker_image_reference
        case Build() | BuildConfig():
            sources = (image.from_ for image in resource.spec.source.images)
            yield from _named((resource.spec.strategy.base, *sources))
        case DeploymentConfig():
            yield from _of_config(resource)
        case Pod():
            yield from _of_template(template_of_pod(resource))
        case _:
            template = (
                resource.spec.template if isinstance(resource, Job) else pod_template(resource)
            )
            yield from _of_template(template) if template is not None else ()


def _of_pipeline(pipeline: Pipeline) -> Iterator[str]:
    for stage in pipeline.spec.stages:
        for check in stage.verification.checks:
            if check.job is not None:
                yield check.job.image
                yield from _of_template(check.job.template) if check.job.template else ()


def _of_stream(stream: ImageStream) -> Iterator[str]:
    yield from _named(tag.from_ for tag in stream.spec.tags)
    yield stream.spec.docker_image_repository or ""


def _of_import(wanted: ImageStreamImport) -> Iterator[str]:
    yield from (image.from_.name for image in wanted.spec.images)
    if wanted.spec.repository is not None:
        yield wanted.spec.repository.from_.name


def _of_config(config: DeploymentConfig) -> Iterator[str]:
    if config.spec.template is not None:
        yield from _of_template(config.spec.template)
    strategy = config.spec.strategy
    if strategy.custom_params is not None:
        yield strategy.custom_params.image


def _of_template(template: PodTemplate) -> Iterator[str]:
    pod = template.spec
    yield from (one.image for one in (*pod.containers, *pod.init_containers) if one.image)


def _named(references: Iterable[ObjectReference | None]) -> Iterator[str]:
    yield from (one.name for one in references if one is not None and one.kind == DOCKER_IMAGE)
