"""Rules of Secrets and ConfigMaps; source: core/v1 and its validation.

A value is never shown: it may be secret.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping

from upwell.api.core import ConfigMap, Secret
from upwell.api.validation.formats import data_key_problem
from upwell.api.values.faults import Fault

MAX_BYTES = 1024 * 1024
"""Of all values together."""
_DOCKER_KEYS = {
    "kubernetes.io/dockercfg": {".dockercfg"},
    "kubernetes.io/dockerconfigjson": {".dockerconfigjson"},
}
_NEEDED = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
"""Keys that Secrets of a type have."""
_ACCOUNT = "kubernetes.io/service-account.name"


def data_faults(resource: Secret | ConfigMap) -> Iterator[Fault]:
    """Yield what is wrong with keys, values and type."""
    yield from _keys(resource.data, "data")
    if isinstance(resource, Secret):
        # A value of stringData is in data already.
        yield from _base64(resource.data, "data")
        yield from _secret_type(resource)
        size = sum(len(value) * 3 // 4 for value in resource.data.values())
        if size > MAX_BYTES:
            yield Fault.too_long("data", MAX_BYTES)
        return
    yield from _keys(resource.binary_data, "binaryData")
    yield from _base64(resource.binary_data, "binaryData")
    for key in resource.data.keys() & resource.binary_data.keys():
        yield Fault.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    size = sum(len(value.encode(errors="replace")) for value in resource.data.values())
    size += sum(len(value) * 3 // 4 for value in resource.binary_data.values())
    if size > MAX_BYTES:
        yield Fault.too_long("", MAX_BYTES)


def _keys(values: Mapping[str, str], path: str) -> Iterator[Fault]:
    for key in values:
        # Keys become file names in containers: none may lead out of its folder.
        if why := data_key_problem(key):
            yield Fault.invalid(f"{path}[{key}]", key, why)


def _base64(values: Mapping[str, str], path: str) -> Iterator[Fault]:
    for key, text in values.items():
        if _decoded(text) is None:
            yield Fault(f"{path}[{key}]", "not base64")


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        return None


def _secret_type(secret: Secret) -> Iterator[Fault]:
    """Yield what a Secret of its type needs and has not."""
    data, kind = secret.data, secret.type
    if kind == "kubernetes.io/service-account-token" and not secret.annotations.get(_ACCOUNT):
        yield Fault.required(f"metadata.annotations[{_ACCOUNT}]")
    elif kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        for key in ("username", "password"):
            yield Fault.required(f"data[{key}]").following("data")
    for key in _NEEDED.get(kind, ()):
        if key not in data:
            yield Fault.required(f"data[{key}]")
    if kind == "kubernetes.io/ssh-auth" and data.get("ssh-privatekey") == "":
        yield Fault.required("data[ssh-privatekey]")
    for key in _DOCKER_KEYS.get(kind, set()) & data.keys():
        content = _decoded(data[key])
        if content is not None and not _is_object(content):
            yield Fault(f"data[{key}]", "Invalid value: expected a JSON object")


def _is_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False
