"""OpenShift's own manifests, with images that the machine in memory knows."""

import pytest
import yaml
from tests.support.paths import SHARED
from tests.support.rollouts.memory_machine import GOOD

from upwell.api.apps import DeploymentConfig
from upwell.api.codec import decode_as
from upwell.api.defaults import apply_defaults

CORPUS = SHARED / "corpus" / "openshift" / "openshift-origin@5c0e8a64" / "test"
DEPLOYMENTS = "extended/testdata/deployments"


def deployment_config(file: str, image: str = GOOD) -> DeploymentConfig:
    """Return the DeploymentConfig of a file, in namespace `shop`, with `image` everywhere."""
    path = CORPUS / file
    if not path.is_file():
        pytest.skip(f"no manifest {path} (set UPWELL_SHARED)")
    document = yaml.safe_load(path.read_text())
    document["metadata"] = {"namespace": "shop", "name": document["metadata"]["name"]}
    for container in document["spec"]["template"]["spec"]["containers"]:
        if image:
            container["image"] = image
    document["spec"]["template"].pop("metadata", None)
    config = apply_defaults(decode_as(DeploymentConfig, document))
    assert isinstance(config, DeploymentConfig)
    return config
