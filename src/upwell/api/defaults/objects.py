"""Completion of an object of any kind."""

from upwell.api.apps import DeploymentConfig
from upwell.api.build import Build, BuildConfig
from upwell.api.core import Secret, Service
from upwell.api.defaults.builds import complete_build, complete_build_config
from upwell.api.defaults.core import complete_service, fold_string_data
from upwell.api.defaults.images import complete_image_stream
from upwell.api.defaults.workloads import complete_deployment_config
from upwell.api.image import ImageStream
from upwell.api.meta import Resource


def apply_defaults(resource: Resource) -> Resource:
    """Return `resource` with its defaults; a complete object comes back as it is."""
    complete: Resource = resource
    match resource:
        case BuildConfig():
            complete = complete_build_config(resource)
        case Build():
            # A person may write one, without a BuildConfig.
            complete = complete_build(resource)
        case ImageStream():
            complete = complete_image_stream(resource)
        case DeploymentConfig():
            complete = complete_deployment_config(resource)
        case Service():
            complete = complete_service(resource)
        case Secret() if resource.string_data:
            complete = fold_string_data(resource)
        case _:
            pass
    return complete
