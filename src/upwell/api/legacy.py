"""OpenShift's group-less `v1` manifests in the form of their groups."""

from collections.abc import Mapping
from typing import Any

from upwell.api.codec import resource_for

NO_LIMIT = 2**31 - 1
_LEGACY = "v1"


def to_group_form(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return `document` with its group's apiVersion, meaning what it meant without one.

    The legacy API keeps every build of a BuildConfig that sets no history limits; the group's
    API keeps five. A document of a group, or of the core, comes back as it is.
    Raises UnknownKindError.
    """
    api_version, kind = document.get("apiVersion"), document.get("kind")
    if api_version != _LEGACY or not isinstance(kind, str):
        return dict(document)
    resource = resource_for(_LEGACY, kind)
    changed = {**document, "apiVersion": resource.KIND.api_version}
    spec = document.get("spec")
    if resource.KIND.kind == "BuildConfig" and isinstance(spec, dict):
        limits = ("successfulBuildsHistoryLimit", "failedBuildsHistoryLimit")
        given = {name: value for name, value in spec.items() if value is not None}
        changed["spec"] = {**dict.fromkeys(limits, NO_LIMIT), **given}
    return changed
