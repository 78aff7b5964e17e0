"""Names of custom resources, which a cluster wants to be subdomains (RFC 1123): Images have others.

`sha256:HEX` is `sha256-HEX` there, as in the tags of referrers (OCI distribution spec 1.1,
"Referrers Tag Schema").
"""

import re

from upwell.api.image import Image
from upwell.api.meta import Resource

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})")
_CUSTOM = re.compile(r"(sha256)-([0-9a-f]{64})")


def custom_name(kind: type[Resource], name: str) -> str:
    """Return the name of a cluster's object for the one named `name`."""
    return _joined(_DIGEST, "-", kind, name)


def own_name(kind: type[Resource], name: str) -> str:
    """Return the name that `custom_name` was given."""
    return _joined(_CUSTOM, ":", kind, name)


def with_custom_name[R: Resource](resource: R) -> R:
    """Return an object as a cluster names it."""
    return _renamed(resource, custom_name(type(resource), resource.name))


def with_own_name[R: Resource](resource: R) -> R:
    """Return a cluster's object under its own name."""
    return _renamed(resource, own_name(type(resource), resource.name))


def _joined(pattern: re.Pattern[str], by: str, kind: type[Resource], name: str) -> str:
    match = pattern.fullmatch(name) if kind is Image else None
    return name if match is None else by.join(match.groups())


def _renamed[R: Resource](resource: R, name: str) -> R:
    return resource if name == resource.name else resource.with_metadata(name=name)
