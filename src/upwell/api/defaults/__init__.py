"""Defaults of fields that objects leave out: those of OpenShift's and Kubernetes' API servers.

`apply_defaults` completes an object; a module for each group of kinds says with what.
"""

from upwell.api.defaults.names import (
    DOCKER_IMAGE,
    IMAGE_STREAM_TAG,
)
from upwell.api.defaults.objects import (
    apply_defaults,
    as_stored,
    completed,
    with_defaults,
    with_kept_form,
)

__all__ = [
    "DOCKER_IMAGE",
    "IMAGE_STREAM_TAG",
    "apply_defaults",
    "as_stored",
    "completed",
    "with_defaults",
    "with_kept_form",
]
