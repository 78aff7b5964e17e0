"""Rules of an object of OpenShift's kinds."""

from collections.abc import Iterator

from upwell.api.apps import DeploymentConfig
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.route import Route
from upwell.api.template import Template
from upwell.api.validation.openshift.builds import build_config_faults, build_faults
from upwell.api.validation.openshift.deployment_configs import deployment_config_faults
from upwell.api.validation.openshift.images import image_stream_faults
from upwell.api.validation.openshift.routes import route_faults
from upwell.api.validation.openshift.templates import template_faults
from upwell.api.values.faults import Fault


def openshift_faults(resource: Resource) -> Iterator[Fault]:
    """Yield every fault of a defaulted object but for its Pod template and metadata."""
    match resource:
        case BuildConfig():
            yield from build_config_faults(resource)
        case Build():
            yield from build_faults(resource)
        case ImageStream():
            yield from image_stream_faults(resource)
        case DeploymentConfig():
            yield from deployment_config_faults(resource)
        case Route():
            yield from route_faults(resource)
        case Template():
            yield from template_faults(resource)
        case _:
            pass
