"""Rules by kind."""

from collections.abc import Mapping

from tests.support.mutations.openshift.builds import BUILD, BUILD_CONFIG
from tests.support.mutations.openshift.deployment_configs import DEPLOYMENT_CONFIG
from tests.support.mutations.openshift.images import IMAGE_STREAM, IMAGE_STREAM_IMPORT
from tests.support.mutations.openshift.routes import ROUTE, TEMPLATE
from tests.support.mutations.rules import KindRules

RULES: Mapping[str, KindRules] = {
    "BuildConfig": BUILD_CONFIG,
    "Build": BUILD,
    "DeploymentConfig": DEPLOYMENT_CONFIG,
    "ImageStream": IMAGE_STREAM,
    "ImageStreamImport": IMAGE_STREAM_IMPORT,
    "Route": ROUTE,
    "Template": TEMPLATE,
}
