"""Objects out of OpenShift's own files, as the server would keep them."""

from typing import Any

from tests.support.openshift import ORIGIN

from upwell.api.codec import decode
from upwell.api.defaults import apply_defaults
from upwell.api.manifests import parse_manifests
from upwell.api.meta import Resource
from upwell.api.validation.objects import validate


def documents(file: str) -> list[dict[str, Any]]:
    return parse_manifests((ORIGIN / file).read_text(), file)


def stored(document: dict[str, Any]) -> Resource:
    """Return the object as the server would keep it; it must be valid."""
    metadata = {**document["metadata"], "namespace": "shop"}
    resource = apply_defaults(decode({**document, "metadata": metadata}))
    assert validate(resource) == ()
    return resource
